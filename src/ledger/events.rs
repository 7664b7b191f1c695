//! The partitions of `audit.audit_events`, opened for reading in the order of event ids.
//!
//! Invariant: all partitions are locked before the caller takes its snapshot. `audit.maintain()` moves events between
//! partitions under an exclusive lock on the default partition: what a snapshot taken later sees is before the move or after
//! it, never between.

use super::leaf;
use super::tables::Table;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::columns::Fields;
use crate::pg::index_scan::{Condition, IndexScan, Order};
use crate::pg::relation::{OpenRelation, lock};
use crate::pg::snapshot::Snapshot;
use crate::pg::{catalog, partition};
use std::cmp::Reverse;
use std::ops::Range;

/// The highest id that an event can get: sequences end before the last `bigint`. No tree takes a row that has that one: it was
/// forged, and no tile with it could be indexed.
pub const HIGHEST_ID: i64 = i64::MAX - 1;

/// Whether events get this id: a sequence from 1 on hands them out.
pub fn is_event_id(event_id: i64) -> bool {
    (1..=HIGHEST_ID).contains(&event_id)
}

/// The open partitions.
pub struct Events {
    partitions: Vec<Partition>,
}

/// An open partition.
pub struct Partition {
    pub table: Table,
    /// The times that it is there for; of the default partition, those that it is not there for.
    ranges: Vec<Range<i64>>,
    is_default: bool,
}

impl Partition {
    /// Its events whose ids are in `[from, to]`, by ids.
    pub fn scan<'a>(&'a self, snapshot: &'a Snapshot, from: i64, to: i64) -> IndexScan<'a> {
        let range = [Condition::Int8From(from), Condition::Int8To(to)];
        self.table.scan(snapshot, &range, Order::Ascending)
    }

    fn next_id(&self, snapshot: &Snapshot, from: i64, to: i64) -> Option<i64> {
        let mut scan = self.scan(snapshot, from, to);
        scan.next(|row| row.int8(leaf::at::EVENT_ID)).flatten()
    }

    /// Whether a query for this time (microseconds since 2000-01-01) looks here.
    pub fn is_for(&self, occurred_at: i64) -> bool {
        self.ranges.iter().any(|range| range.contains(&occurred_at)) != self.is_default
    }
}

impl Events {
    /// Opens and locks the partitions that there are.
    pub fn open() -> Result<Self> {
        let (Some(parent), Some(default)) = (
            catalog::audit_relation("audit_events"),
            catalog::audit_relation("audit_events_default"),
        ) else {
            return Err(AttestError::new(
                SqlState::ERRCODE_UNDEFINED_OBJECT,
                "the audit log is not there",
            )
            .detail("The schema audit lacks audit_events or its default partition.")
            .hint("Restore the database from a dump: the log's tables belong to the extension pg_attest."));
        };
        // The parent first, as DETACH PARTITION locks them. Once the default partition is locked, nothing moves, and the list of
        // partitions that is read then is as new as the move.
        let parent = OpenRelation::table(parent, lock::ACCESS_SHARE);
        let default = OpenRelation::table(default, lock::ACCESS_SHARE);
        let ranges = partition::ranges(parent.relation());
        let partitions = partition::all(parent.relation())
            .into_iter()
            .filter_map(|oid| OpenRelation::try_table(oid, lock::ACCESS_SHARE))
            .map(|table| {
                let oid = table.relation().oid();
                let is_default = oid == default.relation().oid();
                let of_it = ranges.iter().filter(|(of, _)| is_default || *of == oid);
                Ok(Partition {
                    ranges: of_it.map(|(_, range)| range.clone()).collect(),
                    is_default,
                    table: partition_table(table)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { partitions })
    }

    /// The partitions.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Calls `f` with each event whose id is in `[from, to]`, by ids within each partition.
    pub fn each(
        &self,
        snapshot: &Snapshot,
        from: i64,
        to: i64,
        mut f: impl FnMut(&Fields<'_>) -> Result<()>,
    ) -> Result<()> {
        for partition in &self.partitions {
            let mut scan = partition.scan(snapshot, from, to);
            while let Some(result) = scan.next(|row| f(&row)) {
                result?;
            }
        }
        Ok(())
    }

    /// Calls `f` with each event whose id is in `[from, to]`, by ids, until it returns false.
    ///
    /// Partitions are of times, so mostly one of them has all next ids: it is read up to the next id of another one.
    pub fn each_by_id(
        &self,
        snapshot: &Snapshot,
        from: i64,
        to: i64,
        mut f: impl FnMut(&Fields<'_>) -> Result<bool>,
    ) -> Result<()> {
        let next_id = |partition: &Partition, from| partition.next_id(snapshot, from, to);
        let mut waiting: Vec<(i64, &Partition)> = self
            .partitions
            .iter()
            .filter_map(|partition| Some((next_id(partition, from)?, partition)))
            .collect();
        loop {
            // The next one stands last.
            waiting.sort_unstable_by_key(|(id, _)| Reverse(*id));
            let Some((from, partition)) = waiting.pop() else {
                return Ok(());
            };
            // A forged event may have the id of another partition's.
            let last = waiting.last().map_or(to, |(id, _)| from.max(id - 1));
            let mut scan = partition.scan(snapshot, from, last);
            while let Some(goes_on) = scan.next(|row| f(&row)) {
                if !goes_on? {
                    return Ok(());
                }
            }
            if last < to
                && let Some(id) = next_id(partition, last + 1)
            {
                waiting.push((id, partition));
            }
        }
    }

    /// The event of this id.
    pub fn find<R>(
        &self,
        snapshot: &Snapshot,
        event_id: i64,
        f: impl FnOnce(&Fields<'_>) -> R,
    ) -> Option<R> {
        let is = [Condition::Int8Is(event_id)];
        let mut f = Some(f);
        self.partitions.iter().find_map(|partition| {
            let mut scan = partition.table.scan(snapshot, &is, Order::Ascending);
            scan.next(|row| f.take().map(|f| f(&row)))?
        })
    }

    /// The lowest id in `[from, to]` that an event has.
    pub fn next_id(&self, snapshot: &Snapshot, from: i64, to: i64) -> Option<i64> {
        let of_each = |partition: &Partition| partition.next_id(snapshot, from, to);
        self.partitions.iter().filter_map(of_each).min()
    }
}

/// A partition, with the index that its events are read along.
fn partition_table(table: OpenRelation) -> Result<Table> {
    let columns = leaf::columns(table.relation())?;
    let oid = table.relation().oid();
    Table::keyed(table, columns, || {
        let name = catalog::qualified_name(oid);
        AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{name} has no primary key"),
        )
        .detail("The log reads events by their ids.")
        .hint(format!("ALTER TABLE {name} ADD PRIMARY KEY (event_id);"))
    })
}
