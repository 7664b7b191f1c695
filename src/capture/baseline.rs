//! The rows that a table has when it is attached, as `snapshot` events: where replay begins.

use super::context::Context;
use super::event::EventKind;
use super::recorder::Recorder;
use super::statement;
use crate::error::Result;
use crate::pg::relation::lock;
use crate::pg::relation::{OpenRelation, RelationRef};
use crate::pg::scan::Scan;
use crate::pg::slot::Row;
use crate::table_plan::TablePlan;
use pgrx::pg_sys;

/// Calls `f` with each row of an open table that has storage.
pub fn each_row(table: RelationRef<'_>, mut f: impl FnMut(Row<'_>) -> Result<()>) -> Result<()> {
    let mut scan = Scan::new(table);
    while let Some(row) = scan.next() {
        f(row)?;
    }
    Ok(())
}

/// Records each present row. The caller holds a lock that keeps writers out until the transaction ends.
pub fn record(table: pg_sys::Oid, plan: &TablePlan) -> Result<u64> {
    let opened = OpenRelation::table(table, lock::ACCESS_SHARE);
    let context = Context::current();
    let mut recorder = Recorder::new(plan, statement::current(), &context);
    each_row(opened.relation(), |row| {
        recorder.appeared(EventKind::Snapshot, row)
    })?;
    Ok(recorder.finish())
}
