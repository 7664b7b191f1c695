//! A log of many events: a seal costs what it seals; verification tells how far it is, takes samples, and is shared out among workers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;
use serde_json::Value as Json;

use crate::seal::{check, each};
use crate::tamper::DISARM;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); SELECT audit.attach('t')";

fn add(client: &mut Client, from: u32, to: u32) -> Result<()> {
    client.run(&format!(
        "INSERT INTO t SELECT g, 'v' FROM generate_series({from}, {to}) g"
    ))?;
    client.run("SELECT audit.seal()")
}

/// 100,000 rows in ten seals; behind each of these, event ids that no event got.
fn hundred_thousand(client: &mut Client) -> Result<()> {
    each(client, TABLE)?;
    for tens in 0..10 {
        add(client, tens * 10_000 + 1, tens * 10_000 + 10_000)?;
        client.run("BEGIN; INSERT INTO t VALUES (0, 'never'); ROLLBACK")?;
    }
    Ok(())
}

/// The pages that a seal of one event touches.
fn pages_of_a_seal(client: &mut Client, row: u32) -> Result<u64> {
    client.run(&format!("INSERT INTO t VALUES ({row}, 'one')"))?;
    let plan =
        client.one("EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) SELECT audit.seal()")?;
    let plan: Json = serde_json::from_str(&plan)?;
    let pages = |kind: &str| plan[0]["Plan"][kind].as_u64().context("no count of pages");
    ensure!(
        client.number("SELECT events FROM audit.unsealed()")? == 0,
        "the event is not sealed"
    );
    Ok(pages("Shared Hit Blocks")? + pages("Shared Read Blocks")?)
}

/// The pages of a seal in a session that has sealed before.
fn pages(client: &mut Client, row: u32) -> Result<u64> {
    pages_of_a_seal(client, row)?;
    pages_of_a_seal(client, row + 1)
}

#[test]
fn a_seal_costs_what_it_seals() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        each(&mut client, TABLE)?;
        add(&mut client, 1, 1_000)?;
        let few = pages(&mut client, 1_000_001)?;
        add(&mut client, 1_001, 200_000)?;
        let many = pages(&mut client, 1_000_003)?;
        // Indexes may be a level higher.
        ensure!(
            few > 0 && many < few + few / 2,
            "one event costs {few} pages after a thousand, {many} after 200,000"
        );
        check(&mut client)
    });
}

#[test]
fn verification_tells_how_far_it_is_and_takes_samples() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        hundred_thousand(&mut client)?;
        let mut verifier = db.connect()?;
        let mut seen = BTreeSet::new();
        meanwhile(
            || check(&mut verifier),
            || {
                wait_until("the progress of a verification", || {
                    seen.extend(client.table(
                        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                         AND state = 'active' AND query LIKE 'audit.verify(): % of % parts of the events'",
                    )?);
                    Ok((seen.len() > 1).then_some(()))
                })
            },
        )?;
        for shown in seen {
            let numbers: Vec<u32> = shown
                .split(' ')
                .filter_map(|word| word.parse().ok())
                .collect();
            ensure!(
                matches!(numbers[..], [part, parts] if (1..=parts).contains(&part) && parts > 6),
                "{shown}"
            );
        }
        samples(&mut client)
    });
}

/// Runs `work` again and again, until `seen` has seen what it waits for in another session.
fn meanwhile<T>(
    mut work: impl FnMut() -> Result<()> + Send,
    seen: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                work()?;
            }
            Ok(())
        });
        let seen = seen();
        done.store(true, Ordering::Relaxed);
        let ended = worker.join().map_err(|_| anyhow!("the work panicked"))?;
        seen.and_then(|seen| ended.map(|()| seen))
    })
}

/// Of half of the parts, now more and now less than half is verified, seldom nothing or all.
fn samples(client: &mut Client) -> Result<()> {
    let mut checked = |sample: &str| {
        client.number(&format!(
            "SELECT checked FROM audit.verify(sample => {sample}) WHERE check_name = 'events'"
        ))
    };
    let (none, all) = (checked("0")?, checked("1")?);
    ensure!(none == 0 && all > 100_000, "{none} to {all} events");
    let some: Vec<i64> = (0..20).map(|_| checked("0.5")).collect::<Result<_>>()?;
    let is_a_part = some.iter().any(|some| (1..all).contains(some));
    let differ = some.iter().any(|other| *other != some[0]);
    ensure!(
        is_a_part && differ,
        "of {all} events, samples of a half are {some:?}"
    );
    Ok(())
}

/// An event of another part each is altered, deleted and forged: whoever verifies the parts, the same is found of each.
#[test]
fn parts_say_the_same_whoever_verifies_them() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        hundred_thousand(&mut client)?;
        let event_at = |client: &mut Client, leaf: u32| {
            client.number(&format!("SELECT event_id FROM audit.leaves({leaf}, 1)"))
        };
        let altered = event_at(&mut client, 20_000)?;
        let deleted = event_at(&mut client, 55_000)?;
        let forged = client.number(
            "SELECT max(event_id) + 1 FROM audit.audit_events WHERE row_key::int <= 90000",
        )?;
        client.run("BEGIN")?;
        client.run(DISARM)?;
        client.run(&format!(
            "UPDATE audit.audit_events SET reason = 'x' WHERE event_id = {altered};
             INSERT INTO audit.audit_events SELECT (jsonb_populate_record(e, '{{\"event_id\": {forged}}}')).*
             FROM audit.audit_events e WHERE event_id = {deleted};
             DELETE FROM audit.audit_events WHERE event_id = {deleted}"
        ))?;
        let verify = |client: &mut Client, workers: u32| {
            client.table(&format!("SELECT * FROM audit.verify(workers => {workers})"))
        };
        let alone = verify(&mut client, 0)?;
        for workers in [1, 4] {
            let shared = verify(&mut client, workers)?;
            ensure!(
                shared == alone,
                "alone: {alone:#?}\nwith {workers} workers: {shared:#?}"
            );
        }
        let found = client.table(
            "SELECT check_name, event_id, leaf_index FROM audit.verify(workers => 4) WHERE NOT ok AND event_id IS NOT NULL",
        )?;
        ensure!(
            found
                == [
                    format!("forged event|{forged}|∅"),
                    format!("altered event|{altered}|20000"),
                    format!("missing event|{deleted}|55000"),
                ],
            "{found:#?} of {alone:#?}"
        );
        worker_takes_parts(&mut db.connect()?, || verify(&mut client, 4).map(drop))
    });
}

/// A parallel worker shows a part that it has verified.
fn worker_takes_parts(
    watcher: &mut Client,
    verify: impl FnMut() -> Result<()> + Send,
) -> Result<()> {
    meanwhile(verify, || {
        wait_until("a parallel worker's part", || {
            let shown = watcher.table(
                "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'parallel worker'
                 AND query LIKE 'audit.verify(): % of % parts of the events'",
            )?;
            Ok((!shown.is_empty()).then_some(()))
        })
    })
}
