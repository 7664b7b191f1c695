//! The background workers: they seal by themselves, and are in nobody's way.

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

use crate::seal::{check, each};

const PRELOADED: &[(&str, &str)] = &[
    ("shared_preload_libraries", "pg_attest"),
    ("audit.seal_interval", "20ms"),
];

fn until_sealed(client: &mut Client) -> Result<()> {
    wait_until("the worker to seal", || {
        let unsealed = client.number("SELECT events FROM audit.unsealed()")?;
        let seals = client.number("SELECT count(*) FROM audit.checkpoints")?;
        Ok((unsealed == 0 && seals > 0).then_some(()))
    })
}

/// What `audit.status()` says of the sealer.
fn status(client: &mut Client) -> Result<String> {
    let lines =
        client.table("SELECT value, ok, hint IS NULL FROM audit.status() WHERE item = 'sealer'")?;
    Ok(lines.join(" and "))
}

fn sealer(db: &Database) -> Result<String> {
    let mut client = db.connect()?;
    wait_until("a sealer", || {
        let pids = client.table(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_attest sealer' AND datname = current_database()",
        )?;
        Ok(pids.into_iter().next())
    })
}

#[test]
fn seals_by_itself_and_is_idle_otherwise() {
    own_cluster(PRELOADED, |db| {
        let mut client = db.connect()?;
        client.run("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.attach('t'); INSERT INTO t VALUES (1)")?;
        until_sealed(&mut client)?;
        let said = status(&mut client)?;
        ensure!(said == "running|t|t", "the status is {said}");
        check(&mut client)?;
        // Idle passes write nothing: no WAL, no transaction id.
        sealer(db)?;
        let state = "SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())";
        let calm = wait_until("the rest of the server to be quiet", || {
            let before = client.table(state)?;
            client.run("SELECT pg_sleep(0.3)")?;
            Ok((client.table(state)? == before).then_some(()))
        });
        calm?;
        client.run("INSERT INTO t VALUES (2)")?;
        until_sealed(&mut client)?;
        // A session that may not write, a database whose defaults are odd.
        client.run(&format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on; ALTER DATABASE {0} SET default_transaction_isolation = 'serializable'",
            db.name()
        ))?;
        let pid = sealer(db)?;
        client.run(&format!("SELECT pg_terminate_backend({pid})"))?;
        wait_until("the sealer to be gone", || {
            Ok((status(&mut client)? == "stopped|f|f").then_some(()))
        })?;
        // Else it would rest for a while.
        client.run("SELECT pg_reload_conf()")?;
        client.run("INSERT INTO t VALUES (3)")?;
        until_sealed(&mut client)?;
        check(&mut client)
    });
}

#[test]
fn survives_restart_and_the_extension_s_end_and_beginning() {
    own_cluster(PRELOADED, |db| {
        let mut client = db.connect()?;
        client.run("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.attach('t'); INSERT INTO t VALUES (1)")?;
        until_sealed(&mut client)?;
        drop(client);
        db.cluster().stop()?;
        db.cluster().start()?;
        let mut client = db.connect()?;
        client.run("INSERT INTO t VALUES (2)")?;
        until_sealed(&mut client)?;
        ensure!(
            client.number("SELECT count(*) FROM audit.epochs")? == 1,
            "a restart began an epoch"
        );
        // A minor upgrade is a restart with another library.
        check(&mut client).context("after a restart")?;
        client.run("SET audit.allow_drop = on; DROP EXTENSION pg_attest CASCADE")?;
        wait_until("the sealer to end", || {
            let left = client.number(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_attest sealer'",
            )?;
            Ok((left == 0).then_some(()))
        })?;
        client.run(
            "CREATE EXTENSION pg_attest; SELECT audit.attach('t'); INSERT INTO t VALUES (3)",
        )?;
        until_sealed(&mut client)?;
        check(&mut client)
    });
}

#[test]
fn is_in_nobody_s_way() {
    own_cluster(PRELOADED, |db| {
        let mut admin = db.cluster().connect("postgres", "postgres")?;
        let other = Database::new(db.cluster())?;
        let mut client = other.connect()?;
        client.run("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.attach('t'); INSERT INTO t VALUES (1)")?;
        until_sealed(&mut client)?;
        drop(client);
        wait_until("the test's own session to be gone", || {
            let left = admin.number(&format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'client backend'",
                other.name()
            ))?;
            Ok((left == 0).then_some(()))
        })?;
        sealer(&other)?;
        admin.run(&format!(
            "ALTER DATABASE {} RENAME TO renamed",
            other.name()
        ))?;
        admin.run("CREATE DATABASE copied TEMPLATE renamed")?;
        admin.run("DROP DATABASE renamed")?;
        // A role that may not drop a database does not end its sealer either.
        let alice = db.role("alice")?;
        let before = sealer(db)?;
        let refused = db
            .cluster()
            .connect("postgres", &alice)?
            .refused("42501", &format!("DROP DATABASE {}", db.name()));
        refused?;
        ensure!(
            sealer(db)? == before,
            "the sealer was ended by somebody who may not"
        );
        // The copy goes on with an epoch of its own.
        let mut copied = db.cluster().connect("copied", "postgres")?;
        each(&mut copied, "INSERT INTO t VALUES (2); SELECT audit.seal()")?;
        ensure!(
            copied.number("SELECT max(epoch) FROM audit.epochs")? == 2,
            "the copy has no epoch of its own"
        );
        check(&mut copied)?;
        drop(copied);
        admin.run("DROP DATABASE copied WITH (FORCE)")
    });
}
