//! The log's own tables: rows read natively by their primary keys, rows appended natively.

use crate::error::{AttestError, Result, SqlState};
use crate::pg::columns::{Columns, Expected};
use crate::pg::heap::Appender;
use crate::pg::heap_scan::{self, HeapScan};
use crate::pg::index_plan::IndexPlans;
use crate::pg::index_scan::{Condition, IndexScan, Order, primary_key};
use crate::pg::relation::{OpenRelation, lock};
use crate::pg::snapshot::Snapshot;
use crate::pg::tuple::Field;
use crate::pg::{catalog, xact};
use pgrx::pg_sys;
use std::ops::Range;
use std::rc::Rc;

/// An open table of the log, or a partition of the events.
pub struct Table {
    heap: OpenRelation,
    key: OpenRelation,
    columns: Columns,
}

impl Table {
    /// Opens a table of the schema audit.
    pub fn open(name: &str, expected: &[Expected], lock: pg_sys::LOCKMODE) -> Result<Self> {
        let oid = catalog::audit_relation(name).ok_or_else(|| {
            AttestError::new(
                SqlState::ERRCODE_UNDEFINED_TABLE,
                format!("audit.{name} is not there"),
            )
            .hint("Restore the database from a dump: the log's tables belong to the extension pg_attest.")
        })?;
        let heap = OpenRelation::table(oid, lock);
        let columns = Columns::of(heap.relation(), expected)?;
        Self::keyed(heap, columns, || {
            AttestError::new(
                SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("audit.{name} has no primary key"),
            )
            .hint("Make it as the extension's script does.")
        })
    }

    /// An open table with its primary key; `without_key` says what is wrong when it has none.
    pub fn keyed(
        heap: OpenRelation,
        columns: Columns,
        without_key: impl FnOnce() -> AttestError,
    ) -> Result<Self> {
        let key = primary_key(heap.relation()).ok_or_else(without_key)?;
        Ok(Self { heap, key, columns })
    }

    /// Rows along the primary key.
    pub fn scan<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        conditions: &[Condition],
        order: Order,
    ) -> IndexScan<'a> {
        IndexScan::new(
            self.heap.relation(),
            self.key.relation(),
            snapshot,
            conditions,
            order,
            &self.columns,
        )
    }

    /// Rows as these blocks have them.
    pub fn heap_scan<'a>(&'a self, snapshot: &'a Snapshot, blocks: Range<u32>) -> HeapScan<'a> {
        HeapScan::new(self.heap.relation(), snapshot, blocks, &self.columns)
    }

    /// How many blocks it has now.
    pub fn blocks(&self) -> u32 {
        heap_scan::blocks(self.heap.relation())
    }

    pub fn oid(&self) -> pg_sys::Oid {
        self.heap.relation().oid()
    }

    /// Deletes the row at this place.
    pub fn delete(&self, place: crate::pg::index_scan::Place) {
        crate::pg::index_scan::delete(self.heap.relation(), place);
    }
}

/// Appends rows to a table of the schema audit: no trigger fires, no right is needed.
pub struct Rows(Appender);

impl Rows {
    pub fn of(table: &Table) -> Self {
        let opened = OpenRelation::table(table.heap.relation().oid(), lock::ROW_EXCLUSIVE);
        let plans = Rc::new(IndexPlans::of(opened.relation()));
        Self(Appender::new(opened, plans, xact::command_id_for_write()))
    }

    /// Adds a row: the table's columns in order.
    pub fn append<const N: usize>(&mut self, fields: &[Field<'_>; N]) {
        self.0.append(fields);
    }

    /// Writes what is waiting.
    pub fn finish(self) {
        self.0.finish();
    }
}
