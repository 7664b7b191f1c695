//! (i): the log: how fast it is sealed, verified and proved, what it takes, and what capture notices of the sealer.

use super::attest;
use super::bulk::{between, workload_sql};
use super::growth::told;
use super::results::Unit;
use super::system::{FULL, System};
use super::tpcb::{self, Length};
use super::turns::Bench;
use crate::setup::Workshop;
use crate::ui::Step;
use crate::{interrupt, run};
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub const SEAL: &str = "audit.seal()";
pub const VERIFY: &str = "audit.verify(workers => 0)";
pub const VERIFY_IN_PARALLEL: &str = "audit.verify(workers => 1)";
pub const VERIFY_OUTSIDE: &str = "attest verify, two threads";
/// What of the log is not in memory then, is read.
const VERIFY_FIRST: &str = "audit.verify(workers => 0), the first";
const VERIFY_FROM_DISK: &str = "attest verify from disk, two threads";
pub const INCLUSION: &str = "audit.inclusion_proof()";
pub const CONSISTENCY: &str = "audit.consistency_proof()";
pub const STORAGE: &str = "the tree's tables";
pub const WAL: &str = "WAL of a seal of one event";
pub const SEALER_OFF: &str = "pgbench, 4 clients, sealer off";
pub const SEALER_ON: &str = "pgbench, 4 clients, sealer on";
const DATABASE: &str = "log";
const SEALED: &str = "sealed";
/// Rows of one statement that fills the log.
const ROWS: u32 = 100_000;
/// Verifications alone and in parallel, in turns.
const VERIFICATIONS: usize = 3;
/// Proofs of events from everywhere, and seals of one event.
const SAMPLES: u32 = 200;

/// Once, but for verifications in the database and the sealer's turns: the sizes are what they are, and the time is long.
pub fn run(
    bench: &mut Bench,
    step: &mut Step,
    workshop: &Workshop,
    events: u32,
    seconds: u32,
) -> Result<()> {
    let Some(system) = bench.full("i") else {
        return Ok(());
    };
    let program = attest::build(workshop, step)?;
    let mut client = fill(bench, step, &system, events)?;
    client.batch_execute("VACUUM ANALYZE audit.audit_events")?;
    bench.server.checkpoint()?;

    let size = told(u64::from(events));
    let alone = "SELECT * FROM audit.verify(workers => 0)";
    let in_parallel = "SELECT * FROM audit.verify(workers => 1)";
    let once = [(SEAL, "SELECT audit.seal()"), (VERIFY_FIRST, alone)];
    let in_turns = [(VERIFY, alone), (VERIFY_IN_PARALLEL, in_parallel)];
    let turns = std::iter::repeat_n(in_turns, VERIFICATIONS).flatten();
    for (what, sql) in once.into_iter().chain(turns) {
        interrupt::check()?;
        step.progress(what);
        let started = Instant::now();
        client.batch_execute(sql)?;
        let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(events);
        let case = format!("{what}, {size}");
        bench
            .results
            .add("i", &case, FULL, Unit::MicrosPerEvent, micros);
    }
    proofs(bench, step, &mut client, &size)?;
    storage(bench, &mut client, &size)?;
    wal(bench, step, &mut client)?;
    drop(client);
    let program = program.to_str().context("a path is not UTF-8")?;
    let folder = workshop.layout.target.join("xtask/bench-export");
    outside(bench, step, program, &folder, (VERIFY_FROM_DISK, events))?;
    // The server's own files and those of the export do not fit into the memory together.
    let few = events / 5;
    drop(fill(bench, step, &system, few)?);
    drop(bench.server.sealed(DATABASE)?);
    outside(bench, step, program, &folder, (VERIFY_OUTSIDE, few))?;
    sealer(bench, step, &system, seconds)
}

/// A new database whose log has so many events.
fn fill(bench: &mut Bench, step: &mut Step, system: &System, events: u32) -> Result<Client> {
    bench.server.copy("template0", DATABASE)?;
    let mut client = bench.server.session(DATABASE)?;
    client.batch_execute(workload_sql!("orders", "table"))?;
    bench.server.attach(DATABASE, system, &["public.orders"])?;
    let mut first = 1;
    while first <= events {
        interrupt::check()?;
        step.progress(&format!("filling: {first} of {events}"));
        let last = (first + ROWS - 1).min(events);
        client.batch_execute(&between(workload_sql!("orders", "insert"), first, last))?;
        first = last + 1;
    }
    Ok(client)
}

/// A proof each, of events and checkpoints from everywhere.
fn proofs(bench: &mut Bench, step: &mut Step, client: &mut Client, size: &str) -> Result<()> {
    let span = "SELECT min(event_id), max(event_id), (SELECT max(tree_size) FROM audit.checkpoints) FROM audit.audit_events";
    let row = client.query_one(span, &[])?;
    let (least, most, tree): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    for (what, sql, span) in [
        (
            INCLUSION,
            "SELECT audit.inclusion_proof((SELECT min(event_id) FROM audit.audit_events WHERE event_id >= $1))",
            least..most,
        ),
        (
            CONSISTENCY,
            "SELECT audit.consistency_proof($1, (SELECT max(tree_size) FROM audit.checkpoints))",
            1..tree,
        ),
    ] {
        step.progress(what);
        let statement = client.prepare(sql)?;
        let case = format!("{what}, {size}");
        for sample in 0..SAMPLES {
            let at = span.start + (span.end - span.start) / i64::from(SAMPLES) * i64::from(sample);
            let started = Instant::now();
            client.execute(&statement, &[&at])?;
            let ms = started.elapsed().as_secs_f64() * 1e3;
            bench.results.add("i", &case, FULL, Unit::Milliseconds, ms);
        }
    }
    Ok(())
}

fn storage(bench: &mut Bench, client: &mut Client, size: &str) -> Result<()> {
    let sql = "SELECT (pg_total_relation_size('audit.tiles') + pg_total_relation_size('audit.tree_edge')
                       + pg_total_relation_size('audit.checkpoints'))::float8 / max(tree_size) FROM audit.checkpoints";
    let bytes: f64 = client.query_one(sql, &[])?.get(0);
    let case = format!("{STORAGE}, {size}");
    bench
        .results
        .add("i", &case, FULL, Unit::BytesPerEvent, bytes);
    Ok(())
}

/// As the worker seals when one event comes a second.
fn wal(bench: &mut Bench, step: &mut Step, client: &mut Client) -> Result<()> {
    step.progress(WAL);
    let position = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8";
    let mut total = 0.0;
    for _ in 0..SAMPLES {
        client.batch_execute("UPDATE orders SET quantity = quantity + 1 WHERE id = 1")?;
        let before: f64 = client.query_one(position, &[])?.get(0);
        client.batch_execute("SELECT audit.seal()")?;
        let after: f64 = client.query_one(position, &[])?.get(0);
        total += after - before;
    }
    let each = total / f64::from(SAMPLES);
    bench.results.add("i", WAL, FULL, Unit::BytesPerEvent, each);
    Ok(())
}

/// `attest verify` of an export of the whole log, which is on disk by then and the database gone: no PostgreSQL is asked, and nothing is
/// written meanwhile.
fn outside(
    bench: &mut Bench,
    step: &mut Step,
    program: &str,
    folder: &Path,
    (what, size): (&str, u32),
) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder);
    step.progress("attest export");
    let mut export = bench.server.client(program, DATABASE);
    export
        .args(["export", "--db", "postgresql://"])
        .arg(folder)
        .stdout(Stdio::null());
    ensure!(export.status()?.success(), "attest export failed");
    bench.server.drop(DATABASE)?;
    bench.server.checkpoint()?;
    step.progress(what);
    let mut verify = Command::new(program);
    verify
        .args(["verify", "--json", "--threads", "2"])
        .arg(folder);
    let started = Instant::now();
    let output = verify.output()?;
    let micros = started.elapsed().as_secs_f64() * 1e6;
    ensure!(output.status.success(), "attest verify failed: {output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let events = report["epochs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|epoch| epoch["events"].as_u64())
        .sum::<u64>();
    let events = f64::from(u32::try_from(events)?);
    ensure!(events > 0.0, "attest verify saw no events: {report}");
    let case = format!("{what}, {}", told(u64::from(size)));
    bench
        .results
        .add("i", &case, FULL, Unit::MicrosPerEvent, micros / events);
    Ok(std::fs::remove_dir_all(folder)?)
}

/// pgbench's TPC-B with the sealer off and on in turn, on a server that preloads the library; in a database of its own, for the worker
/// summarises what it finds sealed.
fn sealer(bench: &mut Bench, step: &mut Step, system: &System, seconds: u32) -> Result<()> {
    bench
        .server
        .restart("ALTER SYSTEM SET shared_preload_libraries = 'pg_attest'")?;
    bench.server.copy("template0", SEALED)?;
    let mut client = bench.server.session(SEALED)?;
    let mut init = bench.server.client("pgbench", SEALED);
    init.args(["--initialize", "--quiet", "--scale=10"]);
    run::capture(&mut init)?;
    bench.server.attach(SEALED, system, &tpcb::TABLES)?;
    let mut turns = [(SEALER_OFF, "0"), (SEALER_ON, "1s")];
    // Twice as many as of others: what is looked for is smaller than what one turn differs from the next.
    for round in 0..=bench.rounds * 2 {
        turns.reverse();
        for (case, interval) in turns {
            interrupt::check()?;
            step.progress(case);
            client.batch_execute(&format!(
                "ALTER SYSTEM SET audit.seal_interval = '{interval}'"
            ))?;
            client.batch_execute("SELECT pg_reload_conf()")?;
            // What the turn before left is not this one's.
            client.batch_execute("SELECT audit.seal()")?;
            client.batch_execute("SELECT audit.summarize_events()")?;
            let tps = tpcb::tps(bench, SEALED, "off", 4, &Length::Seconds(seconds))?;
            // The first turn warms.
            if round > 0 {
                bench.results.add("i", case, FULL, Unit::Tps, tps);
            }
        }
    }
    client.batch_execute("ALTER SYSTEM RESET audit.seal_interval")?;
    drop(client);
    bench
        .server
        .restart("ALTER SYSTEM RESET shared_preload_libraries")?;
    bench.server.drop(SEALED)
}
