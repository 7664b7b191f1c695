//! Python environments with pinned packages, for the tests whose judges are written in Python.

use super::packages;
use crate::layout::Layout;
use crate::{run, ui};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment with exactly the packages of a `requirements.txt`; gives its Python.
pub fn environment(
    layout: &Layout,
    step: &mut ui::Step,
    name: &str,
    requirements: &Path,
) -> Result<PathBuf> {
    packages::ensure_python()?;
    let place = layout.tools().join(name);
    let python = place.join("bin/python");
    let wanted = std::fs::read_to_string(requirements)?;
    // Written last: an environment without it is not whole.
    let stamp = place.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let log = layout.log(&format!("{name}-install"));
    let mut command = Command::new("python3");
    run::needed(
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
        "--requirement",
    ]);
    run::needed(step, &log, command.arg(requirements))?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
}
