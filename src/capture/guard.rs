//! Append-only: refuses every SQL write to the log's tables.
//!
//! The triggers are ENABLE ALWAYS, so `session_replication_role` does not get round them, and row triggers on the parent are
//! cloned by `PostgreSQL` to every partition, restored ones included. The native writer fires no triggers.

use crate::error::{AttestError, Result, SqlState};
use crate::pg::cell::Backend;
use crate::pg::trigger::{Firing, Operation, trigger_function};
use crate::settings;
use std::cell::Cell;

trigger_function!(pg_attest_guard, pg_finfo_pg_attest_guard, Firing, refuse);

static UPKEEP: Backend<Cell<bool>> = Backend::cell(false);

/// While it lives, our own upkeep may move events between partitions.
pub struct Upkeep(());

impl Upkeep {
    pub fn new() -> Self {
        UPKEEP.set(true);
        Self(())
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        UPKEEP.set(false);
    }
}

/// Whether our own upkeep is at work.
pub fn is_upkeep() -> bool {
    UPKEEP.get()
}

fn refuse(firing: &Firing<'_>) -> Result<()> {
    if is_upkeep() {
        return Ok(());
    }
    if settings::RESTORE.get() {
        crate::ledger::hold_off_seals();
        return Ok(());
    }
    let verb = match firing.operation() {
        Operation::Insert => "INSERT into",
        Operation::Update => "UPDATE of",
        Operation::Delete => "DELETE from",
        Operation::Truncate => "TRUNCATE of",
    };
    Err(AttestError::new(
        SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!(
            "{verb} audit.{} is refused: the audit log is append-only",
            firing.relation().name()
        ),
    )
    .detail("Events are written by the triggers of attached tables alone, and are never changed.")
    .hint("To restore a dump, a superuser sets audit.restore = on for that session."))
}
