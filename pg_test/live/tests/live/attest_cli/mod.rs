//! The command `attest` against a live database: what its tests share, a file per command.

mod authority;
mod declared;
mod epochs;
mod export;
mod judges;
mod memory;
mod timestamp;
mod verify;
mod witness;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use live_tests::cluster::{PORT, SUPERUSER};
use live_tests::database::Database;
use live_tests::env::attest;
use live_tests::{Sql, scratch};
use serde_json::Value as Json;

use crate::seal::each;

/// A folder for what a test writes, and the program with a connection to its database.
pub struct Auditor<'a> {
    pub db: &'a Database<'a>,
    folder: PathBuf,
}

impl<'a> Auditor<'a> {
    pub fn new(db: &'a Database<'a>) -> Result<Self> {
        let folder = scratch::new_dir()?;
        Ok(Self { db, folder })
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// `attest` with these arguments; `DB` stands for the database's URL.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let url = format!("postgresql:///{}", self.db.name());
        let arguments = arguments
            .iter()
            .map(|argument| if *argument == "DB" { &url } else { *argument });
        let mut command = Command::new(attest()?);
        command
            .args(arguments)
            .env("PGHOST", self.db.cluster().dir())
            .env("PGPORT", PORT.to_string())
            .env("PGUSER", SUPERUSER);
        Ok(command)
    }

    /// Runs `attest` and demands this exit status.
    pub fn attest(&self, status: i32, arguments: &[&str]) -> Result<Output> {
        let output = self.command(arguments)?.output()?;
        ensure!(
            output.status.code() == Some(status),
            "exit status is not {status}: {output:?}"
        );
        Ok(output)
    }

    /// Makes a witness's key; gives its public key, and the words by which the witness looks at the database once.
    pub fn witness(&self) -> Result<(String, Vec<String>)> {
        let (key, state) = (self.path("key"), self.path("state"));
        let name = ["--name", "witness.example/w", "--kind", "witness"];
        let made = self.attest(0, &[&["keygen"][..], &name, &[&key]].concat())?;
        let public = String::from_utf8(made.stdout)?.trim().to_owned();
        let look = ["witness", "--db", "DB", "--once", "--key-file", &key];
        let look = look.into_iter().chain(["--state", &state]);
        Ok((public, look.map(ToOwned::to_owned).collect()))
    }

    /// Runs `attest`, which must succeed; gives the most memory that it had, in kB.
    pub fn peak(&self, arguments: &[&str]) -> Result<u64> {
        let mut running = self
            .command(arguments)?
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let status = format!("/proc/{}/status", running.id());
        let mut peak = 0;
        // Gone from there once it has ended, though nobody has asked yet how.
        while let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(line) = line else { break };
            let value = line.split_whitespace().next().context("no value")?;
            peak = value.parse()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        ensure!(running.wait()?.success(), "attest {arguments:?} failed");
        ensure!(peak > 0, "attest {arguments:?} was not seen");
        Ok(peak)
    }

    /// The findings as `check: event`, of the database; those of an export must be the same, but for the ids of events that
    /// were gone when it was made.
    fn findings(&self, status: i32) -> Result<Vec<String>> {
        let live = findings(&self.attest(status, &["verify", "--db", "DB", "--json"])?)?;
        self.attest(0, &["export", "--db", "DB", &self.path("fresh")])?;
        let export = findings(&self.attest(status, &["verify", &self.path("fresh"), "--json"])?)?;
        std::fs::remove_dir_all(self.path("fresh"))?;
        let known = |line: &String| line.replace("missing event: null", "missing event");
        let same = live.len() == export.len()
            && live
                .iter()
                .zip(&export)
                .all(|(live, export)| live.starts_with(&known(export)));
        ensure!(same, "the database says {live:?}, its export {export:?}");
        Ok(live)
    }
}

pub fn findings(output: &Output) -> Result<Vec<String>> {
    let report: Json = serde_json::from_slice(&output.stdout)?;
    let findings = report["findings"].as_array().context("no findings")?;
    let mut lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            format!(
                "{}: {}",
                finding["check"].as_str().unwrap_or_default(),
                finding["event_id"]
            )
        })
        .collect();
    lines.sort();
    Ok(lines)
}

/// As a superuser who means harm: past triggers and guards.
pub fn tamper(db: &Database, sql: &str) -> Result<()> {
    let mut client = db.connect()?;
    client.run("SET session_replication_role = replica")?;
    let tables = client.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p')",
    )?;
    for table in tables.into_iter().flatten().flatten() {
        client.run(&format!("ALTER TABLE {table} DISABLE TRIGGER ALL"))?;
    }
    client.run(sql)
}

fn sealed(db: &Database, rows: u32) -> Result<()> {
    let mut client = db.connect()?;
    each(
        &mut client,
        "CREATE TABLE IF NOT EXISTS t (id serial PRIMARY KEY, name text, tags text[], at timestamptz DEFAULT now())",
    )?;
    client.run("SELECT audit.attach('t') WHERE NOT EXISTS (SELECT FROM audit.attachments)")?;
    client.run(&format!(
        "INSERT INTO t (name, tags) SELECT 'Zoë \"' || n || '\"', ARRAY['a', NULL, 'b'] FROM generate_series(1, {rows}) n"
    ))?;
    client.run("UPDATE t SET name = name || E'\\n' WHERE id % 3 = 0")?;
    client.run("SELECT audit.seal()")
}
