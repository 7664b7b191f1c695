//! The benchmark's private cluster, and the databases in which systems are measured.
//!
//! Invariant: a system is measured in a copy of a template database that holds its tables, its
//! triggers and an empty log, right after a checkpoint. So every round of every system begins alike.

use super::system::System;
use crate::cluster::{Cluster, TEMPORARY};
use crate::interrupt;
use crate::run;
use crate::setup::Workshop;
use crate::ui;
use anyhow::{Context, Result};
use postgres::Client;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// What an application tells about itself; every system finds it in its session.
pub const CONTEXT: &str = "-c audit.request_id=req-4711 -c audit.process_id=proc-12 \
                           -c audit.app_user_id=alice";

/// Settings that say under which conditions the figures came about; they are part of the results.
const TOLD: &str = "'server_version', 'debug_assertions', 'fsync', 'full_page_writes', 'synchronous_commit', \
     'wal_level', 'wal_compression', 'shared_buffers', 'work_mem', 'max_wal_size', 'min_wal_size', \
     'checkpoint_timeout', 'autovacuum', 'jit'";

pub struct Server {
    pub cluster: Cluster,
    admin: Client,
}

impl Server {
    /// Starts the cluster with what a careful DBA would set. Two settings serve the measuring: WAL is
    /// so ample that no checkpoint falls into a measurement, and autovacuum is off, for it would
    /// fall into some and not into others; VACUUM is called between measurements.
    pub fn start(workshop: &Workshop, quick: bool) -> Result<Self> {
        let (max_wal, min_wal) = if quick { (6, 1) } else { (12, 2) };
        let settings = format!(
            "shared_buffers = '{}MB'\nmax_wal_size = '{max_wal}GB'\nmin_wal_size = '{min_wal}GB'\n\
             checkpoint_timeout = '1h'\nautovacuum = off\n",
            shared_buffers()
        );
        let name = format!("{TEMPORARY}bench");
        let cluster = Cluster::create(&workshop.layout, &workshop.bindir, &name, &settings)?;
        cluster.start()?;
        let mut admin = cluster.connect("postgres")?;
        fill_wal(&mut admin, min_wal)?;
        Ok(Self { cluster, admin })
    }

    /// Name and value of the settings that matter.
    pub fn settings(&mut self) -> Result<Vec<(String, String)>> {
        let query = format!(
            "SELECT name, current_setting(name) FROM unnest(ARRAY[{TOLD}]) WITH ORDINALITY AS told (name, place)
             ORDER BY place"
        );
        let rows = self.admin.query(&query, &[])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The time in UTC.
    pub fn date(&mut self) -> Result<String> {
        let query = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI UTC')";
        Ok(self.admin.query_one(query, &[])?.get(0))
    }

    /// Restarts the server after a change of settings. All sessions end.
    pub fn restart(&mut self, change: &str) -> Result<()> {
        self.admin.batch_execute(change)?;
        self.cluster.stop()?;
        self.cluster.start()?;
        self.admin = self.cluster.connect("postgres")?;
        Ok(())
    }

    /// A checkpoint, and all on disk that anybody has left to be written: nothing of it falls into what comes.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.admin.batch_execute("CHECKPOINT")?;
        run::capture(&mut Command::new("sync")).map(drop)
    }

    /// Waits until the disk has been calm for ten seconds, three minutes at most: gigabytes that were written or freed may keep it busy
    /// for long after they count as written.
    pub fn calm(&self) -> Result<()> {
        const CALM: Duration = Duration::from_secs(10);
        const MOST: Duration = Duration::from_mins(3);
        const SLOW: Duration = Duration::from_millis(30);
        let path = self.cluster.data().join("calm");
        let file = std::fs::File::create(&path)?;
        let begun = Instant::now();
        let mut since = begun;
        while since.elapsed() < CALM && begun.elapsed() < MOST {
            interrupt::check()?;
            let started = Instant::now();
            file.write_all_at(&[0; 8192], 0)?;
            file.sync_data()?;
            if started.elapsed() > SLOW {
                since = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(file);
        std::fs::remove_file(path)?;
        if since.elapsed() < CALM {
            ui::note("the disk was busy for three minutes: times of others' statements are rough");
        }
        Ok(())
    }

    /// Makes a database from another one.
    pub fn copy(&mut self, template: &str, name: &str) -> Result<()> {
        self.drop(name)?;
        self.admin.batch_execute(&format!(
            "CREATE DATABASE \"{name}\" TEMPLATE \"{template}\" STRATEGY file_copy"
        ))?;
        Ok(())
    }

    pub fn drop(&mut self, name: &str) -> Result<()> {
        let sql = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
        Ok(self.admin.batch_execute(&sql)?)
    }

    /// Sets a system up in a database and attaches tables.
    pub fn attach(&self, database: &str, system: &System, tables: &[&str]) -> Result<()> {
        let Some(file) = &system.sql else {
            return Ok(());
        };
        let mut psql = self.client("psql", database);
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        psql.arg(format!("--set=tables={}", tables.join(",")));
        if let Some(setup) = &system.setup {
            psql.arg(format!("--set=setup={}", setup.display()));
        }
        psql.arg("--file").arg(file);
        run::capture(&mut psql)
            .map(drop)
            .with_context(|| format!("cannot set up {}", system.name))
    }

    /// A session as an application would have it, with its context set.
    pub fn session(&self, database: &str) -> Result<Client> {
        self.cluster.connect_with(database, CONTEXT)
    }

    /// Seals a database's log, once no session is left that may have restored rows: before, nothing is sealed.
    pub fn sealed(&self, database: &str) -> Result<Client> {
        let mut client = self.session(database)?;
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        while client.query_one(others, &[])?.get::<_, i64>(0) > 0 {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        client.batch_execute("SELECT audit.seal()")?;
        Ok(client)
    }

    /// One of PostgreSQL's client programs, with the same context.
    pub fn client(&self, program: &str, database: &str) -> Command {
        let mut command = self.cluster.client_program(program, database);
        command.env("PGOPTIONS", CONTEXT);
        command
    }
}

/// Writes WAL and recycles it: making new segments costs more than using old ones again, which is
/// what a server does that has run for a while.
fn fill_wal(client: &mut Client, gigabytes: u32) -> Result<()> {
    client.execute(
        "SELECT pg_logical_emit_message(false, 'bench', repeat('x', 1048576)) FROM generate_series(1, $1 * 1024)",
        &[&i32::try_from(gigabytes)?],
    )?;
    Ok(client.batch_execute("CHECKPOINT")?)
}

/// What the tables of a system's log take, in bytes.
#[derive(Clone, Copy, Default)]
pub struct LogSize {
    pub total: i64,
    pub indexes: i64,
}

/// The size of everything that is neither PostgreSQL's own nor one of `tables`.
pub fn log_size(client: &mut Client, tables: &[&str]) -> Result<LogSize> {
    let row = client.query_one(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint
         FROM pg_class AS c
         JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
           AND c.oid <> ALL (SELECT unnest($1::text[])::regclass)",
        &[&tables],
    )?;
    Ok(LogSize {
        total: row.get(0),
        indexes: row.get(1),
    })
}

/// A quarter of the machine's memory, as PostgreSQL's documentation advises; at most 4 GB. In MB.
fn shared_buffers() -> u64 {
    let quarter = super::machine::memory_mb().map_or(1024, |megabytes| megabytes / 4);
    quarter.clamp(128, 4096)
}
