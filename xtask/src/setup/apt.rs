//! Asking dpkg and apt, and installing with them where we may.

use crate::layout::{self, is_root};
use crate::{run, ui};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
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
    let clusters = default_clusters();
    let title = format!("Installing {list}");
    let installed = twice(|| {
        let mut command = apt_get(&prefix);
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        run::logged(&title, &layout::log("apt-install")?, &mut command).map(drop)
    });
    drop_new_clusters(&prefix, &clusters);
    if let Err(error) = installed {
        bail!(
            "{error}\n\nTo do it by hand:\n\n    sudo apt-get install --no-install-recommends {list}\n"
        );
    }
    Ok(())
}

fn apt_get(prefix: &[&str]) -> Command {
    let words: Vec<&str> = prefix
        .iter()
        .copied()
        .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .collect();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
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

/// The configuration folders of the clusters that Debian's tools know, `<major>/<name>`.
fn default_clusters() -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    folders(Path::new("/etc/postgresql"))
        .iter()
        .flat_map(|major| folders(major))
        .collect()
}

/// Debian's package makes and starts a cluster `main`. The machine had none, we need none.
fn drop_new_clusters(prefix: &[&str], before: &[PathBuf]) {
    for cluster in default_clusters() {
        let name = |path: Option<&Path>| {
            path.and_then(Path::file_name)
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        if before.contains(&cluster) || name(Some(&cluster)) != "main" {
            continue;
        }
        let major = name(cluster.parent());
        let words: Vec<&str> = prefix
            .iter()
            .copied()
            .chain(["pg_dropcluster", "--stop", &major, "main"])
            .collect();
        if run::succeeds(Command::new(words[0]).args(&words[1..])) {
            ui::note(&format!(
                "removed the empty cluster {major}/main that the package had made"
            ));
        }
    }
}
