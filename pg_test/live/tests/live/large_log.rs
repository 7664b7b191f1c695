//! A log of many events: a seal costs what it seals; verification tells how far it is, and takes samples.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;
use serde_json::Value as Json;

use crate::seal::{check, each};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); SELECT audit.attach('t')";

fn add(client: &mut Client, from: u32, to: u32) -> Result<()> {
    client.run(&format!(
        "INSERT INTO t SELECT g, 'v' FROM generate_series({from}, {to}) g"
    ))?;
    client.run("SELECT audit.seal()")
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
        each(&mut client, TABLE)?;
        for tens in 0..10 {
            add(&mut client, tens * 10_000 + 1, tens * 10_000 + 10_000)?;
        }
        let done = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            let verifier = scope.spawn(|| -> Result<()> {
                let mut client = db.connect()?;
                while !done.load(Ordering::Relaxed) {
                    check(&mut client)?;
                }
                Ok(())
            });
            let mut seen = BTreeSet::new();
            let progress = wait_until("the progress of a verification", || {
                seen.extend(client.table(
                    "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND state = 'active' AND query LIKE 'audit.verify(): % of % parts of the events'",
                )?);
                Ok((seen.len() > 1).then_some(()))
            });
            done.store(true, Ordering::Relaxed);
            let ended = verifier
                .join()
                .map_err(|_| anyhow!("the verifier panicked"))?;
            progress.and(ended).map(|()| seen)
        })?;
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
