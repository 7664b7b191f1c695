//! Seals that a crash ends in their middle: every committed event is sealed exactly once all the same.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use attest_log::note::KeyKind;
use live_tests::database::Database;
use live_tests::sql::literal;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

use crate::seal::{check, each, table};
use crate::signing::{key, key_file};

/// The sealer's process while a seal of its own is under way, which is when it holds the lock of all seals.
fn sealing(client: &mut Client) -> Result<String> {
    wait_until("the sealer to be in mid-seal", || {
        let pids = client.table(
            "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type = 'pg_attest sealer' AND granted
             AND relation = 'audit.checkpoints'::regclass AND mode = 'ShareUpdateExclusiveLock'",
        )?;
        Ok(pids.into_iter().next())
    })
}

/// While four sessions write, the worker is seen to seal; then `crash` ends the server, or makes it recover.
fn crash_under_seals(db: &Database, crash: impl FnOnce(&mut Client) -> Result<()>) -> Result<()> {
    let seals = "SELECT count(*) FROM audit.checkpoints";
    let mut watcher = db.connect()?;
    let before = watcher.number(seals)?;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect()?;
                    let sql =
                        format!("INSERT INTO t (w, v) SELECT {n}, 'x' FROM generate_series(1, 3)");
                    // Until the connection is lost.
                    while client.run(&sql).is_ok() {}
                    Ok(())
                })
            })
            .collect();
        let sealing = wait_until("the worker to seal", || {
            Ok((watcher.number(seals)? - before > 5).then_some(()))
        });
        // Ends the writers, too.
        let crashed = crash(&mut watcher);
        if crashed.is_err() {
            db.cluster().crash()?;
        }
        let ended = writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| anyhow!("a writer panicked"))?);
        sealing.and(crashed).and(ended)
    })
}

/// Holds the worker in the middle of the seal of a backlog: with its tiles and its checkpoint written, before the signature and the
/// commit. What it wrote is in the WAL on disk, because others have committed since. Gives the session that holds it.
fn hold_in_mid_seal(db: &Database, client: &mut Client, round: usize) -> Result<Client> {
    let (mut before, mut within) = (db.connect()?, db.connect()?);
    before.run("BEGIN; LOCK TABLE audit.checkpoints IN SHARE UPDATE EXCLUSIVE MODE")?;
    within.run("BEGIN; LOCK TABLE audit.checkpoint_signatures IN SHARE MODE")?;
    client.run(&format!(
        "INSERT INTO t (w, v) SELECT {round}, 'many' FROM generate_series(1, 10000)"
    ))?;
    let tiles = "SELECT pg_table_size('audit.tiles')";
    let size = client.number(tiles)?;
    before.run("COMMIT")?;
    wait_until("the sealer to be about to sign", || {
        let waits = client.table(
            "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type = 'pg_attest sealer' AND NOT granted
             AND relation = 'audit.checkpoint_signatures'::regclass",
        )?;
        Ok((!waits.is_empty()).then_some(()))
    })?;
    let written = client.number(tiles)? - size;
    // 39 tiles of 10 kB.
    ensure!(
        written > 300_000,
        "the seal has written {written} bytes of tiles"
    );
    client.run(&format!(
        "INSERT INTO t (w, v) VALUES ({round}, 'meanwhile')"
    ))?;
    ensure!(
        client.number("SELECT events FROM audit.unsealed()")? > 10_000,
        "the seal has committed"
    );
    Ok(within)
}

/// All processes at once and the sealer alone in mid-seal, the postmaster alone at any moment. A transaction is prepared before each
/// crash, and committed after it.
#[test]
fn kill_of_all_of_the_sealer_and_of_the_postmaster_under_seals() {
    let settings = [
        ("shared_preload_libraries", "pg_attest"),
        ("audit.seal_interval", "10ms"),
    ];
    own_cluster(&settings, |db| {
        table(&mut db.connect()?)?;
        let log_key = key("log.example", 1, KeyKind::Ed25519)?;
        let file = key_file(db, &log_key, 0o600)?;
        each(
            &mut db.connect()?,
            &format!(
                "ALTER SYSTEM SET audit.signing_key_file = {}; SELECT pg_reload_conf()",
                literal(&file.to_string_lossy())
            ),
        )?;
        let mut client = db.connect()?;
        wait_until("the worker to sign", || {
            client.run("INSERT INTO t (w, v) VALUES (-1, 'to be signed')")?;
            let signed = client.number("SELECT count(*) FROM audit.checkpoint_signatures")?;
            Ok((signed > 0).then_some(()))
        })?;
        for round in 0..6 {
            db.connect()?.run(&format!(
                "BEGIN; INSERT INTO t (w, v) SELECT {round}, 'two-phase' FROM generate_series(1, 3); PREPARE TRANSACTION 'over {round}'"
            ))?;
            let mut old = String::new();
            crash_under_seals(db, |client| match round % 3 {
                0 => {
                    let _holder = hold_in_mid_seal(db, client, round)?;
                    db.cluster().kill_all()
                }
                1 => {
                    // A seal that takes a while.
                    client.run(&format!(
                        "INSERT INTO t (w, v) SELECT {round}, 'many' FROM generate_series(1, 10000)"
                    ))?;
                    old = sealing(client)?;
                    db.cluster().kill_backend(&old)
                }
                _ => db.cluster().kill_postmaster(),
            })?;
            if round % 3 != 1 {
                db.cluster().start()?;
            }
            let mut client = db.connect()?;
            each(
                &mut client,
                &format!(
                    "INSERT INTO t (w, v) VALUES ({round}, 'after'); COMMIT PREPARED 'over {round}'"
                ),
            )?;
            let back = wait_until("the worker to seal again", || {
                let pids = client.table(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_attest sealer' AND datname = current_database()",
                )?;
                let unsealed = client.number("SELECT events FROM audit.unsealed()")?;
                Ok((unsealed == 0)
                    .then_some(pids)
                    .filter(|pids| pids.len() == 1))
            })?;
            ensure!(back != [old], "the sealer outlived its end");
            check(&mut client).with_context(|| format!("after crash {round}"))?;
            let committed = client.number(&format!(
                "SELECT count(*) FROM audit.audit_events e, audit.find_leaf(e.event_id)
                 WHERE new_values ->> 'v' IN ('two-phase', 'after') AND new_values ->> 'w' = '{round}'"
            ))?;
            ensure!(committed == 4, "{committed} of 4 events are sealed");
        }
        Ok(())
    });
}

#[test]
fn kill_of_a_sealing_backend() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        table(&mut client)?;
        each(
            &mut client,
            "INSERT INTO t (w, v) SELECT g, 'x' FROM generate_series(1, 3000) g; SELECT audit.seal()",
        )?;
        client.run("INSERT INTO t (w, v) SELECT g, 'y' FROM generate_series(1, 3000) g")?;
        let pid = client.one("SELECT pg_backend_pid()")?;
        client.run("BEGIN; SELECT audit.seal()")?;
        db.cluster().kill_backend(&pid)?;
        let mut client = db.connect()?;
        ensure!(
            client.number("SELECT audit.seal()")? == 3000,
            "the lost seal's events were not sealed"
        );
        check(&mut client)
    });
}
