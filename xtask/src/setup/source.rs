//! PostgreSQL built from Debian's source package, with assertions: for majors that the
//! distribution does not package. The machine's own apt sources are read, never changed.
//!
//! The build is relocatable: it is configured for Debian's own path, installed under another
//! folder, and finds its libraries relative to itself (`LD_RUN_PATH` with `$ORIGIN`).

use crate::{layout::Layout, run, ui};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Any of these may have the major that is wanted.
const SUITES: [&str; 4] = ["oldstable", "stable", "testing", "unstable"];
/// From the executables and from the test programs under pgxs to the library folder.
const RUN_PATH: &str = "$ORIGIN/../lib:$ORIGIN/../../../..";

/// Whether this is a Debian whose mirror we can ask for sources.
pub fn possible() -> bool {
    Path::new(KEYRING).exists() && mirror().is_some()
}

/// The mirror that the machine's own apt uses for Debian itself.
fn mirror() -> Option<String> {
    let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
    let out = run::capture(Command::new("apt-get").args(["indextargets", "--format", format]));
    out.ok()?
        .lines()
        .find_map(|line| line.strip_prefix("Debian|Debian|").map(str::to_owned))
}

/// The newest build of a major in the cache.
pub fn cached(cache: &Path, major: u16) -> Option<PathBuf> {
    let prefix = format!("pg-{major}.");
    let suffix = suffix();
    let minor = |name: &str| -> Option<u32> {
        name.strip_prefix(&prefix)?
            .strip_suffix(&suffix)?
            .parse()
            .ok()
    };
    std::fs::read_dir(cache)
        .ok()?
        .flatten()
        .filter_map(|entry| Some((minor(entry.file_name().to_str()?)?, entry.path())))
        .max()
        .map(|(_, path)| path)
}

/// What else than the version makes a build usable here: processor and distribution.
fn suffix() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("unknown");
    format!("-cassert-{codename}-{}", std::env::consts::ARCH)
}

/// Fetches, builds and caches a major; gives the folder that holds its `usr`.
pub fn build(layout: &Layout, major: u16) -> Result<PathBuf> {
    let cache = Layout::cache()?;
    std::fs::create_dir_all(&cache)?;
    let work = tempfile::Builder::new()
        .prefix("building-")
        .tempdir_in(&cache)?;
    let archive = fetch(layout, major, work.path())?;
    let version = version_of(&archive)?;
    let tree = work.path().join("tree");
    std::fs::create_dir_all(&tree)?;
    let log = |what: &str| layout.log(&format!("postgres-{major}-{what}"));
    let title = |what: &str| format!("PostgreSQL {version}: {what}");

    run::logged(
        &title("unpacking"),
        &log("unpack"),
        Command::new("tar")
            .args(["--strip-components=1", "-xf"])
            .arg(&archive)
            .arg("-C")
            .arg(&tree),
    )?;
    let prefix = format!("/usr/lib/postgresql/{major}");
    run::logged(
        &title("configuring"),
        &log("configure"),
        in_tree(&tree, "./configure")
            .arg(format!("--prefix={prefix}"))
            .args([
                "--enable-cassert",
                "--enable-debug",
                "--disable-rpath",
                "--without-readline",
            ])
            .args([
                "--without-icu",
                "--with-perl",
                "--with-libxml",
                "CFLAGS=-O1",
            ]),
    )?;
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    run::logged(
        &title("building with assertions (about 4 minutes, once)"),
        &log("make"),
        in_tree(&tree, "make")
            .arg(format!("-j{jobs}"))
            .arg("world-bin"),
    )?;
    let image = work.path().join("image");
    let mut install = in_tree(&tree, "make");
    install
        .arg(format!("DESTDIR={}", image.display()))
        .arg("install-world-bin");
    run::logged(
        &title("installing into the cache"),
        &log("install"),
        &mut install,
    )?;

    let home = cache.join(format!("pg-{version}{}", suffix()));
    if home.exists() {
        // Another checkout was faster.
        ui::note(&format!("{} is already there", home.display()));
    } else {
        std::fs::rename(&image, &home)?;
    }
    Ok(home)
}

fn in_tree(tree: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(tree).env("LD_RUN_PATH", RUN_PATH);
    // A parent make's job server, or flags meant for something else, do not belong here.
    for name in [
        "MAKEFLAGS",
        "MAKELEVEL",
        "CFLAGS",
        "LDFLAGS",
        "CARGO_MAKEFLAGS",
    ] {
        command.env_remove(name);
    }
    command
}

/// Downloads the source package with an apt configuration of its own; apt checks signature and sum.
fn fetch(layout: &Layout, major: u16, work: &Path) -> Result<PathBuf> {
    let mirror = mirror().context("apt does not say which Debian mirror it uses")?;
    let apt = work.join("apt");
    for folder in [
        "lists/partial",
        "cache/archives/partial",
        "state",
        "download",
    ] {
        std::fs::create_dir_all(apt.join(folder))?;
    }
    let source = |suite| format!("deb-src [signed-by={KEYRING}] {mirror} {suite} main\n");
    std::fs::write(apt.join("sources.list"), SUITES.map(source).concat())?;
    let folder = apt.display();
    let config = format!(
        "Dir::Etc::SourceList \"{folder}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::State \"{folder}/state\";\nDir::State::Lists \"{folder}/lists\";\n\
         Dir::State::status \"/var/lib/dpkg/status\";\nDir::Cache \"{folder}/cache\";\n\
         APT::Sandbox::User \"\";\nAcquire::Retries \"3\";\nAcquire::Languages \"none\";\n"
    );
    std::fs::write(apt.join("apt.conf"), config)?;
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command
            .arg("--quiet")
            .env("APT_CONFIG", apt.join("apt.conf"));
        command.current_dir(apt.join("download"));
        command
    };
    let log = |what: &str| layout.log(&format!("postgres-{major}-{what}"));
    let title = format!("Looking for the sources of PostgreSQL {major}");
    run::logged(&title, &log("lists"), apt_get().arg("update"))?;
    let title = format!("Downloading the sources of PostgreSQL {major}");
    let mut download = apt_get();
    download
        .args(["source", "--download-only"])
        .arg(format!("postgresql-{major}"));
    run::logged(&title, &log("download"), &mut download)?;
    original_archive(&apt.join("download"))
}

fn original_archive(folder: &Path) -> Result<PathBuf> {
    std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.contains(".orig.tar.") && !name.ends_with(".asc")
        })
        .with_context(|| format!("no source archive in {}", folder.display()))
}

/// `18.6` from `postgresql-18_18.6.orig.tar.bz2`.
fn version_of(archive: &Path) -> Result<String> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .split_once('_')
        .and_then(|(_, rest)| rest.split_once(".orig"));
    match version {
        Some((version, _)) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            Ok(version.to_owned())
        }
        _ => bail!("cannot tell the version of {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_comes_from_the_archive() -> Result<()> {
        assert_eq!(
            version_of(Path::new("/x/postgresql-18_18.6.orig.tar.bz2"))?,
            "18.6"
        );
        assert!(version_of(Path::new("/x/other.tar")).is_err());
        Ok(())
    }

    #[test]
    fn cache_gives_the_newest_minor() -> Result<()> {
        let cache = tempfile::tempdir()?;
        for version in ["18.6", "18.10", "17.9"] {
            std::fs::create_dir(cache.path().join(format!("pg-{version}{}", suffix())))?;
        }
        let newest = cached(cache.path(), 18).context("nothing found")?;
        assert!(newest.display().to_string().contains("pg-18.10-"));
        assert!(cached(cache.path(), 16).is_none());
        Ok(())
    }
}
