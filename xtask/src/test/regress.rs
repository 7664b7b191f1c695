//! pg_regress and pg_isolation_regress over `pg_test/`, against a temporary cluster.
//!
//! Every file in the input folder is a test; one without expected output fails. Inputs are copied
//! to where the server's user can read them; results come back to `target/xtask`.

use super::Options;
use super::count::{self, Count};
use crate::cluster::{Cluster, TEMPORARY};
use crate::setup::Workshop;
use crate::{interrupt, run, ui};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// What tells the two programs apart.
pub struct Suite {
    name: &'static str,
    inputs: &'static str,
    extension: &'static str,
    program: &'static str,
}

pub const SQL: Suite = Suite {
    name: "regress",
    inputs: "sql",
    extension: "sql",
    program: "pgxs/src/test/regress/pg_regress",
};

pub const ISOLATION: Suite = Suite {
    name: "isolation",
    inputs: "specs",
    extension: "spec",
    program: "pgxs/src/test/isolation/pg_isolation_regress",
};

const SETTINGS: &str = "fsync = off\nmax_prepared_transactions = 20\nautovacuum = off\n";

pub fn run(
    workshop: &Workshop,
    step: &mut ui::Step,
    suite: &Suite,
    options: &Options,
) -> Result<Count> {
    let layout = &workshop.layout;
    let source = layout.root.join("pg_test").join(suite.name);
    let all = tests(&source.join(suite.inputs), suite.extension)?;
    if all.is_empty() {
        bail!(
            "no tests: there is no {}/*.{}",
            source.join(suite.inputs).display(),
            suite.extension
        );
    }
    let matches = |name: &String| {
        options.filters.is_empty() || options.filters.iter().any(|f| name.contains(f.as_str()))
    };
    let tests: Vec<String> = all.into_iter().filter(matches).collect();
    if tests.is_empty() {
        return Ok(Count::default());
    }

    let name = format!("{TEMPORARY}{}", suite.name);
    let cluster = Cluster::create(layout, &workshop.bindir, &name, SETTINGS)?;
    cluster.start()?;
    let work = cluster.home().join("work");
    layout.copy_for_server(&source, &work)?;
    let missing = add_missing(&work, &tests)?;

    let program = workshop.pg_folder("--pkglibdir")?.join(suite.program);
    let mut command = layout.user.command(&program);
    command.arg(format!("--inputdir={}", work.display()));
    command.arg(format!("--outputdir={}", work.display()));
    if workshop.major >= 16 {
        command.arg(format!("--expecteddir={}", work.display()));
    }
    command.arg(format!("--bindir={}", workshop.bindir.display()));
    command.arg(format!("--host={}", cluster.sockets().display()));
    command.arg(format!("--port={}", cluster.port));
    command.args([
        "--user=postgres",
        "--dbname=regression",
        "--load-extension=pg_attest",
    ]);
    command.args(&tests).current_dir(&work);
    let log = layout.log(&format!("{}-pg{}", suite.name, workshop.major));
    let success = run::logged_in(step, &log, &mut command)?.success();

    let kept = layout
        .target
        .join(format!("xtask/{}-pg{}", suite.name, workshop.major));
    keep_results(&work, &cluster.server_log(), &kept)?;
    let mut count = count::regress(&std::fs::read_to_string(&log)?);
    interrupt::check()?;
    if options.bless {
        bless(&kept.join("results"), &source.join("expected"), &tests)?;
        ui::note(&format!(
            "wrote the expected output of {}: review it",
            tests.join(", ")
        ));
        return Ok(Count {
            passed: tests.len() as u64,
            failed: 0,
        });
    }
    if !success {
        run::show_tail(&log, 60);
        run::show_tail(&kept.join("regression.diffs"), 400);
        eprintln!("results, diffs and the server's log: {}", kept.display());
        count.failed = count.failed.max(1);
    }
    if !missing.is_empty() {
        eprintln!(
            "without expected output: {} (--bless writes it)",
            missing.join(", ")
        );
        count.failed = count.failed.max(missing.len() as u64);
    }
    Ok(count)
}

/// The names of the tests in a folder, in order.
fn tests(folder: &Path, extension: &str) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            let stem = path.file_stem().and_then(|s| s.to_str());
            names.push(
                stem.with_context(|| format!("odd name: {}", path.display()))?
                    .to_owned(),
            );
        }
    }
    names.sort();
    Ok(names)
}

/// Gives a test without expected output an empty one, so that it runs, fails and shows its output.
fn add_missing(work: &Path, tests: &[String]) -> Result<Vec<String>> {
    let expected = work.join("expected");
    std::fs::create_dir_all(&expected)?;
    let mut missing = Vec::new();
    for test in tests {
        let path = expected.join(format!("{test}.out"));
        if !path.exists() {
            std::fs::write(path, "")?;
            missing.push(test.clone());
        }
    }
    Ok(missing)
}

fn keep_results(work: &Path, server_log: &Path, kept: &Path) -> Result<()> {
    if kept.exists() {
        std::fs::remove_dir_all(kept)?;
    }
    std::fs::create_dir_all(kept.join("results"))?;
    for entry in std::fs::read_dir(work.join("results"))
        .into_iter()
        .flatten()
        .flatten()
    {
        std::fs::copy(entry.path(), kept.join("results").join(entry.file_name()))?;
    }
    for file in [&work.join("regression.diffs"), server_log] {
        if let (true, Some(name)) = (file.exists(), file.file_name()) {
            std::fs::copy(file, kept.join(name))?;
        }
    }
    Ok(())
}

fn bless(results: &Path, expected: &Path, tests: &[String]) -> Result<()> {
    std::fs::create_dir_all(expected)?;
    for test in tests {
        let name = format!("{test}.out");
        std::fs::copy(results.join(&name), expected.join(&name))
            .with_context(|| format!("{test} left no output"))?;
    }
    Ok(())
}
