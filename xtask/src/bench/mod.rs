//! `cargo xtask bench`: what audit costs, against nothing and against other systems, in one run.
//!
//! Systems are measured in turn, round by round, so that what else the machine does meanwhile falls
//! on all of them; a comparison is the median of the rounds' comparisons.

mod archive;
mod attest;
mod bulk;
mod chart;
mod floor;
mod growth;
mod ledger;
mod machine;
mod memory;
mod process;
mod reading;
mod reading_log;
mod report;
mod restored;
mod results;
mod retention;
mod server;
mod session;
mod single;
mod system;
mod targets;
mod tpcb;
mod turns;
mod writers;

use crate::layout::Layout;
use crate::run;
use crate::setup::{self, Purpose, Workshop};
use crate::ui::{self, Step};
use anyhow::Result;
use bulk::Bulk;
use clap::ValueEnum;
use growth::Growth;
use report::Report;
use results::Results;
use server::Server;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use system::Peer;
use tpcb::{Length, Tpcb};
use turns::Bench;

/// The workloads, by the letters under which the results are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Workload {
    /// INSERT, UPDATE, DELETE of 100,000 rows of 8 columns
    A,
    /// INSERT, UPDATE, DELETE of 100,000 rows of 40 columns
    B,
    /// COPY of 1,000,000 rows
    C,
    /// TPC-B by pgbench, four audited tables
    D,
    /// INSERT, UPDATE, DELETE of single rows
    E,
    /// Cost of capture and of a row's history as the log grows
    F,
    /// Memory for an UPDATE of 5,000,000 rows
    G,
    /// A session of 200,000 transactions
    H,
    /// Sealing, verifying and proving a log of 10,000,000 events (only when named)
    I,
    /// A month of 10,000,000 events archived to Parquet (only when named)
    P,
    /// Reading a log of 10,000,000 events (only when named)
    R,
    /// Pruning a log with a month of 5,000,000 events (only when named)
    T,
}

impl Workload {
    fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::E => "e",
            Self::F => "f",
            Self::G => "g",
            Self::H => "h",
            Self::I => "i",
            Self::P => "p",
            Self::R => "r",
            Self::T => "t",
        }
    }

    /// Whether the whole run, whose time is bounded, leaves it out.
    fn is_apart(self) -> bool {
        matches!(self, Self::I | Self::P | Self::R | Self::T)
    }

    /// What the help says about it.
    fn title(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }
}

#[derive(clap::Args)]
pub struct Options {
    /// Smaller sizes, done in under 3 minutes; the figures are rougher
    #[arg(long)]
    quick: bool,
    /// Only these workloads, by letter, separated by commas
    #[arg(
        long,
        value_name = "LETTERS",
        value_delimiter = ',',
        ignore_case = true
    )]
    only: Vec<Workload>,
    /// Only systems whose names contain one of these; the unaudited one and each --peer are always there
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    systems: Vec<String>,
    /// Another system: psql runs FILE, whose variable `tables` names the tables to attach
    #[arg(long, value_name = "NAME=FILE.sql")]
    peer: Vec<Peer>,
    /// (f) also at 50,000,000 events: 10 minutes and 60 GB more
    #[arg(long)]
    huge: bool,
    /// How often each system is measured; without it 5 times, with --quick 3
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// PostgreSQL major; without it, 15 or what the distribution packages
    #[arg(long, value_name = "MAJOR")]
    pub pg: Option<u16>,
}

impl Options {
    fn wants(&self, workload: Workload) -> bool {
        self.only.contains(&workload) || (self.only.is_empty() && !workload.is_apart())
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// Whether this is the run whose results the project keeps.
    fn is_whole(&self) -> bool {
        let all = self.only.is_empty() && self.systems.is_empty() && self.peer.is_empty();
        all && !self.quick && self.rounds() >= 5
    }

    /// The size of (p), in events.
    fn archived(&self) -> u64 {
        if self.quick { 400_000 } else { 10_000_000 }
    }

    /// The sizes of (f), in events.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes = if self.quick {
            vec![100_000, 500_000]
        } else {
            vec![1_000_000, 10_000_000]
        };
        if self.huge {
            sizes.push(50_000_000);
        }
        sizes
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
    let mut server = Server::start(&workshop, options.quick)?;
    let (date, settings) = (server.date()?, server.settings()?);
    step.done();
    ui::note(&machine::describe());
    for (name, value) in &settings {
        ui::note(&format!("{name} = {value}"));
    }

    let mut bench = Bench {
        server,
        systems,
        rounds: options.rounds(),
        results: Results::default(),
    };
    for workload in Workload::value_variants() {
        if options.wants(*workload) {
            let title = format!("({}) {}", workload.letter(), workload.title());
            let mut step = Step::start(&title);
            measure(*workload, options, &workshop, &mut bench, &mut step)?;
            step.done();
        }
    }

    let report = Report {
        command: command(),
        quick: options.quick,
        date,
        commit: commit(&workshop.layout),
        machine: machine::describe(),
        settings,
        targets: targets::check(&bench.results, &options.sizes()),
        results: bench.results,
    };
    println!("{}", report.markdown());
    let folder = folder(&workshop.layout, options);
    report.write(&folder)?;
    let time = ui::seconds(started.elapsed());
    ui::note(&format!(
        "{} has the results; all in {time}",
        folder.display()
    ));
    Ok(())
}

/// Measures one workload. Quick ones are smaller.
fn measure(
    workload: Workload,
    options: &Options,
    workshop: &Workshop,
    bench: &mut Bench,
    step: &mut Step,
) -> Result<()> {
    let size = |whole: u32, quick: u32| if options.quick { quick } else { whole };
    match workload {
        Workload::A => Bulk::orders(size(100_000, 10_000)).run(bench, step),
        Workload::B => Bulk::wide(size(100_000, 3_000)).run(bench, step),
        Workload::C => Bulk::copy(size(1_000_000, 30_000)).run(bench, step),
        Workload::D => {
            let clients: &[u32] = if options.quick { &[4] } else { &[1, 4, 16] };
            let length = if options.quick {
                Length::Transactions(200)
            } else {
                Length::Seconds(2)
            };
            Tpcb { clients, length }.run(bench, step)
        }
        Workload::E => single::run(bench, step, size(10_000, 2_000)),
        Workload::F => {
            let (rows, sizes) = (size(1_000_000, 100_000), options.sizes());
            Growth { rows, sizes }.run(bench, step)
        }
        Workload::G => memory::run(bench, step, size(5_000_000, 200_000)),
        Workload::H => session::run(bench, step, size(200_000, 22_000)),
        Workload::I => {
            let (events, seconds) = (size(10_000_000, 100_000), size(5, 1));
            ledger::run(bench, step, workshop, events, seconds)
        }
        Workload::P => archive::run(bench, step, workshop, options.archived()),
        Workload::R => reading::run(bench, step, size(100_000, 1_000)),
        Workload::T => retention::run(bench, step, size(5_000_000, 300_000)),
    }
}

/// Whole runs go where the project keeps them, others beside what is built.
fn folder(layout: &Layout, options: &Options) -> PathBuf {
    if options.is_whole() {
        layout.root.join("bench/results")
    } else {
        layout.target.join("xtask/bench")
    }
}

/// The command as one would type it again.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", arguments.join(" "))
}

fn commit(layout: &Layout) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--exclude=*"])
        .current_dir(&layout.root);
    run::capture(&mut git).ok().map(|out| out.trim().to_owned())
}
