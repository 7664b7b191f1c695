//! TRUNCATE, as the table's `on_truncate` says.
//!
//! A stamp is open on each truncated table from its BEFORE to its AFTER trigger. `PostgreSQL` fires the root's
//! BEFORE trigger ahead of its partitions', so a partition can tell whether its root is truncated along.

use super::baseline;
use super::context::Context;
use super::event::{Event, EventKind, TableName};
use super::recorder::Recorder;
use super::{statement, writer};
use crate::error::{AttestError, Result, SqlState};
use crate::pg::datum::Varlena;
use crate::pg::trigger::{Firing, Operation};
use crate::table_plan::{self, OnTruncate};
use serde_json::{Map, Value as Json};

/// The BEFORE TRUNCATE trigger.
pub fn before(firing: &Firing<'_>) -> Result<()> {
    let relation = firing.relation();
    let plan = table_plan::of_relation(relation, firing.argument())?;
    let identity = &plan.identity;
    let root_too = plan.is_partition
        && statement::innermost_open(|oid| oid == identity.oid, Operation::Truncate).is_some();
    statement::open(relation.oid(), identity.oid, Operation::Truncate);

    if plan.settings.on_truncate == OnTruncate::Forbid {
        return Err(AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "TRUNCATE of {}.{} is forbidden",
                identity.schema, identity.table
            ),
        )
        .detail("The table is attached with on_truncate => 'forbid'.")
        .hint("DELETE the rows instead: each is then recorded."));
    }
    super::trigger::check_required(&plan)?;

    let by_row = plan.settings.on_truncate == OnTruncate::Rows || (plan.is_partition && !root_too);
    if by_row {
        // A partitioned table has no rows of its own; its partitions' triggers record theirs.
        if relation.kind() == 'r' {
            let said = extra(relation.name().as_str(), plan.is_partition);
            let context = Context::current();
            let mut recorder =
                Recorder::new(&plan, statement::current(), &context).with_context(said.as_ref());
            baseline::each_row(relation, |row| recorder.vanished(row))?;
            recorder.finish();
        }
        return Ok(());
    }
    if plan.is_partition {
        return Ok(());
    }
    let context = Context::current();
    let table = TableName::new(identity.oid, &identity.schema, &identity.table);
    let event = Event {
        table: Some(&table),
        ..Event::new(EventKind::Truncate, statement::current())
    };
    writer::write_one(&event, &context).map(drop)
}

/// Tells events of a TRUNCATE from those of a DELETE.
fn extra(relation: &str, is_partition: bool) -> Option<Varlena> {
    let mut said = Map::new();
    said.insert("truncate".into(), Json::Bool(true));
    if is_partition {
        said.insert("partition".into(), relation.into());
    }
    Context::extra_with(said)
}
