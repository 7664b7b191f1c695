//! The stage interop: programs that are not ours judge a made-up log of `crates/attest-log`, and a verifier that was
//! written from docs/log-format.md alone finds what is changed in it.

use super::count::Count;
use super::python::{done, environment};
use crate::setup::Workshop;
use crate::{interrupt, run, ui};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "crates/attest-log/interop";
pub const REQUIREMENTS: &str = "crates/attest-log/interop/requirements.txt";
/// Leaves of the log that is judged: enough for tiles of level 2.
const LEAVES: &str = "70000";
/// Leaves of the log that is tampered with, once a case.
const FEW_LEAVES: &str = "600";

/// One judge, and what it judges.
struct Check {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<PathBuf>,
}

pub fn run(workshop: &Workshop, step: &mut ui::Step) -> Result<Count> {
    let log = |name: &str| workshop.layout.log(&format!("interop-{name}"));
    let python = environment(workshop, step, "interop", &[REQUIREMENTS])?;
    let [large, small] =
        ["large", "small"].map(|name| workshop.layout.target.join("interop").join(name));
    for (folder, leaves) in [(&large, LEAVES), (&small, FEW_LEAVES)] {
        let mut command = workshop.cargo()?;
        command.args([
            "run",
            "--quiet",
            "--package",
            "attest-log",
            "--example",
            "sample_log",
            "--",
        ]);
        command.arg(folder).arg(leaves);
        let _ = std::fs::remove_dir_all(folder);
        done(step, &log("sample"), &mut command)?;
    }
    let mut count = Count::default();
    for check in checks(&workshop.layout.root, &python, &large, &small) {
        interrupt::check()?;
        step.progress(check.name);
        let log = log(check.name);
        let mut command = Command::new(&check.program);
        command
            .args(&check.arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if run::logged_in(step, &log, &mut command)?.success() {
            count.passed += 1;
        } else {
            count.failed += 1;
            eprintln!("{} failed; full log: {}", check.name, log.display());
            run::show_tail(&log, 20);
        }
    }
    Ok(count)
}

fn checks(root: &Path, python: &Path, large: &Path, small: &Path) -> Vec<Check> {
    let script = |name: &'static str, program: &str, arguments: Vec<PathBuf>| Check {
        name,
        program: python.to_owned(),
        arguments: std::iter::once(root.join(FOLDER).join(program))
            .chain(arguments)
            .collect(),
    };
    let keys = large.join("keys");
    let vectors = root.join("crates/attest-log/tests/vectors/log.json");
    let mut all = vec![
        script("vectors", "vectors.py", vec![vectors]),
        script(
            "verify",
            "verify.py",
            vec![large.to_owned(), "--keys".into(), keys.clone()],
        ),
        script("tamper", "tamper.py", vec![small.to_owned()]),
    ];
    for (epoch, names) in [
        ("1", ["aics-1", "pymerkle-1", "openssl-1"]),
        ("2", ["aics-2", "pymerkle-2", "openssl-2"]),
    ] {
        let folder = large.join(epoch);
        all.push(script(
            names[0],
            "aics.py",
            vec![folder.clone(), keys.clone()],
        ));
        all.push(script(names[1], "merkle.py", vec![folder.clone()]));
        let mut arguments: Vec<PathBuf> =
            ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"]
                .map(Into::into)
                .into();
        for (option, file) in [
            ("-inkey", "log-key.der"),
            ("-in", "checkpoint.text"),
            ("-sigfile", "checkpoint.signature"),
        ] {
            arguments.extend([option.into(), folder.join(file)]);
        }
        all.push(Check {
            name: names[2],
            program: "openssl".into(),
            arguments,
        });
    }
    all
}
