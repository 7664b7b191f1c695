//! The trigger functions that `audit.attach()` puts on a table.
//!
//! | function | trigger | does |
//! | --- | --- | --- |
//! | `capture_order` | BEFORE STATEMENT | stamps the order, checks `require` |
//! | `capture_statement` | AFTER STATEMENT | takes the stamp off, records the transition tables if there are any |
//! | `capture_row` | AFTER ROW | records one row: logical-replication apply, inheritance trees |
//! | `capture_truncate` | BEFORE TRUNCATE | records or refuses |

use super::context::{self, Context};
use super::event::EventKind;
use super::recorder::Recorder;
use super::transition::{self, Side};
use super::{statement, truncate};
use crate::error::{AttestError, Result, SqlState};
use crate::pg::trigger::{Firing, Operation, trigger_function};
use crate::settings;
use crate::table_plan::{self, Identity, TablePlan};
use std::ffi::CStr;

trigger_function!(
    pg_attest_capture_order,
    pg_finfo_pg_attest_capture_order,
    Firing,
    order
);
trigger_function!(
    pg_attest_capture_statement,
    pg_finfo_pg_attest_capture_statement,
    Firing,
    after_statement
);
trigger_function!(
    pg_attest_capture_row,
    pg_finfo_pg_attest_capture_row,
    Firing,
    after_row
);
trigger_function!(
    pg_attest_capture_truncate,
    pg_finfo_pg_attest_capture_truncate,
    Firing,
    truncate::before
);

fn order(firing: &Firing<'_>) -> Result<()> {
    let plan = table_plan::of_relation(firing.relation(), firing.argument())?;
    check_required(&plan)?;
    statement::open(
        firing.relation().oid(),
        plan.identity.oid,
        firing.operation(),
    );
    Ok(())
}

/// Refuses a statement that lacks what `require` asks for. A restore has no reasons of its own.
pub fn check_required(plan: &TablePlan) -> Result<()> {
    if settings::RESTORE.get() {
        return Ok(());
    }
    let Some(missing) = plan
        .settings
        .require
        .iter()
        .find(|field| !context::is_set(field))
    else {
        return Ok(());
    };
    Err(AttestError::new(
        SqlState::ERRCODE_CHECK_VIOLATION,
        format!("changes of {}.{} need a {missing}", plan.identity.schema, plan.identity.table),
    )
    .detail(format!("The table is attached with require => '{{{}}}'.", plan.settings.require.join(",")))
    .hint(format!("SET LOCAL audit.{missing} = '…' in this transaction, or call audit.set_context({missing} => '…').")))
}

fn after_statement(firing: &Firing<'_>) -> Result<()> {
    let relation = firing.relation();
    let closed = statement::close(relation.oid(), firing.operation());
    let old = firing
        .old_table()
        .map(|table| Side::new(table, firing.new_slot()));
    let new = firing
        .new_table()
        .map(|table| Side::new(table, firing.new_slot()));
    let rows = old
        .as_ref()
        .map_or(0, Side::len)
        .max(new.as_ref().map_or(0, Side::len));
    if rows == 0 {
        return Ok(());
    }
    let plan = table_plan::of_relation(relation, firing.argument())?;
    let context = Context::current();
    if settings::RESTORE.get() {
        log_restore(&plan, rows);
        return Ok(());
    }
    let mut recorder = Recorder::new(&plan, closed.statement, &context).of_statement(closed, rows);
    transition::record(&mut recorder, old, new)?;
    recorder.finish();
    Ok(())
}

/// A restore brings rows whose events come with it. They are not recorded again, nor is the restore itself: its event would
/// take an id that an event of the dump may have. The server's log tells.
fn log_restore(plan: &TablePlan, rows: i64) {
    let Identity { schema, table, .. } = &plan.identity;
    AttestError::new(
        SqlState::ERRCODE_SUCCESSFUL_COMPLETION,
        format!("{rows} changed rows of {schema}.{table} are not recorded: audit.restore is on"),
    )
    .log();
}

/// The row trigger of a table whose statements are recorded as a whole. It is told by name: ENABLE TRIGGER ALL turns it from
/// ENABLE REPLICA to firing always.
const APPLY: &CStr = c"audit_apply";

fn after_row(firing: &Firing<'_>) -> Result<()> {
    let relation = firing.relation();
    let plan = table_plan::of_relation(relation, firing.argument())?;
    let above = |oid| oid == relation.oid() || plan.ancestors.contains(&oid);
    let stamped = statement::innermost_open(above, firing.operation());
    if firing.name() == APPLY && statement::is_open(above) {
        // The executor is at work, not logical-replication apply: the statement triggers record the row.
        return Ok(());
    }
    let context = Context::current();
    if settings::RESTORE.get() {
        log_restore(&plan, 1);
        return Ok(());
    }
    let mut recorder = Recorder::new(&plan, stamped.unwrap_or_else(statement::current), &context);
    match (firing.operation(), firing.rows()) {
        (Operation::Insert, (_, Some(new))) => recorder.appeared(EventKind::Insert, new)?,
        (Operation::Delete, (Some(old), _)) => recorder.vanished(old)?,
        (_, (Some(old), Some(new))) => recorder.changed(old, new)?,
        _ => {}
    }
    recorder.finish();
    Ok(())
}
