//! Asking dpkg and apt, and installing with them where we may.

use super::services;
use crate::layout::{self, is_root};
use crate::{run, ui};
use anyhow::{Result, bail};
use std::process::Command;

/// Whether this machine has apt and dpkg at all.
pub fn present() -> bool {
    run::succeeds(Command::new("dpkg-query").arg("--version"))
        && run::succeeds(Command::new("apt-get").arg("--version"))
}

/// The installed version of a package.
pub fn version(package: &str) -> Option<String> {
    let format = "--showformat=${db:Status-Status} ${Version}";
    let out = run::capture(Command::new("dpkg-query").args(["--show", format, package])).ok()?;
    out.strip_prefix("installed ").map(str::to_owned)
}

/// Whether apt could install this package, by the lists that it has now.
pub fn offers(package: &str) -> bool {
    run::capture(
        Command::new("apt-cache")
            .env("LC_ALL", "C")
            .args(["policy", package]),
    )
    .is_ok_and(|out| {
        out.lines()
            .filter_map(|line| line.trim().strip_prefix("Candidate:"))
            .any(|candidate| candidate.trim() != "(none)")
    })
}

/// How this user becomes root: not at all (is root), by sudo without a password, or cannot.
pub fn as_root() -> Option<Vec<&'static str>> {
    if is_root() {
        Some(vec![])
    } else if run::succeeds(Command::new("sudo").args(["-n", "true"])) {
        Some(vec!["sudo", "-n"])
    } else {
        None
    }
}

/// Fetches the package lists anew.
pub fn update() -> Result<()> {
    let Some(prefix) = as_root() else {
        return Ok(());
    };
    twice(|| {
        run::logged(
            "Fetching the lists of Debian packages",
            &layout::log("apt-update")?,
            apt_get(&prefix).arg("update"),
        )
        .map(drop)
    })
}

/// Installs packages; without the right to, prints the command and fails.
pub fn install(packages: &[String]) -> Result<()> {
    let list = packages.join(" ");
    let Some(prefix) = as_root() else {
        bail!(
            "these packages are missing; install them and run this again:\n\n    sudo apt-get install --no-install-recommends {list}\n"
        );
    };
    let before = services::main_clusters();
    let title = format!("Installing {list}");
    let installed = twice(|| {
        let mut command = apt_get(&prefix);
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        run::logged(&title, &layout::log("apt-install")?, &mut command).map(drop)
    });
    services::drop_new_clusters(&prefix, &before);
    services::disable_new(&prefix, packages);
    if let Err(error) = installed {
        bail!(
            "{error}\n\nTo do it by hand:\n\n    sudo apt-get install --no-install-recommends {list}\n"
        );
    }
    Ok(())
}

fn apt_get(prefix: &[&str]) -> Command {
    let mut command = command(
        prefix,
        &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"],
    );
    command.args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
    command
}

/// A command with the words in front that make us root.
pub fn command(prefix: &[&str], words: &[&str]) -> Command {
    let all = [prefix, words].concat();
    let mut command = Command::new(all[0]);
    command.args(&all[1..]);
    command
}

/// dpkg and mirrors fail now and then for reasons that are gone a moment later.
fn twice(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    attempt().or_else(|_| {
        crate::interrupt::check()?;
        ui::note("trying once more");
        attempt()
    })
}
