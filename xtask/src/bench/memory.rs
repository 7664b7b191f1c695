//! (g): the memory that a server process takes for an UPDATE of a whole large table.

use super::bulk::{between, workload_sql};
use super::process::{Peak, private_mb};
use super::results::Unit;
use super::turns::Bench;
use crate::interrupt;
use crate::ui::{self, Step};
use anyhow::Result;

pub const CASE: &str = "UPDATE";
const FILLED: &str = "memory";
const ROUND: &str = "bench";

/// Once for each system: memory does not vary as time does.
pub fn run(bench: &mut Bench, step: &mut Step, rows: u32) -> Result<()> {
    step.progress("filling the table");
    bench.server.copy("template0", FILLED)?;
    let mut client = bench.server.session(FILLED)?;
    client.batch_execute(workload_sql!("orders", "table"))?;
    client.batch_execute(&between(workload_sql!("orders", "insert"), 1, rows))?;
    client.batch_execute("VACUUM ANALYZE orders")?;
    drop(client);
    for system in bench.unaudited_and_full() {
        interrupt::check()?;
        step.progress(&system.name);
        bench.server.copy(FILLED, ROUND)?;
        bench.server.attach(ROUND, &system, &["public.orders"])?;
        let mut client = bench.server.session(ROUND)?;
        let process: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        if private_mb(process).is_none() {
            ui::note("this system does not tell a process's private memory: (g) is left out");
            break;
        }
        let peak = Peak::watch(process);
        client.batch_execute(&between(workload_sql!("orders", "update"), 1, rows))?;
        bench
            .results
            .add("g", CASE, &system.name, Unit::Megabytes, peak.end());
    }
    bench.server.drop(ROUND)?;
    bench.server.drop(FILLED)
}
