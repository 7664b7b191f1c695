//! `kill -9` under load: after recovery the trail rebuilds every table exactly.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::env::run;
use live_tests::{Sql, oracle, own_cluster, wait_until};

const TABLES: [&str; 4] = [
    "pgbench_accounts",
    "pgbench_branches",
    "pgbench_tellers",
    "pgbench_history",
];

/// A running pgbench; killed with this value.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Initializes TPC-B and attaches its four tables with a baseline.
fn initialize(db: &Database) -> Result<()> {
    run(db
        .cluster()
        .tool("pgbench")
        .args(["-i", "-q", "-s", "1", db.name()]))?;
    let mut client = db.connect()?;
    for table in TABLES {
        client.run(&format!("SELECT audit.attach('{table}', baseline => true)"))?;
    }
    Ok(())
}

/// Starts TPC-B with 16 clients and waits until all of them have been writing for a while.
fn load(db: &Database) -> Result<Load> {
    let mut pgbench = db.cluster().tool("pgbench");
    pgbench.args(["-n", "-c", "16", "-j", "2", "-T", "300", db.name()]);
    let child = pgbench
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let load = Load(child);
    let mut client = db.connect()?;
    let before = client.number("SELECT count(*) FROM pgbench_history")?;
    wait_until("pgbench to run", || {
        let done = client.number("SELECT count(*) FROM pgbench_history")? - before;
        let writers = client.number(
            "SELECT count(DISTINCT backend_pid) FROM audit.audit_events WHERE operation = 'insert'",
        )?;
        Ok((done > 1500 && writers >= 16).then_some(()))
    })?;
    Ok(load)
}

/// A backend of pgbench that is in the middle of a transaction.
fn busy_backend(db: &Database) -> Result<String> {
    let mut client = db.connect()?;
    wait_until("a backend in a transaction", || {
        let pids = client.table(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' AND backend_xid IS NOT NULL
             LIMIT 1",
        )?;
        Ok(pids.into_iter().next())
    })
}

/// The trail is complete, and stays so under further load.
fn complete(db: &Database) -> Result<()> {
    let mut client = db.connect()?;
    for table in TABLES {
        oracle::check(&mut client, table).context("right after recovery")?;
    }
    run(db
        .cluster()
        .tool("pgbench")
        .args(["-c", "16", "-j", "2", "-t", "30", db.name()]))?;
    for table in TABLES {
        oracle::check(&mut client, table).context("after more load")?;
    }
    let twice = client.number(
        "SELECT count(*) FROM (SELECT FROM audit.audit_events GROUP BY event_id HAVING count(*) > 1) d",
    )?;
    ensure!(twice == 0, "{twice} event ids were given twice");
    // Each partition's indexes agree with its heap after the crash.
    client.run("CREATE EXTENSION IF NOT EXISTS amcheck")?;
    client.run(
        "SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
         JOIN pg_inherits h ON h.inhrelid = i.indrelid
         WHERE h.inhparent = 'audit.audit_events'::regclass",
    )
}

#[test]
fn case_36_kill_of_a_backend_under_tpcb() {
    own_cluster(&[], |db| {
        initialize(db)?;
        for _ in 0..2 {
            let running = load(db)?;
            db.cluster().kill_backend(&busy_backend(db)?)?;
            drop(running);
        }
        complete(db)
    });
}

#[test]
fn case_36_kill_of_the_postmaster_under_tpcb() {
    own_cluster(&[], |db| {
        initialize(db)?;
        let running = load(db)?;
        db.cluster().kill_postmaster()?;
        drop(running);
        db.cluster().start()?;
        complete(db)
    });
}

#[test]
fn case_36_immediate_stop_under_tpcb() {
    own_cluster(&[], |db| {
        initialize(db)?;
        let running = load(db)?;
        db.cluster().crash()?;
        drop(running);
        db.cluster().start()?;
        complete(db)
    });
}
