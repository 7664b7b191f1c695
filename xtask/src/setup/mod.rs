//! From a bare machine to a working tool set. Every step is a no-op when it is already done.

mod apt;
mod cargo_pgrx;
mod packages;
pub mod peers;
mod postgres;
mod services;
mod source;

pub use packages::{ensure_python, ensure_readers, packaged_major};
pub use postgres::{installed, name as postgres_name};

use crate::layout::Layout;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const MAJORS: [u16; 4] = [15, 16, 17, 18];
pub const DEFAULT_MAJOR: u16 = 15;

/// What the tool set is for. Demo and benchmark need less, and each has a PostgreSQL of its own:
/// a test run never replaces the library under them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Demo,
    Test,
    Bench,
}

/// The oldest PostgreSQL that the extension is for.
const OLDEST: u16 = 15;

/// A tool set that is ready for one PostgreSQL major.
pub struct Workshop {
    pub layout: Layout,
    pub major: u16,
    purpose: Purpose,
    /// The bin folder of the private PostgreSQL.
    pub bindir: PathBuf,
    /// Held while this process uses the tool set.
    _lock: File,
}

impl Workshop {
    /// Installs and builds what is missing.
    pub fn prepare(major: u16, purpose: Purpose) -> Result<Self> {
        let kind = packages::ensure(major, purpose)?;
        let layout = Layout::find()?;
        let lock = lock(&layout)?;
        cargo_pgrx::ensure(&layout)?;
        let bindir = postgres::ensure(&layout, major, purpose, kind)?;
        crate::cluster::sweep(&layout, &bindir);
        let workshop = Self {
            layout,
            major,
            purpose,
            bindir,
            _lock: lock,
        };
        workshop.write_pgrx_home()?;
        Ok(workshop)
    }

    /// The bin folder of the oldest private PostgreSQL below this major that the extension is installed in, to upgrade from.
    pub fn older(&self) -> Option<PathBuf> {
        let majors = OLDEST..self.major;
        majors
            .filter_map(|major| postgres::installed(&self.layout, major, self.purpose))
            .find(|bindir| bindir.join("../lib/pg_attest.so").exists())
    }

    pub fn pg_config(&self) -> PathBuf {
        self.bindir.join("pg_config")
    }

    /// One of the folders that `pg_config` names, for instance `--pkglibdir`.
    pub fn pg_folder(&self, which: &str) -> Result<PathBuf> {
        let out = crate::run::capture(Command::new(self.pg_config()).arg(which))?;
        Ok(PathBuf::from(out.trim()))
    }

    /// A cargo command with the environment that `cargo xtask env` prints, and without what
    /// the cargo that runs this program left behind.
    pub fn cargo(&self) -> Result<Command> {
        let mut command = Command::new("cargo");
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            let left_behind = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
            if left_behind || name == "CARGO" || name == "RUSTFLAGS" || name == "RUST_BACKTRACE" {
                command.env_remove(&key);
            }
        }
        for (key, value) in environment(&self.layout, self.major, self.purpose)? {
            command.env(key, value);
        }
        command.current_dir(&self.layout.root);
        Ok(command)
    }

    /// Cargo arguments that select this major's feature of the extension.
    pub fn features(&self) -> [String; 3] {
        [
            "--no-default-features".into(),
            "--features".into(),
            format!("pg{}", self.major),
        ]
    }

    /// Builds the extension and installs it into the private PostgreSQL.
    pub fn install_command(&self) -> Result<Command> {
        let mut command = self.cargo()?;
        command
            .args(["pgrx", "install", "--pg-config"])
            .arg(self.pg_config());
        command.args(self.features());
        Ok(command)
    }

    fn write_pgrx_home(&self) -> Result<()> {
        let name = postgres_name(self.major, self.purpose);
        let home = self.layout.pgrx_home(&name);
        std::fs::create_dir_all(&home)?;
        let pg_config = self.pg_config();
        let text = format!("[configs]\npg{} = '{}'\n", self.major, pg_config.display());
        write_if_changed(&home.join("config.toml"), &text)
    }
}

/// The variables under which plain cargo and cargo-pgrx commands use the project's tool set.
fn environment(
    layout: &Layout,
    major: u16,
    purpose: Purpose,
) -> Result<Vec<(&'static str, String)>> {
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .with_context(|| format!("{} is not UTF-8", path.display()))
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = text(&layout.tools().join("bin"))?;
    let path = if path.split(':').any(|part| part == tools) {
        path
    } else {
        format!("{tools}:{path}")
    };
    let mut all = vec![
        ("PATH", path),
        (
            "PGRX_HOME",
            text(&layout.pgrx_home(&postgres_name(major, purpose)))?,
        ),
        (
            "CARGO_PGRX_TEST_PGDATA",
            text(&layout.scratch.join("pgrx"))?,
        ),
    ];
    if let Some(name) = layout.user.name() {
        all.push(("CARGO_PGRX_TEST_RUNAS", name.to_owned()));
    } else if std::env::var_os("USER").is_none() {
        // pgrx's tests connect as $USER, which containers often leave unset.
        let name = crate::run::capture(Command::new("id").arg("-un"))?;
        all.push(("USER", name.trim().to_owned()));
    }
    Ok(all)
}

/// `cargo xtask env`: fails when nothing was set up yet, for it must not install anything.
pub fn print_environment(major: u16) -> Result<()> {
    let layout = Layout::find()?;
    let home = layout.pgrx_home(&postgres_name(major, Purpose::Test));
    if !home.join("config.toml").exists() {
        bail!("PostgreSQL {major} is not set up; run: cargo xtask setup --pg {major}");
    }
    for (key, value) in environment(&layout, major, Purpose::Test)? {
        println!("export {key}='{}'", value.replace('\'', r"'\''"));
    }
    // A backtrace in the server's environment ends up in its clients' error details.
    println!("unset RUST_BACKTRACE");
    Ok(())
}

/// One setup, test, demo or bench at a time in one checkout.
fn lock(layout: &Layout) -> Result<File> {
    let folder = layout.target.join("xtask");
    std::fs::create_dir_all(&folder)?;
    let file = File::create(folder.join("lock"))?;
    if file.try_lock().is_err() {
        crate::ui::note("waiting for another cargo xtask in this checkout");
        file.lock()?;
    }
    Ok(file)
}

/// Keeps the modification time of what is already right: build scripts watch it.
fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
