//! A private cluster: its own data folder, its own socket folder, no TCP, no fixed port.
//!
//! Invariant: whoever drops a temporary cluster stops its server and removes its files; what a
//! killed process left behind is swept by the next one.

use crate::layout::{Layout, ServerUser, clean_environment};
use crate::run;
use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Temporary clusters' folders start with this; `sweep` removes them.
pub const TEMPORARY: &str = "t-";

pub struct Cluster {
    home: PathBuf,
    bindir: PathBuf,
    user: ServerUser,
    pub port: u16,
    /// Stopped and removed on drop.
    pub temporary: bool,
}

impl Cluster {
    /// Makes a new cluster in the scratch folder. `settings` are lines of postgresql.conf.
    pub fn create(layout: &Layout, bindir: &Path, name: &str, settings: &str) -> Result<Self> {
        let home = layout.scratch_folder(name)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let cluster = Self {
            home,
            bindir: bindir.to_owned(),
            user: layout.user.clone(),
            port,
            temporary: name.starts_with(TEMPORARY),
        };
        let mut initdb = cluster.program("initdb");
        initdb.arg("--pgdata").arg(cluster.data());
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
        ]);
        initdb.arg("--no-sync");
        run::capture(&mut initdb)?;
        let sockets = cluster.sockets();
        run::capture(
            cluster
                .user
                .command("/bin/mkdir")
                .args(["-m", "0700"])
                .arg(&sockets),
        )?;
        let conf = format!(
            "\nlisten_addresses = ''\nport = {port}\nunix_socket_directories = '{}'\n\
             unix_socket_permissions = 0700\nlog_line_prefix = '%m [%p] %q%u@%d '\n{settings}\n",
            sockets.display()
        );
        let path = cluster.data().join("postgresql.conf");
        let old = std::fs::read_to_string(&path)?;
        std::fs::write(&path, old + &conf)?;
        Ok(cluster)
    }

    /// A cluster that an earlier run made and finished.
    pub fn open(layout: &Layout, bindir: &Path, name: &str) -> Option<Self> {
        let home = layout.scratch.join(name);
        let conf = std::fs::read_to_string(home.join("data/postgresql.conf")).ok()?;
        let port = conf
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("port = "))?;
        Some(Self {
            port: port.trim().parse().ok()?,
            home,
            bindir: bindir.to_owned(),
            user: layout.user.clone(),
            temporary: false,
        })
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    pub fn sockets(&self) -> PathBuf {
        self.home.join("s")
    }

    pub fn server_log(&self) -> PathBuf {
        self.home.join("server.log")
    }

    /// One of PostgreSQL's programs, run as the server's user.
    pub fn program(&self, name: &str) -> Command {
        self.user.command(self.bindir.join(name))
    }

    pub fn start(&self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = self.program("pg_ctl");
        command
            .args(["start", "--wait", "--timeout=120", "--pgdata"])
            .arg(self.data());
        command.arg("--log").arg(self.server_log());
        // Not captured: the server would inherit the pipe and keep it open.
        if run::succeeds(&mut command) {
            return Ok(());
        }
        run::show_tail(&self.server_log(), 20);
        bail!(
            "the private cluster does not start; its log: {}",
            self.server_log().display()
        );
    }

    pub fn is_running(&self) -> bool {
        is_running(&self.bindir, &self.user, &self.data())
    }

    pub fn stop(&self) -> Result<()> {
        if self.is_running() {
            stop(&self.bindir, &self.user, &self.data(), "fast")?;
        }
        Ok(())
    }

    /// One of PostgreSQL's client programs, run as ourselves, for the superuser.
    pub fn client_program(&self, name: &str, database: &str) -> Command {
        let mut command = Command::new(self.bindir.join(name));
        clean_environment(&mut command);
        command
            .env("PGHOST", self.sockets())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", database);
        command
    }

    /// Connects as the superuser.
    pub fn connect(&self, database: &str) -> Result<postgres::Client> {
        self.connect_with(database, "")
    }

    /// The same, with `-c name=value` settings for the session.
    pub fn connect_with(&self, database: &str, settings: &str) -> Result<postgres::Client> {
        postgres::Config::new()
            .host_path(self.sockets())
            .port(self.port)
            .user("postgres")
            .dbname(database)
            .application_name("cargo xtask")
            .options(settings)
            .connect(postgres::NoTls)
            .with_context(|| format!("cannot connect to the private cluster's database {database}"))
    }

    /// The psql command for a person at this machine.
    pub fn psql_line(&self, database: &str) -> String {
        format!(
            "{} -h {} -p {} -U postgres {database}",
            self.bindir.join("psql").display(),
            self.sockets().display(),
            self.port
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.temporary {
            return;
        }
        if self.is_running() {
            // Nothing in it is worth a shutdown checkpoint.
            let _ = stop(&self.bindir, &self.user, &self.data(), "immediate");
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn is_running(bindir: &Path, user: &ServerUser, data: &Path) -> bool {
    data.join("postmaster.pid").exists()
        && run::succeeds(
            user.command(bindir.join("pg_ctl"))
                .args(["status", "-D"])
                .arg(data),
        )
}

fn stop(bindir: &Path, user: &ServerUser, data: &Path, mode: &str) -> Result<()> {
    let mut command = user.command(bindir.join("pg_ctl"));
    command
        .args(["stop", "--wait", "--timeout=60", "--mode", mode, "-D"])
        .arg(data);
    run::capture(&mut command).map(drop)
}

/// Stops every server whose data lie under `folder`, with the programs in `bindir`.
pub fn stop_under(bindir: &Path, user: &ServerUser, folder: &Path) {
    for data in data_folders(folder, 4) {
        if is_running(bindir, user, &data) {
            let _ = stop(bindir, user, &data, "immediate");
        }
    }
}

fn data_folders(folder: &Path, depth: usize) -> Vec<PathBuf> {
    if folder.join("PG_VERSION").exists() {
        return vec![folder.to_owned()];
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return vec![];
    };
    entries
        .flatten()
        .filter(|entry| depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(|entry| data_folders(&entry.path(), depth - 1))
        .collect()
}

/// Stops and removes what killed runs left in the scratch folder. Only for who holds the lock.
pub fn sweep(layout: &Layout, bindir: &Path) {
    let Ok(entries) = std::fs::read_dir(&layout.scratch) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            stop_under(bindir, &layout.user, &entry.path());
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    sweep_pgrx(layout, bindir);
}

/// cargo-pgrx names its test clusters `<major>-<process id>`.
fn sweep_pgrx(layout: &Layout, bindir: &Path) {
    let Ok(entries) = std::fs::read_dir(layout.scratch.join("pgrx")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, id)) = name.split_once('-') else {
            continue;
        };
        let alive = id
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok());
        if !alive {
            stop_under(bindir, &layout.user, &entry.path());
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
