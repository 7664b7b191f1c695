//! (p): `attest archive`: how fast a closed month goes to Parquet, verified by reading it back; what it takes there, and what
//! memory the program takes. Then how long the log takes to check and record the archive, without which nothing may be pruned.
//!
//! The month's events are those that capture made of an INSERT and an UPDATE of `orders`, again and again under new ids and
//! with new salts. A row group is smaller than one such turn: nothing compresses for being repeated.

use super::attest;
use super::bulk::{between, workload_sql};
use super::growth::told;
use super::process::Peak;
use super::restored::{LEAVE_IDS, Restored};
use super::results::Unit;
use super::system::FULL;
use super::turns::Bench;
use crate::interrupt;
use crate::setup::Workshop;
use crate::ui::Step;
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::process::Stdio;
use std::time::Instant;

pub const ARCHIVE: &str = "archive";
const RECORD: &str = "recording the archive";
pub const HEAP: &str = "heap";
pub const PARQUET: &str = "Parquet";
const DATABASE: &str = "archive";
/// Rows of a turn, each of which makes two events: more than a row group has.
const ROWS: u32 = 100_000;
/// The archived month, in months ago.
const MONTH: u32 = 2;

/// Once: the sizes are what they are, and the time is long.
pub fn run(bench: &mut Bench, step: &mut Step, workshop: &Workshop, events: u64) -> Result<()> {
    let Some(system) = bench.full("p") else {
        return Ok(());
    };
    let program = attest::build(workshop, step)?;
    bench.server.copy("template0", DATABASE)?;
    let mut client = bench.server.session(DATABASE)?;
    client.batch_execute(workload_sql!("orders", "table"))?;
    bench.server.attach(DATABASE, &system, &["public.orders"])?;
    let month = fill(step, &mut client, events)?;
    drop(client);
    step.progress("sealing");
    let mut client = bench.server.sealed(DATABASE)?;
    bench.server.checkpoint()?;
    let sizes = "SELECT count(*), pg_table_size($1::text::regclass) FROM audit.audit_events WHERE tableoid = $1::text::regclass";
    let row = client.query_one(sizes, &[&format!("audit.{month}")])?;
    let (count, heap): (i64, i64) = (row.get(0), row.get(1));
    let count = f64::from(u32::try_from(count)?);

    step.progress("archiving");
    let folder = workshop.layout.target.join("xtask/bench-archive");
    let _ = std::fs::remove_dir_all(&folder);
    let program = program.to_str().context("a path is not UTF-8")?;
    let started = Instant::now();
    let mut attest = bench.server.client(program, DATABASE);
    attest
        .args([
            "archive",
            "--no-record",
            "--partition",
            &month,
            "--db",
            "postgresql://",
        ])
        .arg(&folder)
        .stdout(Stdio::null());
    let mut attest = attest.spawn()?;
    let peak = Peak::watch(i32::try_from(attest.id())?);
    ensure!(attest.wait()?.success(), "attest archive failed");
    let micros = started.elapsed().as_secs_f64() * 1e6;
    let megabytes = peak.end();
    step.progress("recording");
    let archive = folder.join(&month);
    let manifest = std::fs::read_to_string(archive.join("manifest.json"))?;
    let uri = format!("file://{}", archive.display());
    let started = Instant::now();
    client.execute("SELECT audit.record_archive($1, $2)", &[&uri, &manifest])?;
    let recording = started.elapsed().as_secs_f64() * 1e6;
    let case = told(events);
    let mut add = |case: String, unit, value| bench.results.add("p", &case, FULL, unit, value);
    add(
        format!("{ARCHIVE}, {case}"),
        Unit::MicrosPerEvent,
        micros / count,
    );
    add(format!("{ARCHIVE}, {case}"), Unit::Megabytes, megabytes);
    add(
        format!("{RECORD}, {case}"),
        Unit::MicrosPerEvent,
        recording / count,
    );
    let parquet = std::fs::read_dir(archive.join("events"))?
        .map(|file| Ok(file?.metadata()?.len()))
        .sum::<std::io::Result<u64>>()?;
    for (what, bytes) in [(HEAP, heap.unsigned_abs()), (PARQUET, parquet)] {
        let megabytes = f64::from(u32::try_from(bytes >> 10)?) / 1024.0;
        let each = megabytes * 1024.0 * 1024.0 / count;
        add(format!("{what}, {case}"), Unit::BytesPerEvent, each);
    }
    std::fs::remove_dir_all(&folder)?;
    drop(client);
    bench.server.drop(DATABASE)
}

/// Fills a month that is over; gives its partition.
fn fill(step: &mut Step, client: &mut Client, events: u64) -> Result<String> {
    client.batch_execute(LEAVE_IDS)?;
    client.batch_execute(&between(workload_sql!("orders", "insert"), 1, ROWS))?;
    client.batch_execute(&between(workload_sql!("orders", "update"), 1, ROWS))?;
    let restored = Restored::new(client, "operation IN ('insert', 'update')", &[MONTH])?;
    let turns = u32::try_from(events.div_ceil(u64::from(ROWS) * 2))?;
    for number in 1..=turns {
        interrupt::check()?;
        step.progress(&format!("filling: turn {number} of {turns}"));
        restored.put(client, number, MONTH)?;
    }
    step.progress("vacuuming");
    client.batch_execute("VACUUM ANALYZE audit.audit_events")?;
    let month = format!(
        "SELECT 'audit_events_' || to_char((now() - interval '{MONTH} months') AT TIME ZONE 'UTC', 'YYYY_MM')"
    );
    Ok(client.query_one(&month, &[])?.get(0))
}
