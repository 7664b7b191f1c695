//! `audit.attach_cleanup`: old rows of the application's own tables are deleted, in batches, audited like any change.
//!
//! Invariant: rows are deleted as the table's owner, for the table's triggers run with the rights of whoever deletes.

use super::failure::Task;
use super::{check_table, exclusively, installation};
use crate::act::{self, Act};
use crate::attach::registry::{self, first};
use crate::attach::target::check_owner;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise, required};
use crate::pg::catalog;
use crate::pg::guc;
use crate::pg::query::{self, Arg};
use crate::pg::role::{ActAsOuter, ActAsOwner, ActAsSuperuser};
use pgrx::prelude::*;
use serde_json::Map;
use std::ffi::CString;

/// Rows that go in one statement.
const BATCH: u64 = 10_000;

/// A table with a cleanup.
pub struct Cleanup {
    table: pg_sys::Oid,
    owner: pg_sys::Oid,
    name: String,
    column: String,
    /// Whether it is a timestamptz.
    has_zone: bool,
    keep: String,
}

/// `audit.attach_cleanup(target, cleanup_column, keep)`.
#[pg_extern(sql = false)]
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn attach_cleanup(
    target: Option<pg_sys::Oid>,
    cleanup_column: Option<&str>,
    keep: Option<Interval>,
) {
    let target = or_raise(required(target, "target"));
    let column = or_raise(required(cleanup_column, "cleanup_column"));
    let keep = or_raise(super::policy::iso(&or_raise(required(keep, "keep"))));
    or_raise(attach(target, column, &keep));
}

fn attach(target: pg_sys::Oid, column: &str, keep: &str) -> Result<()> {
    check_table(target)?;
    check_owner(target)?;
    let _superuser = ActAsSuperuser::new();
    let fits = first(
        "SELECT 'yes' FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') \
           AND c.relnamespace NOT IN ('pg_catalog'::pg_catalog.regnamespace, 'audit'::pg_catalog.regnamespace) \
           AND a.atttypid IN ('pg_catalog.timestamptz'::pg_catalog.regtype, 'pg_catalog.timestamp'::pg_catalog.regtype, 'pg_catalog.date'::pg_catalog.regtype)",
        &[Arg::Oid(target), Arg::Text(column)],
    )?;
    if fits.is_none() {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("cannot clean up {} by column \"{column}\"", catalog::qualified_name(target)),
        )
        .detail("It needs a table of the application's, and a column of it of type timestamptz, timestamp or date.")
        .hint("\\d shows the table's columns."));
    }
    exclusively();
    let mut said = Map::new();
    said.insert("column".into(), column.into());
    said.insert("keep".into(), keep.into());
    said.insert("installation".into(), installation()?.into());
    record(target, "attach cleanup", said)
}

/// `audit.detach_cleanup(target)`.
#[pg_extern(sql = false)]
fn detach_cleanup(target: Option<pg_sys::Oid>) {
    or_raise(detach(or_raise(required(target, "target"))));
}

fn detach(target: pg_sys::Oid) -> Result<()> {
    check_table(target)?;
    check_owner(target)?;
    let _superuser = ActAsSuperuser::new();
    exclusively();
    if !all()?.iter().any(|cleanup| cleanup.table == target) {
        return Err(AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{} has no cleanup", catalog::qualified_name(target)),
        )
        .detail("Nothing was detached.")
        .hint("SELECT * FROM audit.cleanups; shows the cleanups."));
    }
    let mut said = Map::new();
    said.insert("installation".into(), installation()?.into());
    record(target, "detach cleanup", said)
}

fn record(target: pg_sys::Oid, action: &str, said: Map<String, serde_json::Value>) -> Result<()> {
    Act {
        table: Some(&act::name_of(target)),
        said,
        ..Act::new(EventKind::System, action)
    }
    .record()
    .map(drop)
}

/// All cleanups in force, of tables that are there.
pub fn all() -> Result<Vec<Cleanup>> {
    let _superuser = ActAsSuperuser::new();
    let rows = query::rows(
        "SELECT c.oid, c.relowner, pg_catalog.format('%I.%I', n.nspname, c.relname), u.cleanup_column, \
                EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = u.cleanup_column \
                          AND a.atttypid = 'pg_catalog.timestamptz'::pg_catalog.regtype), \
                audit.interval_text(u.keep) \
         FROM audit.cleanups u JOIN pg_catalog.pg_class c ON c.oid = u.target JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         ORDER BY 3",
        &[],
    )?;
    Ok(rows
        .into_iter()
        .filter_map(|row| match <[_; 6]>::try_from(row) {
            Ok(
                [
                    Some(table),
                    Some(owner),
                    Some(name),
                    Some(column),
                    Some(has_zone),
                    Some(keep),
                ],
            ) => Some(Cleanup {
                table: registry::oid(&table),
                owner: registry::oid(&owner),
                name,
                column,
                has_zone: has_zone == "t",
                keep,
            }),
            _ => None,
        })
        .collect())
}

/// Has the transaction's constraints checked at once, and what is deferred in it run now, as the role that it would run as at the
/// transaction's end: in [`batch`] there must be nothing that others left, for it would run as the table's owner. A deletion that
/// defers a trigger is refused there by PostgreSQL. Before anything acts as superuser.
pub fn settle() -> Result<()> {
    if all()?.is_empty() {
        return Ok(());
    }
    let _outer = ActAsOuter::new();
    query::run("SET CONSTRAINTS ALL IMMEDIATE", &[])
}

impl Cleanup {
    /// Deletes the next old rows of the table; returns how many, and whether there may be more. A failure is this table's alone. After
    /// [`settle`].
    ///
    /// # Errors
    /// Where what became of it cannot be recorded.
    pub fn step(&self) -> Result<(u64, bool)> {
        let task = Task::Cleanup(self.table);
        let Some(count) = task.alone(|| batch(self.table))? else {
            return Ok((0, false));
        };
        let goes_on = count == BATCH;
        if !goes_on {
            task.succeeded()?;
        }
        Ok((count, goes_on))
    }
}

/// Deletes the next old rows of a table; returns how many: none where its cleanup was ended meanwhile.
fn batch(table: pg_sys::Oid) -> Result<u64> {
    pgrx::check_for_interrupts!();
    // Its name may be another table's by now, with triggers that were never meant to run as this owner.
    let known = all()?.into_iter().find(|known| known.table == table);
    let Some(cleanup) = known else {
        return Ok(0);
    };
    let column = format!("\"{}\"", cleanup.column.replace('"', "\"\""));
    let name = &cleanup.name;
    let reason = format!("cleanup: {} older than {}", cleanup.column, cleanup.keep);
    let _owner = ActAsOwner::of(cleanup.owner);
    if let Ok(reason) = CString::new(reason) {
        guc::set_for_now(c"audit.reason", &reason);
    }
    // In UTC, whatever the session's time zone: who calls makes no row older.
    let mut edge = "(pg_catalog.timezone('UTC', pg_catalog.now()) OPERATOR(pg_catalog.-) $1::pg_catalog.interval)".to_owned();
    if cleanup.has_zone {
        edge = format!("pg_catalog.timezone('UTC', {edge})");
    }
    let is_old = format!("{column} OPERATOR(pg_catalog.<) {edge}");
    // What the row's place is now checked against the column again: in partitions, places are not unique.
    query::count(
        &format!(
            "DELETE FROM {name} WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ctid FROM {name} WHERE {is_old} LIMIT {BATCH})) AND {is_old}"
        ),
        &[Arg::Text(&cleanup.keep)],
    )
}
