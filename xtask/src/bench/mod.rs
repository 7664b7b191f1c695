//! `cargo xtask bench`: what audit costs, against nothing and against other systems, in one run.
//!
//! Systems are measured in turn, round by round, so that what else the machine does meanwhile falls
//! on all of them; a comparison is the median of the rounds' comparisons.

mod bulk;
mod floor;
mod machine;
mod report;
mod results;
mod server;
mod single;
mod system;

use crate::setup::{self, Purpose, Workshop};
use crate::ui::{self, Step};
use crate::{interrupt, run};
use anyhow::{Context, Result};
use bulk::Bulk;
use clap::ValueEnum;
use results::Results;
use server::Server;
use std::time::Instant;
use system::{Peer, System};

/// The workloads, by the letters under which the results are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Workload {
    /// INSERT, UPDATE, DELETE of 100,000 rows of 8 columns
    A,
    /// The same with 40 columns
    B,
    /// COPY of 1,000,000 rows
    C,
    /// INSERT, UPDATE, DELETE of single rows
    E,
}

#[derive(clap::Args)]
pub struct Options {
    /// Smaller sizes, done in under 3 minutes; the figures are rougher
    #[arg(long)]
    quick: bool,
    /// Only these workloads, separated by commas
    #[arg(
        long,
        value_name = "LETTERS",
        value_delimiter = ',',
        ignore_case = true
    )]
    only: Vec<Workload>,
    /// Only systems whose names contain one of these; the unaudited one is always there
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    systems: Vec<String>,
    /// Another system: psql runs FILE, whose variable `tables` names the tables to attach
    #[arg(long, value_name = "NAME=FILE.sql")]
    peer: Vec<Peer>,
    /// How often each system is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// PostgreSQL major; without it, 15 or what the distribution packages
    #[arg(long, value_name = "MAJOR")]
    pg: Option<u16>,
}

impl Options {
    pub fn major(&self) -> Option<u16> {
        self.pg
    }

    fn wants(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }
}

/// A run: where it measures, what, and what came out so far.
pub struct Bench {
    server: Server,
    systems: Vec<System>,
    rounds: u32,
    results: Results,
}

impl Bench {
    /// Calls `measure` for each system in each round. Every round begins with another system.
    fn in_turn(
        &mut self,
        step: &mut Step,
        mut measure: impl FnMut(&mut Self, &System, u32) -> Result<()>,
    ) -> Result<()> {
        let mut systems = self.systems.clone();
        for round in 1..=self.rounds {
            for system in &systems {
                interrupt::check()?;
                step.progress(&format!(
                    "round {round} of {}: {}",
                    self.rounds, system.name
                ));
                measure(self, system, round)
                    .with_context(|| format!("measuring {}", system.name))?;
            }
            systems.rotate_left(1);
        }
        Ok(())
    }
}

pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let major = options.pg.unwrap_or_else(setup::packaged_major);
    let workshop = Workshop::prepare(major, Purpose::Bench)?;
    let systems = system::all(&workshop, &options.systems, &options.peer)?;
    let mut install = workshop.install_command()?;
    install.arg("--release");
    run::logged(
        "Building the extension in release mode (about 4 minutes the first time)",
        &workshop.layout.log("bench-install"),
        &mut install,
    )?;
    let step = Step::start("Starting a private cluster");
    let mut bench = Bench {
        server: Server::start(&workshop, options.quick)?,
        systems,
        rounds: options.rounds,
        results: Results::default(),
    };
    let settings = bench.server.settings()?;
    step.done();
    ui::note(&machine::describe());
    for (name, value) in &settings {
        ui::note(&format!("{name} = {value}"));
    }

    for workload in Workload::value_variants() {
        if options.wants(*workload) {
            measure(*workload, options.quick, &mut bench)?;
        }
    }
    report::print(&bench.results);
    ui::note(&format!("all in {}", ui::seconds(started.elapsed())));
    Ok(())
}

/// Measures one workload. Quick ones are smaller.
fn measure(workload: Workload, quick: bool, bench: &mut Bench) -> Result<()> {
    let size = |whole: u32, small: u32| if quick { small } else { whole };
    let letter = format!("{workload:?}").to_lowercase();
    let help = workload
        .to_possible_value()
        .and_then(|value| value.get_help().map(ToString::to_string))
        .unwrap_or_default();
    let mut step = Step::start(&format!("({letter}) {help}"));
    match workload {
        Workload::A => Bulk::orders(size(100_000, 20_000)).run(bench, &mut step)?,
        Workload::B => Bulk::wide(size(100_000, 5_000)).run(bench, &mut step)?,
        Workload::C => Bulk::copy(size(1_000_000, 50_000)).run(bench, &mut step)?,
        Workload::E => single::run(bench, &mut step, size(20_000, 4_000))?,
    }
    step.done();
    Ok(())
}
