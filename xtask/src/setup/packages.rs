//! Which Debian packages a command needs, and where PostgreSQL itself comes from.

use super::{DEFAULT_MAJOR, MAJORS, Purpose, apt, source};
use crate::layout::{Layout, is_root};
use crate::run;
use anyhow::{Result, bail};
use std::process::Command;

/// Where a major's private PostgreSQL comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A copy of the distribution's packages.
    Packages,
    /// Built from the Debian source package, with assertions.
    DebianSource,
    /// `cargo pgrx init` downloads and builds it.
    PgrxDownload,
}

/// Installs what is missing for one major and one purpose.
pub fn ensure(major: u16, purpose: Purpose) -> Result<Origin> {
    if !apt::present() {
        check_by_hand()?;
        return Ok(Origin::PgrxDownload);
    }
    let origin = origin(major)?;
    install_missing(list(major, purpose, origin))?;
    Ok(origin)
}

/// Whose programs the stage readers runs. The browser is the large one: 95 MB to fetch, 290 MB on disk.
pub fn ensure_readers() -> Result<()> {
    let mut wanted = vec!["influxdb", "prometheus-postgres-exporter"];
    let browsers = ["chromium-headless-shell", "chromium", "google-chrome"];
    let chosen = std::env::var_os("PG_ATTEST_CHROMIUM").is_some();
    if !chosen && !browsers.into_iter().any(on_path) {
        wanted.push(browsers[0]);
    }
    let lacking = std::env::var("PG_ATTEST_WITHOUT").unwrap_or_default();
    wanted.retain(|package| {
        let name = package.split('-').next().unwrap_or(package);
        !lacking.split(',').any(|lacks| lacks.trim() == name)
    });
    if !apt::present() {
        bail!(
            "the stage readers runs {}: install them, or name what this machine lacks in PG_ATTEST_WITHOUT: influxdb, prometheus, chromium",
            wanted.join(", ")
        );
    }
    install_missing(wanted.into_iter().map(str::to_owned))
}

/// What the interop tests run beside cargo.
pub fn ensure_python() -> Result<()> {
    let ready =
        |program: &str, arguments: &[&str]| run::succeeds(Command::new(program).args(arguments));
    // A Python of one's own, pyenv's for one, is as good as the distribution's.
    if ready("python3", &["-c", "import ensurepip, venv"]) && ready("openssl", &["version"]) {
        return Ok(());
    }
    if !apt::present() {
        bail!("the interop tests need python3 (3.11 or later, with venv) and openssl");
    }
    install_missing(["python3", "python3-venv", "openssl"].map(str::to_owned))
}

fn install_missing(packages: impl IntoIterator<Item = String>) -> Result<()> {
    let missing: Vec<String> = packages
        .into_iter()
        .filter(|package| apt::version(package).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !missing.iter().all(|package| apt::offers(package)) {
        apt::update()?;
    }
    if apt::install(&missing).is_err() {
        // The lists may name versions that the mirror has replaced since.
        apt::update()?;
        apt::install(&missing)?;
    }
    Ok(())
}

fn origin(major: u16) -> Result<Origin> {
    let package = format!("postgresql-{major}");
    let server_dev = format!("postgresql-server-dev-{major}");
    if apt::version(&package).is_some() && apt::version(&server_dev).is_some() {
        return Ok(Origin::Packages);
    }
    if source::cached(&Layout::cache()?, major).is_some() {
        return Ok(Origin::DebianSource);
    }
    if apt::as_root().is_some() && !apt::offers(&package) {
        apt::update()?;
    }
    if apt::offers(&package) && apt::offers(&server_dev) {
        return Ok(Origin::Packages);
    }
    Ok(if source::possible() {
        Origin::DebianSource
    } else {
        Origin::PgrxDownload
    })
}

/// The major that costs least: the default where the machine has it or can have it, else another
/// one that the distribution packages.
pub fn packaged_major() -> u16 {
    let default_first = || std::iter::once(DEFAULT_MAJOR).chain(MAJORS);
    let server = |major: u16| format!("postgresql-{major}");
    default_first()
        .find(|major| apt::version(&server(*major)).is_some())
        .or_else(|| default_first().find(|major| apt::offers(&server(*major))))
        .unwrap_or(DEFAULT_MAJOR)
}

fn list(major: u16, purpose: Purpose, origin: Origin) -> Vec<String> {
    let mut all: Vec<String> = ["build-essential", "clang", "libclang-dev", "pkg-config"]
        .map(str::to_owned)
        .into();
    let mut also = |names: &[&str]| all.extend(names.iter().map(|&name| name.to_owned()));
    match origin {
        Origin::Packages => {
            also(&[
                &format!("postgresql-{major}"),
                &format!("postgresql-server-dev-{major}"),
            ]);
            if purpose == Purpose::Test {
                also(&[&format!("postgresql-plperl-{major}")]);
            }
        }
        Origin::DebianSource | Origin::PgrxDownload => {
            also(&[
                "bison",
                "flex",
                "perl",
                "libperl-dev",
                "libxml2-dev",
                "zlib1g-dev",
            ]);
            also(&["bzip2", "xz-utils"]);
        }
    }
    if purpose == Purpose::Test {
        also(&["pgbouncer", "libfaketime"]);
        if is_root() {
            also(&["sudo"]);
        }
    }
    if purpose == Purpose::Bench {
        also(&["python3", "python3-venv"]);
        let table_log = table_log(major);
        if origin == Origin::Packages && obtainable(&table_log) {
            all.push(table_log);
        }
    }
    all
}

/// The package of the benchmark's peer table_log; not every distribution has it for every major.
pub fn table_log(major: u16) -> String {
    format!("postgresql-{major}-tablelog")
}

/// Whether a package is installed or can be, after fetching apt's lists where there are none.
fn obtainable(package: &str) -> bool {
    let there = || apt::version(package).is_some() || apt::offers(package);
    there() || (apt::update().is_ok() && there())
}

fn on_path(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).exists())
}

/// Elsewhere than on Debian and Ubuntu nothing can be installed; say what is needed.
fn check_by_hand() -> Result<()> {
    let tools = ["cc", "make", "clang", "pkg-config", "bison", "flex", "perl"];
    let missing: Vec<&str> = tools.into_iter().filter(|tool| !on_path(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let system = Command::new("uname").output().map_or_else(
        |_| "this system".to_owned(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    );
    bail!(
        "{system} has no apt. Install these yourself and run this again: {}, and the development \
         files of libclang, zlib, libxml2 and perl",
        missing.join(", ")
    );
}
