//! A private PostgreSQL for the project: nothing is ever installed into the machine's own.
//!
//! PostgreSQL finds its library and share folders relative to its executable, so a copy of
//! `/usr/lib/postgresql/15` and `/usr/share/postgresql/15` in another folder is a PostgreSQL of
//! its own, and an ordinary user may install extensions into it.

use super::packages::{self, Origin};
use super::{Purpose, apt, source};
use crate::{layout::Layout, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Written last: a copy without it is not whole.
const STAMP: &str = "whole";

/// Makes or refreshes the private PostgreSQL; gives its bin folder.
pub fn ensure(layout: &Layout, major: u16, purpose: Purpose, origin: Origin) -> Result<PathBuf> {
    let place = layout.postgres(&name(major, purpose));
    let bindir = place.join(bindir(major));
    match origin {
        Origin::Packages => {
            let version = package_versions(major, purpose);
            if is_whole(&place, &version) {
                return Ok(bindir);
            }
            replace(layout, major, &place, &version, |new| {
                copy_packages(layout, major, new)
            })?;
        }
        Origin::DebianSource => {
            let built = match source::cached(&Layout::cache()?, major) {
                Some(built) => built,
                None => source::build(layout, major)?,
            };
            let version = built.display().to_string();
            if is_whole(&place, &version) {
                return Ok(bindir);
            }
            replace(layout, major, &place, &version, |new| {
                copy(layout, &built.join("usr"), &new.join("usr"))
            })?;
        }
        Origin::PgrxDownload => return download(layout, major),
    }
    check(&bindir, &place)?;
    Ok(bindir)
}

/// The name of the folder that holds a private PostgreSQL.
pub fn name(major: u16, purpose: Purpose) -> String {
    match purpose {
        Purpose::Test => major.to_string(),
        Purpose::Demo => format!("{major}-demo"),
        Purpose::Bench => format!("{major}-bench"),
    }
}

/// The bin folder of a private PostgreSQL that is already there.
pub fn installed(layout: &Layout, major: u16, purpose: Purpose) -> Option<PathBuf> {
    let copy = layout.postgres(&name(major, purpose)).join(bindir(major));
    let found = copy.join("pg_ctl").exists().then_some(copy);
    found.or_else(|| downloaded(&layout.postgres(&format!("{major}-download"))))
}

fn bindir(major: u16) -> PathBuf {
    PathBuf::from(format!("usr/lib/postgresql/{major}/bin"))
}

fn is_whole(place: &Path, version: &str) -> bool {
    std::fs::read_to_string(place.join(STAMP)).is_ok_and(|stamp| stamp == version)
}

fn package_versions(major: u16, purpose: Purpose) -> String {
    let of = |name: &str| format!("{name} {}\n", apt::version(name).unwrap_or_default());
    let mut versions = ["postgresql", "postgresql-server-dev", "postgresql-plperl"]
        .map(|name| of(&format!("{name}-{major}")))
        .concat();
    if purpose == Purpose::Bench {
        versions += &of(&packages::table_log(major));
    }
    versions
}

/// Makes the new copy beside the old one and takes its place only when it is whole.
fn replace(
    layout: &Layout,
    major: u16,
    place: &Path,
    version: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let new = place.with_extension("new");
    if new.exists() {
        std::fs::remove_dir_all(&new)?;
    }
    std::fs::create_dir_all(&new)?;
    fill(&new)?;
    std::fs::write(new.join(STAMP), version)?;
    if place.exists() {
        // No server may lose its own files while it runs.
        crate::cluster::stop_under(&new.join(bindir(major)), &layout.user, &layout.scratch);
        std::fs::remove_dir_all(place)?;
    }
    std::fs::rename(&new, place)?;
    Ok(())
}

fn copy_packages(layout: &Layout, major: u16, new: &Path) -> Result<()> {
    for part in ["lib", "share"] {
        let folder = format!("usr/{part}/postgresql/{major}");
        copy(layout, &Path::new("/").join(&folder), &new.join(&folder))?;
    }
    let include = new.join("usr/include");
    std::fs::create_dir_all(&include)?;
    std::os::unix::fs::symlink("/usr/include/postgresql", include.join("postgresql"))?;
    // An extension that someone installed on the machine is no business of ours.
    remove_extension(new, major)
}

fn remove_extension(new: &Path, major: u16) -> Result<()> {
    let library = new.join(format!("usr/lib/postgresql/{major}/lib/pg_attest.so"));
    if library.exists() {
        std::fs::remove_file(library)?;
    }
    let folder = new.join(format!("usr/share/postgresql/{major}/extension"));
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("pg_attest") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn copy(layout: &Layout, from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("no parent folder")?;
    std::fs::create_dir_all(parent)?;
    // Not -a: the copy is ours, not root's, and what is a link in the packages stays one.
    let mut command = Command::new("cp");
    command
        .args(["-R", "--no-dereference", "--preserve=mode,timestamps", "--"])
        .arg(from)
        .arg(to);
    let title = format!("Copying {}", from.display());
    run::logged(&title, &layout.log("postgres-copy"), &mut command).map(drop)
}

/// The copy must answer with its own folders, or `cargo pgrx install` would write to the machine's.
fn check(bindir: &Path, place: &Path) -> Result<()> {
    for which in [
        "--bindir",
        "--sharedir",
        "--pkglibdir",
        "--includedir-server",
        "--pgxs",
    ] {
        let out = run::capture(Command::new(bindir.join("pg_config")).arg(which))?;
        let path = Path::new(out.trim());
        let canonical = place.canonicalize()?;
        if !(path.starts_with(place) || path.starts_with(&canonical)) || !path.exists() {
            bail!(
                "pg_config {which} of the private PostgreSQL answers {}",
                path.display()
            );
        }
    }
    Ok(())
}

/// The last resort, for other systems than Debian: cargo-pgrx fetches PostgreSQL's own release.
fn download(layout: &Layout, major: u16) -> Result<PathBuf> {
    let home = layout.postgres(&format!("{major}-download"));
    if let Some(found) = downloaded(&home) {
        return Ok(found);
    }
    std::fs::create_dir_all(&home)?;
    let mut command = Command::new(layout.tools().join("bin/cargo-pgrx"));
    command
        .args([
            "pgrx",
            "init",
            "--configure-flag=--without-icu",
            "--configure-flag=--enable-debug",
        ])
        .args([
            "--configure-flag=--enable-cassert",
            "--configure-flag=--without-readline",
        ])
        .arg(format!("--pg{major}=download"))
        .env("PGRX_HOME", &home)
        .current_dir(&layout.root);
    let title = format!("Downloading and building PostgreSQL {major} (several minutes, once)");
    run::logged(
        &title,
        &layout.log(&format!("postgres-{major}-download")),
        &mut command,
    )?;
    downloaded(&home)
        .with_context(|| format!("cargo pgrx init left no PostgreSQL in {}", home.display()))
}

fn downloaded(home: &Path) -> Option<PathBuf> {
    let config = std::fs::read_to_string(home.join("config.toml")).ok()?;
    let quoted = config
        .lines()
        .find(|line| line.starts_with("pg"))?
        .split('"')
        .nth(1)?;
    let bindir = Path::new(quoted).parent()?;
    bindir.join("pg_config").exists().then(|| bindir.to_owned())
}
