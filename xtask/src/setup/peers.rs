//! The benchmark's peers that come from elsewhere than apt: pinned releases from `PyPI`, in a
//! virtual environment of the project.

use crate::{layout::Layout, run};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// The SQL with which the released package postgresql-audit sets itself up, written to a file.
///
/// The package's own code renders it, so what is measured is the package, not a copy of it.
///
/// # Errors
/// Python has no `venv`, `PyPI` cannot be reached, or the package fails.
pub fn postgresql_audit(layout: &Layout) -> Result<PathBuf> {
    let peers = layout.root.join("bench/peers");
    let environment = layout.tools().join("peers");
    let python = environment.join("bin/python");
    let pinned = std::fs::read_to_string(peers.join("requirements.txt"))?;
    // Written last: an environment without it is not whole.
    let stamp = environment.join("requirements.txt");
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(pinned.as_str()) {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&environment);
        let log = layout.log("bench-peers");
        run::logged("Making a Python environment", &log, &mut venv)?;
        let mut install = Command::new(&python);
        install
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--requirement"])
            .arg(peers.join("requirements.txt"));
        run::logged("Installing postgresql-audit from PyPI", &log, &mut install)?;
        std::fs::write(&stamp, &pinned)?;
    }
    let sql = run::capture(Command::new(&python).arg(peers.join("render_postgresql_audit.py")))
        .context("cannot render the SQL of postgresql-audit")?;
    let file = environment.join("postgresql_audit.sql");
    std::fs::write(&file, sql)?;
    Ok(file)
}
