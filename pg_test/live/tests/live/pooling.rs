//! Behind a real pgbouncer in transaction mode: context belongs to a transaction, not a connection.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use live_tests::cluster::{PORT, SUPERUSER};
use live_tests::database::Database;
use live_tests::env::{environment, without};
use live_tests::{Sql, scratch, shared, wait_until};
use postgres::{Client, Config, NoTls};

/// A running pgbouncer; stopped with this value.
struct Pooler {
    child: Child,
    dir: PathBuf,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pooler {
    /// A pool of exactly one server connection to `db`.
    fn start(db: &Database) -> Result<Self> {
        let dir = scratch::new_dir()?;
        let program =
            std::env::var("PG_ATTEST_PGBOUNCER").unwrap_or_else(|_| "/usr/sbin/pgbouncer".into());
        std::fs::write(dir.join("users"), format!("\"{SUPERUSER}\" \"\"\n"))?;
        std::fs::write(
            dir.join("ini"),
            format!(
                "[databases]\n{name} = host={host} port={PORT} dbname={name} user={SUPERUSER}\n\
                 [pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\nunix_socket_dir = {dir}\n\
                 auth_type = trust\nauth_file = {dir}/users\npool_mode = transaction\n\
                 default_pool_size = 1\nlogfile = {dir}/log\npidfile = {dir}/pid\n",
                name = db.name(),
                host = db.cluster().dir().display(),
                dir = dir.display(),
            ),
        )?;
        let child = environment()
            .command(&program, &dir)
            .arg("-q")
            .arg(dir.join("ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("cannot run {program}; install pgbouncer or set PG_ATTEST_PGBOUNCER")
            })?;
        let pooler = Self { child, dir };
        wait_until("pgbouncer", || Ok(pooler.connect(db).ok()))
            .with_context(|| std::fs::read_to_string(pooler.dir.join("log")).unwrap_or_default())?;
        Ok(pooler)
    }

    fn connect(&self, db: &Database) -> Result<Client> {
        let mut config = Config::new();
        config
            .host_path(&self.dir)
            .port(PORT)
            .dbname(db.name())
            .user(SUPERUSER);
        Ok(config.connect(NoTls)?)
    }
}

#[test]
fn context_does_not_leak_through_a_transaction_pool() {
    if without("pgbouncer") {
        eprintln!("left out by PG_ATTEST_WITHOUT: pgbouncer");
        return;
    }
    shared(|db| {
        let mut admin = db.connect()?;
        admin.run("CREATE TABLE t (id int PRIMARY KEY, v text); SELECT audit.attach('t')")?;
        let pooler = Pooler::start(db)?;
        let (mut first, mut second) = (pooler.connect(db)?, pooler.connect(db)?);
        for round in 0..10 {
            let key = round * 10;
            first.run("BEGIN")?;
            first.run(&format!(
                "SELECT audit.set_context(request_id => 'first{round}', app_user_id => 'ann',
                                          tenant_id => 'acme', reason => 'why',
                                          session_id => 's1', process_id => 'p1')"
            ))?;
            first.run(&format!("INSERT INTO t VALUES ({key}, 'first')"))?;
            first.run("COMMIT")?;
            second.run(&format!("INSERT INTO t VALUES ({key} + 1, 'second')"))?;
            second.run("BEGIN")?;
            second.run("SET LOCAL audit.request_id = 'second'")?;
            second.run(&format!("INSERT INTO t VALUES ({key} + 2, 'second')"))?;
            second.run("ROLLBACK")?;
            first.run(&format!("INSERT INTO t VALUES ({key} + 3, 'first')"))?;
        }
        let events = admin.table(
            "SELECT row_key::int % 10,
                    CASE WHEN request_id = 'first' || row_key::int / 10 THEN 'own' ELSE request_id END,
                    app_user_id, tenant_id, reason, session_id, process_id, count(*)
             FROM audit.audit_events WHERE table_name = 't' AND operation = 'insert'
             GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1",
        )?;
        let expected = [
            "0|own|ann|acme|why|s1|p1|10",
            "1|∅|∅|∅|∅|∅|∅|10",
            "3|∅|∅|∅|∅|∅|∅|10",
        ];
        ensure!(
            events == expected,
            "got {events:#?}\nexpected {expected:#?}"
        );
        let backends = admin.number(
            "SELECT count(DISTINCT backend_pid) FROM audit.audit_events WHERE operation = 'insert'",
        )?;
        ensure!(
            backends == 1,
            "the pool had {backends} server connections: nothing was shown"
        );
        Ok(())
    });
}
