//! What happens to honest databases: verification has nothing to say about it, and epochs follow each other.

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::env::run;
use live_tests::upgrade::upgraded;
use live_tests::{Cluster, Sql, own_cluster, scratch, shared, wait_until};
use postgres::Client;

use crate::seal::{check, each};

fn fill(client: &mut Client) -> Result<()> {
    each(
        client,
        "CREATE TABLE t (id int PRIMARY KEY, v text, n numeric, at timestamptz); SELECT audit.attach('t');
         INSERT INTO t SELECT g, repeat('x', g % 50), g / 7.0, now() FROM generate_series(1, 400) g; SELECT audit.seal();
         UPDATE t SET v = 'y', n = n * 1.50 WHERE id < 100; SELECT audit.seal(); DELETE FROM t WHERE id > 390",
    )
}

/// As pg_repack does: the rows of a partition in another order, in other places.
const REPACK: &str = "DO $$
    DECLARE
        month regclass := (SELECT tableoid FROM audit.audit_events LIMIT 1);
    BEGIN
        SET LOCAL session_replication_role = replica;
        SET LOCAL audit.restore = on;
        EXECUTE format('CREATE TABLE public.copied AS SELECT * FROM %s', month);
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER ALL', month);
        EXECUTE format('TRUNCATE %s', month);
        EXECUTE format('INSERT INTO %s SELECT * FROM public.copied ORDER BY event_id DESC', month);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER ALL', month);
        DROP TABLE public.copied;
    END $$";

#[test]
fn rewrites_and_settings_of_the_log_s_tables() {
    shared(|db| {
        let mut client = db.connect()?;
        fill(&mut client)?;
        client.run("SELECT audit.seal()")?;
        for change in [
            "VACUUM FULL audit.audit_events; VACUUM FULL audit.tiles; VACUUM FULL audit.checkpoints; VACUUM FULL audit.tree_edge",
            "SELECT format('CLUSTER %s USING %s', i.indrelid::regclass, i.indexrelid::regclass) FROM pg_index i
             JOIN pg_inherits h ON h.inhrelid = i.indrelid WHERE h.inhparent = 'audit.audit_events'::regclass AND i.indisprimary",
            "REINDEX TABLE audit.audit_events",
            "REINDEX TABLE audit.tiles; REINDEX TABLE audit.checkpoints",
            "VACUUM FREEZE; ANALYZE",
            "ALTER TABLE t ADD COLUMN extra int DEFAULT 5; ALTER TABLE t RENAME COLUMN v TO w; ALTER TABLE t ALTER n TYPE text; ALTER TABLE t RENAME TO u",
            "ALTER TABLE u SET SCHEMA pg_catalog" , // refused; nothing changes
            "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'SQL, DMY'; SET extra_float_digits = 0; SET bytea_output = 'escape';
             SET intervalstyle = 'iso_8601'; SET lc_monetary = 'C'; SET search_path = ''",
            "SELECT format('ALTER DATABASE %I SET ', current_database()) || setting FROM unnest(ARRAY[
                 'timezone = ''Pacific/Chatham''', 'datestyle = ''German''', 'extra_float_digits = 0', 'bytea_output = ''escape''',
                 'lc_monetary = ''C''', 'lc_numeric = ''C''', 'lc_time = ''C''', 'lc_messages = ''C''', 'intervalstyle = ''sql_standard''']) setting",
            REPACK,
            "SELECT audit.maintain()",
            "DROP TABLE IF EXISTS public.u",
        ] {
            let statements = if change.starts_with("SELECT format") {
                client.table(change)?
            } else if change.starts_with("DO") {
                vec![change.to_owned()]
            } else {
                change.split(';').map(str::to_owned).collect()
            };
            for statement in statements {
                client.attempt(&statement)?;
            }
            // A session that has the database's settings.
            let mut client = db.connect()?;
            client.run("SELECT audit.seal()")?;
            check(&mut client).with_context(|| change.to_owned())?;
        }
        Ok(())
    });
}

/// Restores a dump of one database into another one.
pub fn dump_and_restore(from: &Database, into: &Database, jobs: &str) -> Result<()> {
    let dir = scratch::new_dir()?.join("dump");
    run(from
        .cluster()
        .tool("pg_dump")
        .args(["-Fd", "-f"])
        .arg(&dir)
        .arg(from.name()))?;
    let mut tool = into.cluster().tool("pg_restore");
    tool.env("PGOPTIONS", "-c audit.restore=on");
    tool.args(["--exit-on-error", "-j", jobs, "-d", into.name()])
        .arg(&dir);
    run(&mut tool).map(drop)
}

/// A restore, with a worker that would seal as soon as it saw an event, begins an epoch; the events that the dump had unsealed
/// are sealed in it.
#[test]
fn dump_and_restore_beside_a_running_worker() {
    let settings = [
        ("shared_preload_libraries", "pg_attest"),
        ("audit.seal_interval", "10ms"),
    ];
    own_cluster(&[], |db| {
        fill(&mut db.connect()?)?;
        let other = Cluster::start_new(&settings)?;
        for jobs in ["1", "4"] {
            let target = Database::empty(&other)?;
            dump_and_restore(db, &target, jobs)?;
            let mut client = target.connect()?;
            wait_until("the worker to seal what was restored", || {
                Ok((client.number("SELECT max(epoch) FROM audit.epochs")? == 2).then_some(()))
            })?;
            client.run("INSERT INTO t VALUES (1000)")?;
            wait_until("the worker to seal", || {
                Ok((client.number("SELECT events FROM audit.unsealed()")? == 0).then_some(()))
            })?;
            check(&mut client).with_context(|| format!("-j {jobs}"))?;
            let bound = client.one(
                "SELECT count(*) FROM audit.epochs n JOIN audit.audit_events e USING (event_id)
                 JOIN audit.leaves(0, 1, 2) l ON l.event_id = e.event_id
                 WHERE n.epoch = 2 AND e.action = 'epoch' AND e.context -> 'previous' ->> 'root' = split_part(audit.checkpoint_body(NULL, 1), E'\\n', 3)",
            )?;
            ensure!(
                bound == "1",
                "the first leaf does not carry the last checkpoint of the old epoch"
            );
            let unlike = client.one("SELECT count(DISTINCT origin) FROM audit.epochs")?;
            ensure!(unlike == "2", "two epochs have one origin");
        }
        Ok(())
    });
}

/// Restored again and again, into the same database too.
#[test]
fn restored_logs_are_restored_again() {
    own_cluster(&[], |db| {
        let mut source = db.connect()?;
        fill(&mut source)?;
        drop(source);
        let second = Database::empty(db.cluster())?;
        dump_and_restore(db, &second, "1")?;
        let mut client = second.connect()?;
        // Before anything is sealed: what was sealed verifies, the rest is unsealed.
        client.run("INSERT INTO t VALUES (1001)")?;
        let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "right after the restore: {wrong:?}");
        client.run("SELECT audit.seal(); INSERT INTO t VALUES (1002)")?;
        drop(client);
        let third = Database::empty(db.cluster())?;
        dump_and_restore(&second, &third, "1")?;
        let mut client = third.connect()?;
        each(
            &mut client,
            "INSERT INTO t VALUES (1003); SELECT audit.seal(); INSERT INTO t VALUES (1004); SELECT audit.seal()",
        )?;
        ensure!(
            client.number("SELECT count(*) FROM audit.epochs")? == 3,
            "not three epochs"
        );
        check(&mut client)
    });
}

#[test]
fn verifies_on_a_standby_and_goes_on_after_promotion() {
    own_cluster(&[("wal_level", "replica")], |db| {
        let mut client = db.connect()?;
        fill(&mut client)?;
        client.run("SELECT audit.seal(); INSERT INTO t VALUES (2000)")?;
        let standby = db.cluster().standby()?;
        let lsn = client.one("SELECT pg_current_wal_lsn()")?;
        let mut replica = standby.connect(db.name(), "postgres")?;
        wait_until("the standby to follow", || {
            let there = replica.one(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'"))?;
            Ok((there == "t").then_some(()))
        })?;
        let wrong = replica
            .table("SELECT check_name, detail FROM audit.verify(workers => 1) WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "on the standby: {wrong:?}");
        replica.refused("25006", "SELECT audit.seal()")?;
        replica.run("SELECT pg_promote()")?;
        replica.run("INSERT INTO t VALUES (2001)")?;
        ensure!(
            replica.number("SELECT audit.seal()")? >= 2,
            "the promoted standby did not seal"
        );
        ensure!(
            replica.number("SELECT max(epoch) FROM audit.epochs")? == 2,
            "promotion began no epoch"
        );
        each(
            &mut replica,
            "INSERT INTO t VALUES (2002); SELECT audit.seal()",
        )?;
        check(&mut replica)?;
        client.run("SELECT audit.seal()")?;
        check(&mut client)
    });
}

/// What pg_upgrade carries over verifies before anything is sealed, and goes on in an epoch of its own; nothing is sealed meanwhile.
#[test]
fn a_major_upgrade() {
    let upgrade = || {
        let cluster = upgraded(|client| {
            client.run("CREATE EXTENSION pg_attest")?;
            fill(client)?;
            wait_until("the worker to seal", || {
                let unsealed = client.number("SELECT events FROM audit.unsealed()")?;
                Ok((unsealed == 0).then_some(()))
            })?;
            client.run("SELECT audit.seal()")?;
            client.run("ALTER SYSTEM SET audit.seal_interval = 0")?;
            client.run("SELECT pg_reload_conf()")?;
            each(client, "INSERT INTO t VALUES (1000)")
        })?;
        let mut client = cluster.connect("postgres", "postgres")?;
        let epochs = "SELECT count(*) FROM audit.epochs";
        wait_until("the worker to seal in an epoch of its own", || {
            Ok((client.number(epochs)? == 2).then_some(()))
        })?;
        each(
            &mut client,
            "INSERT INTO t VALUES (1001); SELECT audit.seal()",
        )?;
        let sealed = client.number(
            "SELECT count(*) FROM audit.audit_events e, audit.find_leaf(e.event_id) l WHERE e.row_key IN ('1000', '1001') AND l.epoch = 2",
        )?;
        ensure!(sealed == 2, "{sealed} of two events are in the new epoch");
        check(&mut client)
    };
    if let Err(error) = upgrade() {
        panic!("{error:#}");
    }
}
