//! Reading all rows of a table as they are now: for baselines and for TRUNCATE recorded row by row.

use super::relation::RelationRef;
use super::slot::{Row, clear};
use super::unwinding;
use pgrx::pg_sys;
use std::ptr;

/// A sequential scan.
pub struct Scan {
    descriptor: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    snapshot: pg_sys::Snapshot,
}

impl Scan {
    /// Scans an open table that has storage, with a snapshot taken now.
    pub fn new(table: RelationRef<'_>) -> Self {
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_STRAT
            | pg_sys::ScanOptions::SO_ALLOW_SYNC
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        // SAFETY: table_beginscan, inline in C. GetLatestSnapshot, registered until dropped: a REPEATABLE READ
        // transaction's own snapshot may be older than the lock under which we read.
        unsafe {
            let raw = table.raw();
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let slot = pg_sys::table_slot_create(raw, ptr::null_mut());
            let begin = (*(*raw).rd_tableam).scan_begin;
            let descriptor = begin.map_or(ptr::null_mut(), |begin| {
                begin(raw, snapshot, 0, ptr::null_mut(), ptr::null_mut(), flags)
            });
            Self {
                descriptor,
                slot,
                snapshot,
            }
        }
    }

    /// The next row, valid until the next call.
    pub fn next(&mut self) -> Option<Row<'_>> {
        pgrx::check_for_interrupts!();
        // SAFETY: an open scan and its slot.
        unsafe {
            let access_method = (*(*self.descriptor).rs_rd).rd_tableam;
            let next = (*access_method).scan_getnextslot?;
            if !next(
                self.descriptor,
                pg_sys::ScanDirection::ForwardScanDirection,
                self.slot,
            ) {
                return None;
            }
            let natts = (*(*self.slot).tts_tupleDescriptor).natts;
            pg_sys::slot_getsomeattrs_int(self.slot, natts);
            Some(Row::of_slot(self.slot))
        }
    }
}

impl Scan {
    /// Calls `f` with the fixed part of the next row of a system catalog.
    pub(in crate::pg) fn next_form<F, R>(&mut self, f: impl FnOnce(&F) -> R) -> Option<R> {
        self.next()?;
        // SAFETY: the slot holds the row's tuple, whose fixed part is of the catalog's type F (GETSTRUCT).
        unsafe {
            let mut should_free = false;
            let tuple = pg_sys::ExecFetchSlotHeapTuple(self.slot, false, &raw mut should_free);
            Some(f(&*pg_sys::GETSTRUCT(tuple).cast::<F>()))
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if unwinding() {
            return;
        }
        // SAFETY: opened by us, closed once.
        unsafe {
            clear(self.slot);
            let access_method = (*(*self.descriptor).rs_rd).rd_tableam;
            if let Some(end) = (*access_method).scan_end {
                end(self.descriptor);
            }
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::UnregisterSnapshot(self.snapshot);
        }
    }
}
