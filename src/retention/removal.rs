//! Removing events of one partition: declared in the same transaction, never without.

use super::declaration::{Declaration, Place};
use super::emptied;
use super::plan::Partition;
use crate::act::Act;
use crate::attach::{partitions, registry};
use crate::capture::guard::Upkeep;
use crate::error::{AttestError, Result, SqlState};
use crate::ledger::sealed;
use crate::pg::columns::{Columns, column};
use crate::pg::heap_scan::HeapScan;
use crate::pg::query::{self, Arg};
use crate::pg::relation::{OpenRelation, lock};
use crate::pg::snapshot::Snapshot;
use crate::pg::{wal, xact};
use crate::summaries;
use attest_log::Hash;
use pgrx::pg_sys;
use serde_json::{Map, Value as Json};
use std::collections::HashMap;

/// The leaves of events, by their ids, which ascend.
pub fn leaves(ids: &[i64]) -> Result<HashMap<i64, (Place, Hash)>> {
    let snapshot = Snapshot::latest();
    let found = sealed::find_all(&snapshot, ids)?.into_iter();
    Ok(found
        .map(|(id, leaf)| {
            let place = Place {
                epoch: leaf.epoch,
                index: leaf.index,
            };
            (id, (place, leaf.hash))
        })
        .collect())
}

/// Writes a declaration; `said` is for people.
pub fn declare(
    leaves: Vec<(Place, Hash)>,
    mut said: Map<String, Json>,
    mut act: Act<'_>,
) -> Result<i64> {
    said.extend(Declaration::of(leaves).said());
    act.said = said;
    act.record()
}

/// Events that go with one statement.
const PORTION: usize = 500;
/// Bytes of WAL that go to disk together. A commit of somebody else sends what stands before it: of a whole batch that would be
/// some 50 MB, and hold it up for a tenth of a second and more.
const WAL: u64 = 256 * 1024;

/// Deletes events of a partition.
pub fn delete(partition: &Partition, ids: &[i64]) -> Result<()> {
    summaries::removed(ids)?;
    let _upkeep = Upkeep::new();
    let sql = format!(
        "DELETE FROM ONLY {} e USING pg_catalog.unnest($1::pg_catalog.int8[]) AS gone (id) WHERE e.event_id = gone.id",
        partition.sql()
    );
    let mut flushed = wal::written();
    for ids in ids.chunks(PORTION) {
        pgrx::check_for_interrupts!();
        xact::give_way();
        query::run(&sql, &[Arg::Text(&query::array(ids))])?;
        if wal::written() - flushed >= WAL {
            wal::flush();
            flushed = wal::written();
        }
    }
    Ok(())
}

/// Refuses to empty a partition that has events which nobody decided about: what goes with all the others is neither declared nor put
/// back. The plan's events are read by views, functions and an index, so the heap itself is asked. The caller holds a lock that keeps
/// writers out. Sorts the lists.
pub fn check_complete(partition: &Partition, gone: &mut [i64], stays: &mut [i64]) -> Result<()> {
    gone.sort_unstable();
    stays.sort_unstable();
    let table = OpenRelation::table(registry::oid(&partition.oid), lock::ACCESS_SHARE);
    let columns = Columns::of(table.relation(), &[column("event_id", pg_sys::INT8OID)])?;
    let snapshot = Snapshot::latest();
    let mut scan = HeapScan::gentle(table.relation(), &snapshot, &columns)?;
    let mut found = 0;
    while scan.next().is_some() {
        let id = scan.row(|row| row.int8(0)).unwrap_or_default();
        if gone.binary_search(&id).is_err() && stays.binary_search(&id).is_err() {
            return Err(AttestError::new(
                SqlState::ERRCODE_DATA_CORRUPTED,
                format!("audit.{} has events that its prune did not look at", partition.name),
            )
            .detail(format!("Event {id} is one of them. Nothing was removed."))
            .hint("What pruning reads was replaced, or an index is damaged: put the views and functions of schema audit back as the extension's script makes them, REINDEX the partition, and SELECT * FROM audit.verify();"));
        }
        found += 1;
    }
    if found == gone.len() + stays.len() {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_DATA_CORRUPTED,
        format!(
            "audit.{} has other events than its prune looked at",
            partition.name
        ),
    )
    .detail(format!(
        "It has {found}, and {} were to go, {} to stay. Nothing was removed.",
        gone.len(),
        stays.len()
    ))
    .hint("REINDEX the partition, and SELECT * FROM audit.verify();"))
}

/// Empties a partition but for these events. The caller holds its ACCESS EXCLUSIVE lock. With `in_steps`, its storage is left to
/// [`emptied::free`].
pub fn empty(partition: &Partition, kept: &[i64], in_steps: bool) -> Result<()> {
    let name = partition.sql();
    summaries::removed_all(&name)?;
    let _upkeep = Upkeep::new();
    let truncate = || {
        if in_steps {
            emptied::put_aside(partition)?;
        }
        query::run(&format!("TRUNCATE {name}"), &[])
    };
    if kept.is_empty() {
        return truncate();
    }
    let aside = partitions::temporary_name()?;
    query::run(
        &format!(
            "CREATE TEMPORARY TABLE {aside} USING heap ON COMMIT DROP AS SELECT e.* FROM ONLY {name} e \
             JOIN pg_catalog.unnest($1::pg_catalog.int8[]) AS kept (id) ON e.event_id = kept.id"
        ),
        &[Arg::Text(&query::array(kept))],
    )?;
    truncate()?;
    let back = query::count(&format!("INSERT INTO {name} SELECT * FROM {aside}"), &[])?;
    if back != kept.len() as u64 {
        return Err(AttestError::new(
            SqlState::ERRCODE_DATA_CORRUPTED,
            format!("{back} of {} events were put back into {name}", kept.len()),
        )
        .detail("Nothing was removed.")
        .hint("A trigger of the partition that is not pg_attest's, or a damaged index, keeps them out."));
    }
    query::run(&format!("DROP TABLE {aside}"), &[])
}
