//! The systems that are compared: each is a file of SQL that sets it up and attaches tables.
//!
//! psql runs the file once in a database where the tables are already there. The variable `tables`
//! names them, qualified and separated by commas.

use crate::setup::{self, Workshop};
use crate::ui;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

pub const UNAUDITED: &str = "unaudited";
pub const FULL: &str = "pg_attest-full";
pub const DIFF: &str = "pg_attest-diff";

#[derive(Clone)]
pub struct System {
    pub name: String,
    /// None: nothing is attached.
    pub sql: Option<PathBuf>,
    /// The psql variable `setup`: SQL that a package brings.
    pub setup: Option<PathBuf>,
}

impl System {
    fn new(name: &str, sql: Option<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            sql,
            setup: None,
        }
    }

    pub fn is_audited(&self) -> bool {
        self.sql.is_some()
    }

    pub fn is_ours(&self) -> bool {
        self.name == FULL || self.name == DIFF
    }
}

/// The systems of a run, the unaudited one first. `wanted` are parts of names; empty: all. Peers are always in it.
///
/// # Errors
/// A wanted name fits none; a peer's file is not there; what a package needs cannot be installed.
pub fn all(workshop: &Workshop, wanted: &[String], peers: &[Peer]) -> Result<Vec<System>> {
    let folder = workshop.layout.root.join("bench/peers");
    let mut systems = vec![System::new(UNAUDITED, None)];
    for (name, file) in [
        (FULL, "pg_attest_full.sql"),
        (DIFF, "pg_attest_diff.sql"),
        ("plpgsql-row", "plpgsql_row.sql"),
        ("plpgsql-statement", "plpgsql_statement.sql"),
        ("table_log", "table_log.sql"),
        ("postgresql-audit", "postgresql_audit.sql"),
    ] {
        systems.push(System::new(name, Some(folder.join(file))));
    }
    for Peer { name, file } in peers {
        ensure!(
            systems.iter().all(|system| system.name != *name),
            "there is a system {name} already"
        );
        let file = std::path::absolute(file)?;
        ensure!(file.is_file(), "there is no file {}", file.display());
        systems.push(System::new(name, Some(file)));
    }
    for part in wanted {
        if !systems.iter().any(|system| system.name.contains(part)) {
            let names: Vec<&str> = systems.iter().map(|system| system.name.as_str()).collect();
            bail!(
                "no system's name contains {part}; there are {}",
                names.join(", ")
            );
        }
    }
    systems.retain(|system| {
        !system.is_audited()
            || wanted.is_empty()
            || peers.iter().any(|peer| peer.name == system.name)
            || wanted.iter().any(|part| system.name.contains(part))
    });
    find_packages(workshop, &mut systems)?;
    Ok(systems)
}

/// Completes the systems that come in packages; leaves out what this distribution does not have.
fn find_packages(workshop: &Workshop, systems: &mut Vec<System>) -> Result<()> {
    let control = workshop
        .pg_folder("--sharedir")?
        .join("extension/table_log.control");
    if systems.iter().any(|system| system.name == "table_log") && !control.exists() {
        ui::note("table_log is not packaged here for this PostgreSQL: it is left out");
        systems.retain(|system| system.name != "table_log");
    }
    if let Some(system) = systems
        .iter_mut()
        .find(|system| system.name == "postgresql-audit")
    {
        system.setup = Some(setup::peers::postgresql_audit(&workshop.layout)?);
    }
    Ok(())
}

/// `--peer NAME=FILE`
#[derive(Clone, Debug)]
pub struct Peer {
    name: String,
    file: PathBuf,
}

impl std::str::FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, file) = text.split_once('=').context("expected NAME=FILE.sql")?;
        ensure!(
            !name.is_empty() && name.len() < 40 && !name.contains('"'),
            "not a name: {name:?}"
        );
        Ok(Self {
            name: name.to_owned(),
            file: Path::new(file).to_owned(),
        })
    }
}
