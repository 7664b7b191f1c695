//! What happens to honest databases: verification has nothing to say about it, and epochs follow each other.

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::env::run;
use live_tests::upgrade::upgraded;
use live_tests::{Cluster, Sql, own_cluster, scratch, shared, wait_until};
use postgres::Client;

use crate::seal::{check, each};

pub fn fill(client: &mut Client) -> Result<()> {
    each(
        client,
        "CREATE TABLE t (id int PRIMARY KEY, v text, n numeric, at timestamptz); SELECT audit.attach('t');
         INSERT INTO t SELECT g, repeat('x', g % 50), g / 7.0, now() FROM generate_series(1, 400) g; SELECT audit.seal();
         UPDATE t SET v = 'y', n = n * 1.50 WHERE id < 100; SELECT audit.seal(); DELETE FROM t WHERE id > 390",
    )
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

/// Text sorts, and is compared, in other ways there; it is the same text.
#[test]
fn a_restore_into_another_locale() {
    shared(|db| {
        let mut client = db.connect()?;
        fill(&mut client)?;
        each(
            &mut client,
            "INSERT INTO t (id, v) VALUES (2000, 'Ärger'), (2001, 'aerger'), (2002, 'ÅNGSTRÖM'), (2003, 'İstanbul ı'); CREATE TABLE \"Straße\" (\"Größe\" text PRIMARY KEY);
             SELECT audit.attach('\"Straße\"'); INSERT INTO \"Straße\" VALUES ('a'), ('B'), ('ä'), ('Ä'); SELECT audit.seal(); UPDATE \"Straße\" SET \"Größe\" = \"Größe\" || 'ß'",
        )?;
        let mut others = vec!["LOCALE 'C.UTF-8'"];
        if client.one("SELECT count(*) > 0 FROM pg_collation WHERE collname = 'tr-TR-x-icu'")?
            == "t"
        {
            others.push("LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C.UTF-8'");
        }
        for other in others {
            let target = Database::empty_in(db.cluster(), other)?;
            dump_and_restore(db, &target, "1")?;
            let mut client = target.connect()?;
            let sorted =
                "SELECT string_agg(v, ' ' ORDER BY v) FROM (VALUES ('a'), ('B'), ('ä')) l (v)";
            let icu = other.contains("icu");
            ensure!(
                (client.one(sorted)? == "a ä B") == icu,
                "{other}: not the locale that was asked for"
            );
            let wrong =
                client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
            ensure!(wrong.is_empty(), "{other}: before a seal: {wrong:?}");
            each(
                &mut client,
                "INSERT INTO \"Straße\" VALUES ('ı'); SELECT audit.seal()",
            )?;
            check(&mut client).context(other)?;
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

/// On a standby no worker is there to do anything; once it is promoted, its own seals in an epoch of its own.
#[test]
fn workers_do_nothing_on_a_standby() {
    let settings = [
        ("shared_preload_libraries", "pg_attest"),
        ("audit.seal_interval", "10ms"),
    ];
    own_cluster(&settings, |db| {
        let mut client = db.connect()?;
        fill(&mut client)?;
        let standby = db.cluster().standby()?;
        let mut replica = standby.connect(db.name(), "postgres")?;
        client.run("INSERT INTO t VALUES (2000)")?;
        let sealed = "SELECT count(*) FROM audit.audit_events e, audit.find_leaf(e.event_id) WHERE e.row_key = '2000'";
        wait_until("the standby to have what the primary sealed", || {
            Ok((replica.number(sealed)? == 1).then_some(()))
        })?;
        let state = replica.table(
            "SELECT audit.sealer_state(), (SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_attest %')",
        )?;
        ensure!(state == ["by hand|0"], "on the standby: {state:?}");
        let wrong = replica.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "on the standby: {wrong:?}");
        let told = std::fs::read_to_string(standby.dir().join("log"))?;
        ensure!(!told.contains("sealer"), "the standby's log: {told}");
        replica.run("SELECT pg_promote()")?;
        replica.run("INSERT INTO t VALUES (2001)")?;
        wait_until("the promoted server's worker to seal", || {
            let unsealed = replica.number("SELECT events FROM audit.unsealed()")?;
            let epochs = replica.number("SELECT max(epoch) FROM audit.epochs")?;
            Ok(((unsealed, epochs) == (0, 2)).then_some(()))
        })?;
        check(&mut replica)
    });
}

/// What pg_upgrade carries over verifies before anything is sealed, and goes on in an epoch of its own; nothing is sealed meanwhile.
#[test]
fn a_major_upgrade() {
    let checkpoints = "SELECT count(*), max(tree_size) FROM audit.checkpoints WHERE epoch = 1";
    let upgrade = || {
        let mut before = Vec::new();
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
            each(client, "INSERT INTO t VALUES (1000)")?;
            before = client.table(checkpoints)?;
            Ok(())
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
        let (after, epochs) = (client.table(checkpoints)?, client.number(epochs)?);
        ensure!(
            after == before && epochs == 2,
            "sealed in the upgrade: {before:?}, then {after:?} and {epochs} epochs"
        );
        check(&mut client)
    };
    if let Err(error) = upgrade() {
        panic!("{error:#}");
    }
}
