//! (h): a session of many small transactions: what they take at its start and at its end.
//!
//! Each transaction is one prepared statement: the insert, the update or the delete of a row.
//! `synchronous_commit` is off. The time is the client's, with the way there and back.

use super::bulk::workload_sql;
use super::process::private_mb;
use super::results::Unit;
use super::turns::Bench;
use crate::interrupt;
use crate::stats::median;
use crate::ui::Step;
use anyhow::Result;
use postgres::Client;
use std::time::Instant;

pub const START: &str = "at the start";
pub const END: &str = "at the end";
/// Latencies are medians of so many transactions …
const BLOCK: u32 = 1000;
/// … and then of so many blocks; one block before them warms the session.
const BLOCKS: usize = 10;

pub fn run(bench: &mut Bench, step: &mut Step, transactions: u32) -> Result<()> {
    bench.build_templates(step, workload_sql!("orders", "table"), &["public.orders"])?;
    for system in bench.unaudited_and_full() {
        step.progress(&system.name);
        let mut client = bench.fresh(&system)?;
        client.batch_execute("SET synchronous_commit = off")?;
        let process: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        let mut blocks = Vec::new();
        let mut memory = None;
        for block in 0..transactions / BLOCK {
            interrupt::check()?;
            blocks.push(median(&latencies(&mut client, block * BLOCK)?));
            if blocks.len() == 1 + BLOCKS {
                memory = private_mb(process);
            }
        }
        let start = &blocks[1..blocks.len().min(1 + BLOCKS)];
        let end = &blocks[blocks.len().saturating_sub(BLOCKS)..];
        for (case, blocks, memory) in [(START, start, memory), (END, end, private_mb(process))] {
            let name = &system.name;
            bench
                .results
                .add("h", case, name, Unit::MicrosPerStatement, median(blocks));
            if let Some(memory) = memory {
                bench.results.add("h", case, name, Unit::Megabytes, memory);
            }
        }
    }
    bench.drop_templates()
}

/// Runs one block of transactions; the microseconds of each.
fn latencies(client: &mut Client, first: u32) -> Result<Vec<f64>> {
    let insert = client.prepare(
        "INSERT INTO orders VALUES ($1, 'Customer', 'Item number 1', 'new', 12.50, 3, 'deliver before noon', now())",
    )?;
    let update = client
        .prepare("UPDATE orders SET status = 'shipped', quantity = quantity + 1 WHERE id = $1")?;
    let delete = client.prepare("DELETE FROM orders WHERE id = $1")?;
    let mut all = Vec::new();
    for n in first..first + BLOCK {
        let statement = [&insert, &update, &delete][(n % 3) as usize];
        let row = i32::try_from(n / 3)?;
        let started = Instant::now();
        client.execute(statement, &[&row])?;
        all.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(all)
}
