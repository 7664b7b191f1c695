//! The program `attest`, built as its users have it.

use crate::run;
use crate::setup::Workshop;
use crate::ui::Step;
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// Builds it; gives its path.
pub fn build(workshop: &Workshop, step: &mut Step) -> Result<PathBuf> {
    step.progress("building attest");
    let mut cargo = workshop.cargo()?;
    cargo.args(["build", "--release", "--package", "attest-cli"]);
    let log = workshop.layout.log("bench-attest");
    ensure!(
        run::logged_in(step, &log, &mut cargo)?.success(),
        "cannot build attest; full log: {}",
        log.display()
    );
    Ok(workshop.layout.target.join("release/attest"))
}
