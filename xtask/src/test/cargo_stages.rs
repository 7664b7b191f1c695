//! The stages that are cargo commands.

use super::count::{self, Count};
use super::{interop, mermaid, python};
use crate::setup::{self, Workshop};
use crate::{cluster, interrupt, run, ui};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// How much of a failed test run is shown.
const TAIL: usize = 150;

/// What the live tests need of Python: DuckDB, and a stand-in for S3; beside them those who judge the log.
const LIVE: [&str; 2] = [
    "pg_test/live/python/requirements.txt",
    interop::REQUIREMENTS,
];
/// What the readers need of Python: Prometheus' parser, and npm.
const READERS: &str = "pg_test/live/python/readers.txt";

pub fn fmt(workshop: &Workshop, step: &mut ui::Step) -> Result<Count> {
    let mut command = workshop.cargo()?;
    command.args(["fmt", "--all", "--check"]);
    single(workshop, step, "fmt", &mut command)
}

pub fn clippy(workshop: &Workshop, step: &mut ui::Step) -> Result<Count> {
    let mut command = workshop.cargo()?;
    command
        .args(["clippy", "--workspace", "--all-targets"])
        .args(workshop.features());
    command.args(["--", "-D", "warnings"]);
    single(workshop, step, "clippy", &mut command)
}

/// The crates that run without PostgreSQL, this program among them.
pub fn unit(workshop: &Workshop, step: &mut ui::Step, filters: &[String]) -> Result<Count> {
    let mut command = workshop.cargo()?;
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "pg_attest",
        "--exclude",
        "live-tests",
    ]);
    command.arg("--no-fail-fast").arg("--").args(filters);
    tests(workshop, step, "unit", &mut command, !filters.is_empty())
}

pub fn pgrx(workshop: &Workshop, step: &mut ui::Step, filters: &[String]) -> Result<Count> {
    let scratch = workshop.layout.scratch_folder("pgrx")?;
    let mut command = workshop.cargo()?;
    command.args(["pgrx", "test", &format!("pg{}", workshop.major)]);
    if let Some(filter) = filters.first() {
        command.arg(filter);
    }
    command
        .args(workshop.features())
        .arg("--pgdata")
        .arg(&scratch);
    if let Some(name) = workshop.layout.user.name() {
        command.args(["--runas", name]);
    }
    let result = tests(workshop, step, "pgrx", &mut command, !filters.is_empty());
    cluster::stop_under(&workshop.bindir, &workshop.layout.user, &scratch);
    let _ = std::fs::remove_dir_all(&scratch);
    result
}

pub fn install(workshop: &Workshop, step: &mut ui::Step) -> Result<Count> {
    let mut command = workshop.install_command()?;
    single(workshop, step, "install", &mut command)
}

/// The live tests start clusters of their own, of the private PostgreSQL and as the server's user. They run `attest` too.
pub fn live(workshop: &Workshop, step: &mut ui::Step, filters: &[String]) -> Result<Count> {
    let python = python::environment(workshop, step, "live", &LIVE)?;
    let targets = ["--lib", "--test", "live", "--test", "property"];
    let tools = [("PG_ATTEST_PYTHON", &*python)];
    live_tests(workshop, step, "live", &targets, &tools, filters)
}

/// Live tests whose judges are programs of others.
pub fn readers(workshop: &Workshop, step: &mut ui::Step, filters: &[String]) -> Result<Count> {
    setup::ensure_readers()?;
    let python = python::environment(workshop, step, "readers", &[READERS])?;
    let mermaid = mermaid::library(workshop, step, &python)?;
    let targets = ["--test", "readers"];
    let tools = [
        ("PG_ATTEST_PYTHON", &*python),
        ("PG_ATTEST_MERMAID", &mermaid),
    ];
    live_tests(workshop, step, "readers", &targets, &tools, filters)
}

fn live_tests(
    workshop: &Workshop,
    step: &mut ui::Step,
    name: &str,
    targets: &[&str],
    tools: &[(&str, &Path)],
    filters: &[String],
) -> Result<Count> {
    let scratch = workshop
        .layout
        .scratch_folder(&format!("{}live", cluster::TEMPORARY))?;
    let mut attest = workshop.cargo()?;
    attest.args(["build", "--package", "attest-cli"]);
    single(workshop, step, "attest", &mut attest)?;
    let mut command = workshop.cargo()?;
    command
        .args(["test", "--package", "live-tests"])
        .args(targets)
        .args(["--no-fail-fast", "--"])
        .args(filters);
    command
        .env("PG_ATTEST_BINDIR", &workshop.bindir)
        .env("PG_ATTEST_TMP", &scratch)
        .envs(tools.iter().copied());
    match workshop.older() {
        Some(bindir) => command.env("PG_ATTEST_OLD_BINDIR", bindir),
        None => command.env_remove("PG_ATTEST_OLD_BINDIR"),
    };
    match workshop.layout.user.name() {
        Some(name) => command.env("PG_ATTEST_RUNAS", name),
        None => command.env_remove("PG_ATTEST_RUNAS"),
    };
    let result = tests(workshop, step, name, &mut command, !filters.is_empty());
    cluster::stop_under(&workshop.bindir, &workshop.layout.user, &scratch);
    let _ = std::fs::remove_dir_all(&scratch);
    result
}

/// A command that counts as one test.
fn single(
    workshop: &Workshop,
    step: &mut ui::Step,
    name: &str,
    command: &mut Command,
) -> Result<Count> {
    let log = workshop.layout.log(&format!("{name}-pg{}", workshop.major));
    if run::logged_in(step, &log, command)?.success() {
        return Ok(Count::ONE);
    }
    run::show_tail(&log, TAIL);
    bail!(
        "{} failed; full log: {}",
        run::describe(command),
        log.display()
    );
}

/// A cargo test command, whose tests are counted.
fn tests(
    workshop: &Workshop,
    step: &mut ui::Step,
    name: &str,
    command: &mut Command,
    filtered: bool,
) -> Result<Count> {
    let log = workshop.layout.log(&format!("{name}-pg{}", workshop.major));
    let success = run::logged_in(step, &log, command)?.success();
    let mut count = count::cargo(&std::fs::read_to_string(&log).unwrap_or_default());
    if !success {
        run::show_tail(&log, TAIL);
        eprintln!(
            "{} failed; full log: {}",
            run::describe(command),
            log.display()
        );
        // It may have failed to compile.
        count.failed = count.failed.max(1);
        interrupt::check()?;
    } else if count == Count::default() && !filtered {
        bail!("{} ran no tests", run::describe(command));
    }
    Ok(count)
}
