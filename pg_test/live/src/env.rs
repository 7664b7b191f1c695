//! Where the servers come from and who runs them: the one reader of the environment.
//!
//! Invariant: a missing or wrong setting stops the test with a sentence that names the variable;
//! nothing is skipped because a variable is unset.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The environment of this test binary.
#[derive(Debug)]
pub struct Environment {
    /// `bin` of the PostgreSQL under test.
    pub bindir: PathBuf,
    /// `bin` of an older PostgreSQL with pg_attest, to upgrade from; `None`: of the same.
    pub old_bindir: Option<PathBuf>,
    /// User and group for servers and client tools; `None`: our own.
    pub run_as: Option<(u32, u32)>,
    /// Folder under which the scratch folder is made.
    pub tmp: PathBuf,
    /// Leave the scratch folder in place.
    pub keep: bool,
    /// Whether this process is root.
    pub root: bool,
}

/// The environment, read once. Panics with the reason when it is not usable.
pub fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| match read() {
        Ok(environment) => environment,
        Err(error) => panic!("{error:#}"),
    })
}

/// Whether the person who runs the tests said that this machine lacks `what`.
pub fn without(what: &str) -> bool {
    let lacking = std::env::var("PG_ATTEST_WITHOUT").unwrap_or_default();
    lacking.split(',').any(|name| name.trim() == what)
}

fn read() -> Result<Environment> {
    let bindir = std::env::var_os("PG_ATTEST_BINDIR").map(PathBuf::from).ok_or_else(|| {
        anyhow!(
            "PG_ATTEST_BINDIR is not set: give the bin folder of a PostgreSQL that has pg_attest \
             installed, e.g. PG_ATTEST_BINDIR=/usr/lib/postgresql/15/bin"
        )
    })?;
    ensure!(
        bindir.join("initdb").exists(),
        "PG_ATTEST_BINDIR={} holds no initdb",
        bindir.display()
    );
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let run_as = match std::env::var("PG_ATTEST_RUNAS") {
        Ok(user) if root => Some((id(&user, "-u")?, id(&user, "-g")?)),
        Err(_) if root => bail!(
            "PG_ATTEST_RUNAS is not set, and PostgreSQL does not run as root: give the name of an \
             ordinary user, e.g. PG_ATTEST_RUNAS=postgres"
        ),
        _ => None,
    };
    ensure!(
        run_as.is_none_or(|(uid, _)| uid != 0),
        "PG_ATTEST_RUNAS must not be root"
    );
    let tmp = std::env::var_os("PG_ATTEST_TMP").map_or_else(std::env::temp_dir, PathBuf::from);
    ensure!(
        tmp.as_os_str().len() < 60,
        "PG_ATTEST_TMP={} is too long for a socket path: keep it under 60 bytes",
        tmp.display()
    );
    let keep = std::env::var("PG_ATTEST_KEEP").is_ok_and(|value| value == "1");
    Ok(Environment {
        bindir,
        old_bindir: std::env::var_os("PG_ATTEST_OLD_BINDIR").map(PathBuf::from),
        run_as,
        tmp,
        keep,
        root,
    })
}

fn id(user: &str, flag: &str) -> Result<u32> {
    let output = Command::new("id")
        .args([flag, user])
        .output()
        .context("cannot run `id`")?;
    ensure!(
        output.status.success(),
        "PG_ATTEST_RUNAS={user}: no such user"
    );
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

impl Environment {
    /// A command of the server's user, in `dir`, with none of our own libpq settings.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).env("LC_ALL", "C").env("HOME", dir);
        for (name, _) in std::env::vars_os() {
            let libpq = name
                .to_str()
                .is_some_and(|name| name.starts_with("PG") && !name.starts_with("PG_ATTEST"));
            if libpq || name == "RUST_BACKTRACE" {
                command.env_remove(name);
            }
        }
        if let Some((uid, gid)) = self.run_as {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// One of the server's own programs.
    pub fn pg_command(&self, program: &str, dir: &Path) -> Command {
        self.command(self.bindir.join(program), dir)
    }
}

/// Runs a command to its end; its standard error is part of the failure.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// `attest`, which the stage builds into the folder above the tests' own.
pub fn attest() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .context("no folder of programs")?;
    let program = folder.join("attest");
    ensure!(
        program.exists(),
        "{} is not there: cargo build --package attest-cli",
        program.display()
    );
    Ok(program)
}
