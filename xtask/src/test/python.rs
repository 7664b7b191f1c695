//! Virtual environments of Python for what is tested with its packages.

use crate::setup::{self, Workshop};
use crate::{run, ui};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment with exactly the packages of these requirements files of the project; gives its Python.
pub fn environment(
    workshop: &Workshop,
    step: &mut ui::Step,
    name: &str,
    requirements: &[&str],
) -> Result<PathBuf> {
    setup::ensure_python()?;
    let place = workshop.layout.tools().join(name);
    let python = place.join("bin/python");
    let files = requirements
        .iter()
        .map(|file| workshop.layout.root.join(file));
    let files: Vec<PathBuf> = files.collect();
    let texts = files.iter().map(std::fs::read_to_string);
    let wanted = texts.collect::<Result<String, _>>()?;
    let stamp = place.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let log = workshop.layout.log(&format!("{name}-install"));
    let mut command = Command::new("python3");
    done(
        step,
        &log,
        command.args(["-m", "venv", "--clear"]).arg(&place),
    )?;
    // aics-tlog declares Python 3.12, and runs on 3.11, which is what Debian 12 has.
    let mut command = Command::new(&python);
    command.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-deps",
        "--ignore-requires-python",
    ]);
    for file in &files {
        command.arg("--requirement").arg(file);
    }
    done(step, &log, &mut command)?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
}

/// A command without which nothing can be judged.
pub fn done(step: &mut ui::Step, log: &Path, command: &mut Command) -> Result<()> {
    let status = run::logged_in(step, log, command)?;
    if !status.success() {
        run::show_tail(log, 40);
    }
    status.success().then_some(()).with_context(|| {
        format!(
            "{} failed; full log: {}",
            run::describe(command),
            log.display()
        )
    })
}
