//! `cargo xtask`: the project's own commands. `cargo xtask help` lists them.
// clap shows these comments to people: no backticks around every name.
#![allow(clippy::doc_markdown)]

mod bench;
mod cluster;
mod demo;
mod interrupt;
mod layout;
mod pgbench;
mod run;
mod setup;
mod stats;
mod test;
mod ui;

use anyhow::Result;
use clap::{Parser, Subcommand};
use setup::{DEFAULT_MAJOR, Purpose, Workshop};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The commands of pg_attest",
    after_help = "Everything that these commands build or start lives under target/ and in a cache \
                  for PostgreSQL versions built from source (PG_ATTEST_CACHE, or \
                  ~/.cache/pg_attest). The machine's own PostgreSQL and its clusters are never touched."
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows the extension at work on a private cluster, after installing what is missing
    #[command(after_help = "Examples:
  cargo xtask demo            build, start, run pgbench with audit, check, tell a story
  cargo xtask demo --stop     stop the demo's cluster
  cargo xtask demo --clean    remove the demo's cluster and its PostgreSQL")]
    Demo {
        /// Stop the demo's cluster; its data stay
        #[arg(long, conflicts_with = "clean")]
        stop: bool,
        /// Remove what the demo made
        #[arg(long)]
        clean: bool,
        /// PostgreSQL major; without it, 15 or what the distribution packages
        #[arg(long, value_name = "MAJOR", conflicts_with_all = ["stop", "clean"])]
        pg: Option<u16>,
    },
    /// Runs every test, after installing what is missing
    #[command(after_help = "Examples:
  cargo xtask test                              everything, on PostgreSQL 15
  cargo xtask test --pg 18                      the same on PostgreSQL 18 with assertions
  cargo xtask test --only regress               one stage (and what it needs)
  cargo xtask test --only regress -- attach     only tests whose names contain `attach`
  cargo xtask test --only regress --bless       take the present output as expected")]
    Test {
        /// PostgreSQL major: 15, 16, 17 or 18
        #[arg(long, value_name = "MAJOR", default_value_t = DEFAULT_MAJOR)]
        pg: u16,
        /// Run this stage alone; may be given several times
        #[arg(long, value_name = "STAGE")]
        only: Vec<test::Stage>,
        /// Write the output of regress and isolation tests as their expected output
        #[arg(long)]
        bless: bool,
        /// Run only tests whose names contain one of these
        #[arg(last = true, value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Measures what audit costs, against nothing and against other systems
    #[command(after_help = "Examples:
  cargo xtask bench                                   everything, in under 30 minutes
  cargo xtask bench --quick                           a rough look, in under 3 minutes
  cargo xtask bench --only a,e --systems pg_attest    two workloads, pg_attest against nothing
  cargo xtask bench --only d --rounds 9               TPC-B with more rounds
  cargo xtask bench --peer mine=mine.sql --only a     a system of your own; see bench/README.md")]
    Bench(bench::Options),
    /// Installs and builds the tool set, and nothing else
    #[command(after_help = "Examples:
  cargo xtask setup
  cargo xtask setup --pg 18")]
    Setup {
        /// PostgreSQL major: 15, 16, 17 or 18
        #[arg(long, value_name = "MAJOR", default_value_t = DEFAULT_MAJOR)]
        pg: u16,
    },
    /// Prints the environment for plain cargo and cargo-pgrx commands
    #[command(after_help = "Example:
  eval \"$(cargo xtask env)\" && cargo pgrx test pg15
  eval \"$(cargo xtask env --pg 18)\" && cargo pgrx test pg18 --no-default-features --features pg18")]
    Env {
        /// PostgreSQL major: 15, 16, 17 or 18
        #[arg(long, value_name = "MAJOR", default_value_t = DEFAULT_MAJOR)]
        pg: u16,
    },
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<bool> {
    interrupt::install()?;
    match arguments.command {
        Task::Bench(options) => {
            options.pg.map_or(Ok(()), test::check_major)?;
            bench::run(&options)?;
            Ok(true)
        }
        Task::Demo { stop, clean, pg } => {
            pg.map_or(Ok(()), test::check_major)?;
            match (stop, clean) {
                (true, _) => demo::stop()?,
                (_, true) => demo::clean()?,
                _ => demo::run(pg)?,
            }
            Ok(true)
        }
        Task::Test {
            pg,
            only,
            bless,
            filters,
        } => {
            test::check_major(pg)?;
            test::run(&test::Options {
                major: pg,
                only,
                bless,
                filters,
            })
        }
        Task::Setup { pg } => {
            test::check_major(pg)?;
            let workshop = Workshop::prepare(pg, Purpose::Test)?;
            println!("PostgreSQL {pg} is ready: {}", workshop.bindir.display());
            Ok(true)
        }
        Task::Env { pg } => {
            test::check_major(pg)?;
            setup::print_environment(pg)?;
            Ok(true)
        }
    }
}
