//! `cargo xtask test`: every test of the project, stage by stage, stopping at the first failure.

mod cargo_stages;
mod count;
mod fuzz;
mod interop;
mod mermaid;
mod python;
mod regress;

use crate::setup::{Purpose, Workshop};
use crate::{interrupt, ui};
use anyhow::{Result, bail};
use clap::ValueEnum;
use count::Count;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Stage {
    /// Formatting: cargo fmt --check
    Fmt,
    /// Lints, warnings denied (on the default major alone)
    Clippy,
    /// Tests of the crates that need no PostgreSQL
    Unit,
    /// Other people's software judges the log's formats (on the default major alone)
    Interop,
    /// Every parser of the log's formats under a fuzzer for a while (on the default major alone)
    Fuzz,
    /// Tests inside PostgreSQL: cargo pgrx test
    Pgrx,
    /// Builds the extension and installs it into the private PostgreSQL
    Install,
    /// pg_test/regress: SQL against expected output
    Regress,
    /// pg_test/isolation: concurrent sessions against expected output
    Isolation,
    /// pg_test/live: real clusters, crashes, dumps, poolers
    Live,
    /// Other people's software reads what the log tells: InfluxDB, Prometheus, a browser (on the default major alone)
    Readers,
}

impl Stage {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// These have nothing to do with PostgreSQL's major.
    fn once(self) -> bool {
        matches!(
            self,
            Self::Clippy | Self::Interop | Self::Fuzz | Self::Readers
        )
    }

    /// These run against the extension as the install stage left it.
    fn needs_install(self) -> bool {
        self > Self::Install
    }
}

pub struct Options {
    pub major: u16,
    pub only: Vec<Stage>,
    pub bless: bool,
    /// Only tests whose names contain one of these; empty: all.
    pub filters: Vec<String>,
}

/// A stage that ended.
struct Outcome {
    stage: Stage,
    count: Count,
    time: Duration,
}

/// Whether everything passed.
pub fn run(options: &Options) -> Result<bool> {
    let workshop = Workshop::prepare(options.major, Purpose::Test)?;
    let mut outcomes = Vec::new();
    for stage in stages(options) {
        let title = format!("{} (pg{})", stage.name(), options.major);
        let mut step = ui::Step::start(&title);
        let result = run_stage(stage, &workshop, options, &mut step);
        let count = result.as_ref().map_or(
            Count {
                passed: 0,
                failed: 1,
            },
            |count| *count,
        );
        let time = if count.failed == 0 {
            step.done()
        } else {
            step.failed()
        };
        if let Err(error) = result {
            eprintln!("{error:#}");
        }
        outcomes.push(Outcome { stage, count, time });
        if count.failed > 0 {
            break;
        }
    }
    let total = summary(&outcomes);
    interrupt::check()?;
    Ok(total.failed == 0)
}

fn stages(options: &Options) -> Vec<Stage> {
    let wanted = |stage: &Stage| {
        let asked = options.only.is_empty() || options.only.contains(stage);
        let needed = *stage == Stage::Install && options.only.iter().any(|s| s.needs_install());
        asked || needed
    };
    Stage::value_variants()
        .iter()
        .copied()
        .filter(wanted)
        .filter(|stage| !stage.once() || options.major == crate::setup::DEFAULT_MAJOR)
        .collect()
}

fn run_stage(
    stage: Stage,
    workshop: &Workshop,
    options: &Options,
    step: &mut ui::Step,
) -> Result<Count> {
    interrupt::check()?;
    let filters = &options.filters;
    match stage {
        Stage::Fmt => cargo_stages::fmt(workshop, step),
        Stage::Clippy => cargo_stages::clippy(workshop, step),
        Stage::Unit => cargo_stages::unit(workshop, step, filters),
        Stage::Interop => interop::run(workshop, step),
        Stage::Fuzz => fuzz::run(workshop, step),
        Stage::Pgrx => cargo_stages::pgrx(workshop, step, filters),
        Stage::Install => cargo_stages::install(workshop, step),
        Stage::Regress => regress::run(workshop, step, &regress::SQL, options),
        Stage::Isolation => regress::run(workshop, step, &regress::ISOLATION, options),
        Stage::Live => cargo_stages::live(workshop, step, filters),
        Stage::Readers => cargo_stages::readers(workshop, step, filters),
    }
}

/// Prints the table; its last line is for machines.
fn summary(outcomes: &[Outcome]) -> Count {
    let mut total = Count::default();
    println!("\n{:<10} {:>7} {:>7}  time", "stage", "passed", "failed");
    for Outcome { stage, count, time } in outcomes {
        let time = ui::seconds(*time);
        println!(
            "{:<10} {:>7} {:>7}  {time}",
            stage.name(),
            count.passed,
            count.failed
        );
        total += *count;
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    total
}

/// The PostgreSQL majors that the extension knows.
pub fn check_major(major: u16) -> Result<()> {
    if !crate::setup::MAJORS.contains(&major) {
        bail!("PostgreSQL {major} is not among {:?}", crate::setup::MAJORS);
    }
    Ok(())
}
