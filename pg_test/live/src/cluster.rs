//! A private, throw-away PostgreSQL cluster: start, stop, crash, restart, connect.
//!
//! Invariant: a `Cluster` listens on a socket in its own folder alone, and dropping it stops the
//! server and removes the folder. `initdb` runs once per test binary; clusters are copies of it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use postgres::{Client, Config, NoTls};

use crate::env::{environment, run};
use crate::scratch;
use crate::sql::Sql;
use crate::wait::wait_until;

/// Names the socket only: each cluster has a socket folder of its own.
pub const PORT: u16 = 54329;

/// Superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// Settings of every cluster. `fsync = off` is right here: the tests kill processes, not machines,
/// and what a process wrote survives it in the kernel's cache.
const SETTINGS: &str = "
listen_addresses = ''
fsync = off
shared_buffers = 16MB
max_connections = 120
max_prepared_transactions = 20
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
max_logical_replication_workers = 8
timezone = 'UTC'
log_line_prefix = '%m [%p] %q%d %a '
log_checkpoints = off
log_statement = none
";

/// A server process with a data directory of its own.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
}

impl Cluster {
    /// A new running cluster; `settings` are added to postgresql.conf.
    pub fn start_new(settings: &[(&str, &str)]) -> Result<Self> {
        let cluster = Self {
            dir: scratch::new_dir()?,
        };
        scratch::copy_tree(template()?, &cluster.data())?;
        let mut text = format!(
            "{SETTINGS}unix_socket_directories = '{}'\nport = {PORT}\n",
            cluster.dir.display()
        );
        for (name, value) in settings {
            writeln!(text, "{name} = '{value}'")?;
        }
        let path = cluster.data().join("postgresql.conf");
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        cluster.start()?;
        Ok(cluster)
    }

    /// The cluster in this folder, which someone else made and starts.
    pub(crate) fn in_folder(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Folder of the cluster: socket, log, and whatever a test puts there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = environment().pg_command("pg_ctl", &self.dir);
        command
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-t", "60"])
            .args(arguments);
        // pg_ctl's server would otherwise hold our pipes open.
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Starts the server and waits until it takes connections.
    pub fn start(&self) -> Result<()> {
        self.start_under("")
    }

    /// Starts the server below a shell command such as `ulimit -f 8192;`.
    pub fn start_under(&self, shell: &str) -> Result<()> {
        let data = self.data();
        let log = self.dir.join("log");
        let script = format!(
            "{shell} exec \"$1\" -D \"$2\" -w -t 60 -l \"$3\" start >/dev/null 2>&1 </dev/null"
        );
        let pg_ctl = environment().bindir.join("pg_ctl");
        let mut command = environment().command("sh", &self.dir);
        command
            .args(["-c", &script, "start"])
            .arg(pg_ctl)
            .arg(data)
            .arg(log);
        run(&mut command).with_context(|| format!("server's log:\n{}", self.log_tail("", 40)))?;
        Ok(())
    }

    /// A copy of the data directory; the server must be stopped.
    pub fn copy(&self) -> Result<PathBuf> {
        let copy = scratch::new_dir()?.join("data");
        scratch::copy_tree(&self.data(), &copy)?;
        Ok(copy)
    }

    /// Puts a copy into the place of the data directory; the server must be stopped.
    pub fn put_back(&self, copy: &Path) -> Result<()> {
        std::fs::remove_dir_all(self.data())?;
        scratch::copy_tree(copy, &self.data())
    }

    /// A running standby of this cluster, which must run.
    pub fn standby(&self) -> Result<Self> {
        let standby = Self {
            dir: scratch::new_dir()?,
        };
        run(self
            .tool("pg_basebackup")
            .args(["-R", "-X", "stream", "-c", "fast", "-D"])
            .arg(standby.data()))?;
        let path = standby.data().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&path)?;
        writeln!(
            text,
            "unix_socket_directories = '{}'",
            standby.dir.display()
        )?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        standby.start()?;
        Ok(standby)
    }

    /// Stops the server in order.
    pub fn stop(&self) -> Result<()> {
        run(&mut self.pg_ctl(&["stop", "-m", "fast"])).map(drop)
    }

    /// Stops the server as a crash would: no checkpoint, recovery at the next start.
    pub fn crash(&self) -> Result<()> {
        run(&mut self.pg_ctl(&["stop", "-m", "immediate"])).map(drop)
    }

    /// `kill -9` of the postmaster; returns once its children are gone too and a start is possible.
    pub fn kill_postmaster(&self) -> Result<()> {
        let pid = self.postmaster()?;
        let children = children_of(&pid)?;
        self.kill(&["-9", &pid])?;
        wait_until("the orphaned backends to notice", || {
            Ok(are_gone(&children).then_some(()))
        })
    }

    /// `kill -9` of the postmaster and all its children at once: nobody ends what he was at.
    pub fn kill_all(&self) -> Result<()> {
        let pid = self.postmaster()?;
        // So that there are no more children than these.
        self.kill(&["-STOP", &pid])?;
        let children = children_of(&pid)?;
        let mut arguments = vec!["-9", &pid];
        arguments.extend(children.iter().map(String::as_str));
        self.kill(&arguments)?;
        wait_until("the processes to be gone", || {
            Ok(are_gone(&children).then_some(()))
        })
    }

    fn postmaster(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        let pid = text.lines().next().context("empty postmaster.pid")?;
        Ok(pid.to_owned())
    }

    fn kill(&self, arguments: &[&str]) -> Result<()> {
        run(environment().command("kill", &self.dir).args(arguments)).map(drop)
    }

    /// `kill -9` of one backend; returns once the server has recovered from it.
    pub fn kill_backend(&self, pid: &str) -> Result<()> {
        // Lost together with all other connections, when the postmaster has noticed.
        let mut witness = self.connect("postgres", SUPERUSER)?;
        self.kill(&["-9", pid])?;
        wait_until("the postmaster to notice", || {
            Ok(witness.simple_query("SELECT 1").is_err().then_some(()))
        })?;
        wait_until("the server to recover", || {
            Ok(self.connect("postgres", SUPERUSER).ok())
        })
        .map(drop)
    }

    /// How to connect, for options beyond database and user.
    pub fn config(&self, database: &str, user: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(&self.dir)
            .port(PORT)
            .dbname(database)
            .user(user);
        config
    }

    /// A connection of `user` to `database`.
    pub fn connect(&self, database: &str, user: &str) -> Result<Client> {
        self.config(database, user)
            .connect(NoTls)
            .with_context(|| format!("cannot connect to {database} as {user}"))
    }

    /// A client tool of the server's own installation, set to connect to this cluster.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = environment().pg_command(program, &self.dir);
        command
            .env("PGHOST", &self.dir)
            .env("PGPORT", PORT.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGDATABASE", "postgres");
        command
    }

    /// A libpq connection string, as a subscription needs it.
    pub fn conninfo(&self, database: &str) -> String {
        format!(
            "host={} port={PORT} user={SUPERUSER} dbname={database}",
            self.dir.display()
        )
    }

    /// The last `count` lines of the server's log that hold `filter` or tell of a crash.
    pub fn log_tail(&self, filter: &str, count: usize) -> String {
        let bytes = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| {
                ["terminated by signal", "TRAP:", "PANIC:", filter]
                    .iter()
                    .any(|w| line.contains(w))
            })
            .collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// `server_version_num`, e.g. 150020.
    pub fn version(&self) -> Result<u32> {
        let text = self
            .connect("postgres", SUPERUSER)?
            .one("SHOW server_version_num")?;
        Ok(text.parse()?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Errors have nowhere to go here; the watcher clears what is left.
        let _ = self.pg_ctl(&["stop", "-m", "immediate"]).output();
        if !environment().keep {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn children_of(pid: &str) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn are_gone(pids: &[String]) -> bool {
    !pids.iter().any(|pid| Path::new("/proc").join(pid).exists())
}

/// The data directory that clusters are copied from.
fn template() -> Result<&'static Path> {
    static TEMPLATE: OnceLock<Result<PathBuf>> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let dir = scratch::new_dir()?;
        let data = dir.join("data");
        let mut command = environment().pg_command("initdb", &dir);
        command
            .arg("-D")
            .arg(&data)
            .args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]);
        command.args(["--locale=C", "--no-sync", "--wal-segsize=1"]);
        run(&mut command)?;
        ensure!(data.join("PG_VERSION").exists(), "initdb made no cluster");
        Ok(data)
    });
    match made {
        Ok(data) => Ok(data),
        Err(error) => Err(anyhow!("{error:#}")),
    }
}
