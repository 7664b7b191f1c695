//! The stage fuzz: every target of `crates/attest-log/fuzz` for a bounded time, coverage-guided (libFuzzer): the parsers of
//! `attest-log`, and those of `attest`.
//!
//! Plain cargo with the flags that cargo-fuzz sets, less the sanitizer, which needs a nightly toolchain and has little to
//! say to code without `unsafe`. `cargo fuzz run --sanitizer none TARGET` in `crates/attest-log` works as well.

use super::count::Count;
use crate::setup::Workshop;
use crate::{interrupt, run, ui};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

const FOLDER: &str = "crates/attest-log/fuzz";
const SECONDS: u32 = 10;
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

pub fn run(workshop: &Workshop, step: &mut ui::Step) -> Result<Count> {
    let folder = workshop.layout.root.join(FOLDER);
    let target = workshop.layout.target.join("fuzz");
    let host = host()?;
    let log = workshop.layout.log("fuzz-build");
    step.progress("building");
    let mut build = workshop.cargo()?;
    build
        .current_dir(&folder)
        // With a target of its own: build scripts and macros are not instrumented.
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            &host,
            "--target-dir",
        ])
        .arg(&target)
        .env("RUSTFLAGS", FLAGS);
    if !run::logged_in(step, &log, &mut build)?.success() {
        run::show_tail(&log, 40);
        bail!(
            "{} failed; full log: {}",
            run::describe(&build),
            log.display()
        );
    }
    let programs = target.join(host).join("release");
    let mut count = Count::default();
    for name in names(&folder)? {
        interrupt::check()?;
        step.progress(&name);
        let log = workshop.layout.log(&format!("fuzz-{name}"));
        let corpus = target.join("corpus").join(&name);
        std::fs::create_dir_all(&corpus)?;
        let mut command = Command::new(programs.join(&name));
        command
            .current_dir(&target)
            .arg(format!("-max_total_time={SECONDS}"))
            .args(["-max_len=4096", "-timeout=10"])
            .arg(&corpus)
            .arg(folder.join("seeds").join(&name));
        if run::logged_in(step, &log, &mut command)?.success() {
            count.passed += 1;
        } else {
            count.failed += 1;
            eprintln!("{name} failed; full log: {}", log.display());
            run::show_tail(&log, 40);
        }
    }
    Ok(count)
}

/// The targets, which are the files of their folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.join("fuzz_targets"))? {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// The machine's target triple.
fn host() -> Result<String> {
    let version = run::capture(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
