//! Reading rows of our own tables in the order of a btree index, without an executor.

use super::columns::{Columns, Fields};
use super::memory::Batch;
use super::relation::{OpenRelation, RelationRef, lock};
use super::slot::{Row, clear};
use super::snapshot::Snapshot;
use super::unwinding;
use pgrx::pg_sys;

/// A condition on the index's next column: they are given in the index's order.
#[derive(Clone, Copy)]
pub enum Condition {
    Int4Is(i32),
    Int8Is(i64),
    Int8From(i64),
    Int8To(i64),
}

impl Condition {
    fn takes_column(self) -> bool {
        matches!(self, Self::Int4Is(_) | Self::Int8Is(_))
    }

    fn strategy(self) -> u32 {
        match self {
            Self::Int4Is(_) | Self::Int8Is(_) => pg_sys::BTEqualStrategyNumber,
            Self::Int8From(_) => pg_sys::BTGreaterEqualStrategyNumber,
            Self::Int8To(_) => pg_sys::BTLessEqualStrategyNumber,
        }
    }

    fn procedure(self) -> u32 {
        match self {
            Self::Int4Is(_) => pg_sys::F_INT4EQ,
            Self::Int8Is(_) => pg_sys::F_INT8EQ,
            Self::Int8From(_) => pg_sys::F_INT8GE,
            Self::Int8To(_) => pg_sys::F_INT8LE,
        }
    }

    fn argument(self) -> pg_sys::Datum {
        match self {
            Self::Int4Is(value) => pg_sys::Datum::from(value),
            Self::Int8Is(value) | Self::Int8From(value) | Self::Int8To(value) => {
                pg_sys::Datum::from(value)
            }
        }
    }
}

/// Which end of the index comes first.
#[derive(Clone, Copy)]
pub enum Order {
    Ascending,
    Descending,
}

/// The primary key's index of an open table, opened; None without one that can be scanned. That of a partitioned table cannot.
pub fn primary_key(table: RelationRef<'_>) -> Option<OpenRelation> {
    if table.kind() != 'r' {
        return None;
    }
    // SAFETY: open relation.
    let oid = unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::RelationGetPrimaryKeyIndex(table.raw())
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::RelationGetPrimaryKeyIndex(table.raw(), false)
        }
    };
    (oid != pg_sys::InvalidOid).then(|| OpenRelation::index(oid, lock::ACCESS_SHARE))
}

/// A scan of a table along one of its btree indexes.
pub struct IndexScan<'a> {
    descriptor: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    direction: pg_sys::ScanDirection::Type,
    columns: &'a Columns,
    batch: Batch,
}

impl<'a> IndexScan<'a> {
    /// Starts a scan. Table and index stay open as long as the scan; the conditions are of the index columns' types.
    pub fn new(
        table: RelationRef<'a>,
        index: RelationRef<'a>,
        snapshot: &'a Snapshot,
        conditions: &[Condition],
        order: Order,
        columns: &'a Columns,
    ) -> Self {
        let mut keys: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(conditions.len());
        let mut column = 1;
        // SAFETY: open table and its index; index_rescan copies the keys.
        unsafe {
            for condition in conditions {
                let mut key = std::mem::zeroed::<pg_sys::ScanKeyData>();
                pg_sys::ScanKeyInit(
                    &raw mut key,
                    column,
                    condition.strategy() as pg_sys::StrategyNumber,
                    pg_sys::RegProcedure::from(condition.procedure()),
                    condition.argument(),
                );
                keys.push(key);
                column += i16::from(condition.takes_column());
            }
            let count = keys.len() as i32;
            #[cfg(not(feature = "pg18"))]
            let descriptor =
                pg_sys::index_beginscan(table.raw(), index.raw(), snapshot.raw(), count, 0);
            #[cfg(feature = "pg18")]
            let descriptor = pg_sys::index_beginscan(
                table.raw(),
                index.raw(),
                snapshot.raw(),
                std::ptr::null_mut(),
                count,
                0,
            );
            pg_sys::index_rescan(
                descriptor,
                keys.as_mut_ptr(),
                count,
                std::ptr::null_mut(),
                0,
            );
            Self {
                descriptor,
                slot: pg_sys::table_slot_create(table.raw(), std::ptr::null_mut()),
                direction: match order {
                    Order::Ascending => pg_sys::ScanDirection::ForwardScanDirection,
                    Order::Descending => pg_sys::ScanDirection::BackwardScanDirection,
                },
                columns,
                batch: Batch::new(c"pg_attest index scan"),
            }
        }
    }

    /// Calls `f` with the next row; None at the end.
    pub fn next<R>(&mut self, f: impl FnOnce(Fields<'_>) -> R) -> Option<R> {
        pgrx::check_for_interrupts!();
        // SAFETY: an open scan and its slot.
        let row = unsafe {
            if !pg_sys::index_getnext_slot(self.descriptor, self.direction, self.slot) {
                return None;
            }
            pg_sys::slot_getsomeattrs_int(self.slot, self.columns.last());
            Row::of_slot(self.slot)
        };
        let columns = self.columns;
        Some(self.batch.run(|| f(columns.read(row))))
    }

    /// Where the row that `next` gave last is stored.
    pub fn place(&self) -> Place {
        // SAFETY: the slot of an open scan.
        unsafe { Place::of(self.slot) }
    }
}

impl Drop for IndexScan<'_> {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: opened by us, closed once; the slot goes first, for it pins a buffer.
            unsafe {
                clear(self.slot);
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::index_endscan(self.descriptor);
            }
        }
    }
}

/// Where a row is stored.
#[derive(Clone, Copy)]
pub struct Place(pg_sys::ItemPointerData);

impl Place {
    /// # Safety
    /// `slot` holds a row of a table.
    pub(in crate::pg) unsafe fn of(slot: *mut pg_sys::TupleTableSlot) -> Self {
        // SAFETY: by the caller.
        Self(unsafe { (*slot).tts_tid })
    }

    /// Block and line in one number, which no other row of the table has.
    pub fn number(self) -> u64 {
        u64::from(self.block()) << 16 | u64::from(self.0.ip_posid)
    }

    pub fn block(self) -> u32 {
        u32::from(self.0.ip_blkid.bi_hi) << 16 | u32::from(self.0.ip_blkid.bi_lo)
    }
}

/// Deletes a row of ours; its transaction holds a lock that keeps all other writers out.
pub fn delete(table: RelationRef<'_>, place: Place) {
    let mut tid = place.0;
    // SAFETY: the table is open with a lock for writing, and the row was visible a moment ago.
    unsafe { pg_sys::simple_heap_delete(table.raw(), &raw mut tid) }
}
