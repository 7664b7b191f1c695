//! How long events stay, and what is done when their time is over.
//!
//! - `policy`, `hold`, `archive`: what administrators say; each is an event, and the log is the only state (`sql/retention.sql`, `sql/holds.sql`, `sql/archives.sql`)
//! - `plan`: which events are due (`count`: of which group), `newest`: or too many; `prune` (by `step`), `clear`, `erase`: what removes them, `emptied`: and frees their storage, and `declaration`: how the log says so
//! - `locked`: what asks once more, of the log itself, whether a locked policy keeps what is to go, and (`held`) a hold
//! - `upkeep`: pruning on a schedule; `cleanup`: old rows of the application's own tables; `failure`: what fails of it, alone
//!
//! Invariant: whatever removes events or payloads writes its declarations in the same transaction, and holds the lock of
//! [`exclusively`] from before it looks at policies and holds. A crash leaves all of it or nothing.

mod archive;
mod cleanup;
mod clear;
mod count;
mod declaration;
mod emptied;
mod erase;
mod failure;
mod held;
mod hold;
mod locked;
mod newest;
mod plan;
mod policy;
mod prune;
mod removal;
mod step;
pub mod upkeep;

use crate::capture::event_id;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::object_lock::{self, Agreement, Until};
use crate::pg::query::{self, Arg};
use crate::pg::relation::lock;
use crate::pg::xact;
use pgrx::pg_sys;

/// One at a time, until the transaction ends: what removes events, and what says whether they may be removed. Of two acts, the later
/// one has the higher event id, whatever their transactions wrote before.
pub(crate) fn exclusively() {
    if let Some(extension) = object_lock::extension() {
        object_lock::lock(
            extension,
            Agreement::Retention,
            lock::EXCLUSIVE,
            Until::TransactionEnds,
            true,
        );
    }
    event_id::begin_anew();
    // What this transaction itself said before.
    xact::command_counter_increment();
}

/// The installation that table OIDs belong to: a restored copy is another one.
fn installation() -> Result<String> {
    let rows = query::rows("SELECT id::pg_catalog.text FROM audit.installation", &[])?;
    Ok(rows
        .into_iter()
        .flatten()
        .flatten()
        .next()
        .unwrap_or_default())
}

/// A table that the caller named, which must exist.
fn check_table(table: pg_sys::Oid) -> Result<()> {
    let exists = query::rows(
        "SELECT FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1",
        &[Arg::Oid(table)],
    )?;
    if !exists.is_empty() {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_UNDEFINED_TABLE,
        format!("relation with OID {} does not exist", table.to_u32()),
    )
    .detail("It was dropped, or the number was never a table's.")
    .hint("Give the table's name; \\dt lists the tables."))
}

/// A text that must be there and say something.
fn needed<'a>(value: Option<&'a str>, what: &str, hint: &str) -> Result<&'a str> {
    value.filter(|text| !text.trim().is_empty()).ok_or_else(|| {
        AttestError::new(
            SqlState::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            format!("{what} is needed"),
        )
        .detail("The log keeps it.")
        .hint(hint)
    })
}
