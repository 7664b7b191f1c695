//! cargo-pgrx, of exactly the version that the extension is built with, in a folder of the project.

use crate::{layout::Layout, run};
use anyhow::{Context, Result};
use std::process::Command;

pub fn ensure(layout: &Layout) -> Result<()> {
    let version = pinned_version(layout)?;
    let program = layout.tools().join("bin/cargo-pgrx");
    let installed = run::capture(Command::new(&program).args(["pgrx", "--version"]));
    if installed.is_ok_and(|out| out.split_whitespace().any(|word| word == version)) {
        return Ok(());
    }
    let build = layout.tools().join("build");
    let mut command = Command::new("cargo");
    command
        .args(["install", "cargo-pgrx", "--locked", "--force", "--version"])
        .arg(format!("={version}"))
        .arg("--root")
        .arg(layout.tools())
        .env("CARGO_TARGET_DIR", &build)
        .current_dir(std::env::temp_dir());
    let result = run::logged(
        &format!("Building cargo-pgrx {version} (about 4 minutes, once)"),
        &layout.log("cargo-pgrx"),
        &mut command,
    );
    // After an interrupt the half-built folder shortens the next attempt.
    if result.is_ok() && build.exists() {
        std::fs::remove_dir_all(&build)?;
    }
    result.map(drop)
}

/// The version of pgrx that Cargo.lock pins.
fn pinned_version(layout: &Layout) -> Result<String> {
    let lock = std::fs::read_to_string(layout.root.join("Cargo.lock"))?;
    let mut lines = lock.lines().skip_while(|line| *line != r#"name = "pgrx""#);
    lines
        .find_map(|line| line.strip_prefix("version = \""))
        .map(|rest| rest.trim_end_matches('"').to_owned())
        .context("Cargo.lock does not name pgrx")
}
