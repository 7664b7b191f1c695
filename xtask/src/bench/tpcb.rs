//! (d): pgbench's TPC-B with its four tables audited, as transactions a second.
//!
//! Each system has a database of its own for the whole workload. Under each combination of clients and
//! `synchronous_commit`, short runs follow each other, system by system and round by round. Before them
//! come a checkpoint, a touch of every page, for the first one after a checkpoint writes the whole page to
//! the WAL, and a run that is not counted.

use super::results::Unit;
use super::server::CONTEXT;
use super::system::System;
use super::turns::Bench;
use crate::ui::Step;
use crate::{interrupt, pgbench, run};
use anyhow::Result;

pub const TABLES: [&str; 4] = [
    "public.pgbench_accounts",
    "public.pgbench_branches",
    "public.pgbench_tellers",
    "public.pgbench_history",
];
/// Locks a row of each page of the only large table (61 rows fit, fewer where a system has added a column).
const TOUCH: &str =
    "SELECT count(*) FROM (SELECT FROM pgbench_accounts WHERE aid % 40 = 0 FOR UPDATE) AS touched";
const FILLED: &str = "tpcb";

/// How long a run is.
pub enum Length {
    Seconds(u32),
    /// Of each client.
    Transactions(u32),
}

/// Of the run that is not counted.
const WARM: Length = Length::Transactions(200);

/// How long and with how many clients.
pub struct Tpcb {
    pub clients: &'static [u32],
    pub length: Length,
}

impl Tpcb {
    pub fn run(&self, bench: &mut Bench, step: &mut Step) -> Result<()> {
        step.progress("filling pgbench's tables");
        bench.server.copy("template0", FILLED)?;
        let mut init = bench.server.client("pgbench", FILLED);
        // As many branches as the most clients: fewer would make them wait for each other.
        let scale = self.clients.iter().max().copied().unwrap_or(1);
        init.args(["--initialize", "--quiet", &format!("--scale={scale}")]);
        run::capture(&mut init)?;
        for system in &bench.systems {
            interrupt::check()?;
            step.progress(&format!("setting up {}", system.name));
            bench.server.copy(FILLED, &database(system))?;
            bench.server.attach(&database(system), system, &TABLES)?;
        }
        for commit in ["off", "on"] {
            for clients in self.clients {
                self.combination(bench, step, commit, *clients)?;
            }
        }
        for system in &bench.systems {
            bench.server.drop(&database(system))?;
        }
        bench.server.drop(FILLED)
    }

    fn combination(
        &self,
        bench: &mut Bench,
        step: &mut Step,
        commit: &str,
        clients: u32,
    ) -> Result<()> {
        let case = case(clients, commit);
        bench.server.checkpoint()?;
        for system in &bench.systems {
            interrupt::check()?;
            step.progress(&format!("{case}: warming {}", system.name));
            bench
                .server
                .session(&database(system))?
                .batch_execute(TOUCH)?;
            tps(bench, &database(system), commit, clients, &WARM)?;
        }
        bench.in_turn(step, |bench, system| {
            let tps = tps(bench, &database(system), commit, clients, &self.length)?;
            bench.results.add("d", &case, &system.name, Unit::Tps, tps);
            Ok(())
        })
    }
}

/// One run. The two small tables, whose rows change all the time, are vacuumed before, as pgbench
/// itself does.
pub fn tps(
    bench: &Bench,
    database: &str,
    commit: &str,
    clients: u32,
    length: &Length,
) -> Result<f64> {
    bench
        .server
        .session(database)?
        .batch_execute("VACUUM pgbench_branches, pgbench_tellers")?;
    let mut command = bench.server.client("pgbench", database);
    command.env(
        "PGOPTIONS",
        format!("{CONTEXT} -c synchronous_commit={commit}"),
    );
    command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2"]);
    command.arg(format!("--client={clients}"));
    command.arg(match length {
        Length::Seconds(seconds) => format!("--time={seconds}"),
        Length::Transactions(transactions) => format!("--transactions={transactions}"),
    });
    Ok(pgbench::report(&run::capture(&mut command)?)?.tps)
}

/// The name of one combination.
pub fn case(clients: u32, commit: &str) -> String {
    let plural = if clients == 1 { "" } else { "s" };
    format!("{clients} client{plural}, commit {commit}")
}

fn database(system: &System) -> String {
    format!("tpcb {}", system.name)
}
