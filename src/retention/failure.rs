//! What fails in upkeep fails alone: it is told, the rest goes on, and it is tried again by the next run.
//!
//! A failure is an event (`fail upkeep`), and so is the first success after one (`resume upkeep`). `audit.upkeep_failures` is made of
//! them. They hold the SQLSTATE and not the message: what an application's trigger says may be personal, and these events stay for
//! ever. The message goes to the caller and to the server's log.

use super::installation;
use crate::act::{self, Act};
use crate::attach::registry::all;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result};
use crate::pg::attempt::attempt;
use crate::pg::catalog;
use crate::pg::query::Arg;
use crate::pg::role::ActAsSuperuser;
use pgrx::pg_sys;
use serde_json::Map;

/// A part of upkeep.
#[derive(Clone, Copy)]
pub enum Task<'a> {
    /// Months ahead, and the default partition.
    Months,
    /// A partition of the log.
    Prune(&'a str),
    /// A table of the application's.
    Cleanup(pg_sys::Oid),
}

impl Task<'_> {
    /// As `audit.upkeep_failures` has it.
    fn name(self) -> &'static str {
        match self {
            Self::Months => "months",
            Self::Prune(_) => "prune",
            Self::Cleanup(_) => "cleanup",
        }
    }

    fn subject(self) -> String {
        match self {
            Self::Months => "audit.audit_events".to_owned(),
            Self::Prune(partition) => format!("audit.{partition}"),
            Self::Cleanup(table) => catalog::qualified_name(table),
        }
    }

    /// Does the work; None where it failed, which is told and recorded.
    ///
    /// # Errors
    /// Where the failure cannot be recorded.
    pub fn alone<R>(self, work: impl FnOnce() -> Result<R>) -> Result<Option<R>> {
        let error = match attempt(work) {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        self.record("fail upkeep", Some(&error))?;
        error
            .of(&format!("{} of {} failed", self.name(), self.subject()))
            .warning();
        Ok(None)
    }

    /// Says that it works again, where it failed before.
    ///
    /// # Errors
    /// Where that cannot be recorded.
    pub fn succeeded(self) -> Result<()> {
        self.succeeded_after(&failing(self)?)
    }

    /// The same where these are known to have failed before.
    ///
    /// # Errors
    /// Where it cannot be recorded.
    pub fn succeeded_after(self, failing: &[String]) -> Result<()> {
        if failing.contains(&self.subject()) {
            self.record("resume upkeep", None)?;
        }
        Ok(())
    }

    fn record(self, action: &str, error: Option<&AttestError>) -> Result<()> {
        let _superuser = ActAsSuperuser::new();
        let mut said = Map::new();
        said.insert("task".into(), self.name().into());
        said.insert("subject".into(), self.subject().into());
        said.insert("installation".into(), installation()?.into());
        if let Some(error) = error {
            said.insert("sqlstate".into(), error.sqlstate().into());
        }
        let table = match self {
            Self::Cleanup(table) => Some(act::name_of(table)),
            _ => None,
        };
        Act {
            table: table.as_ref(),
            said,
            ..Act::new(EventKind::System, action)
        }
        .record()
        .map(drop)
    }
}

/// What failed last of tasks like this one.
///
/// # Errors
/// Where it cannot be read.
pub fn failing(like: Task<'_>) -> Result<Vec<String>> {
    let _superuser = ActAsSuperuser::new();
    all(
        "SELECT subject FROM audit.upkeep_failures WHERE task = $1",
        &[Arg::Text(like.name())],
    )
}
