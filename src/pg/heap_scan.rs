//! Reading the rows of a table as its blocks have them, by no index: what an index leads to is checked against it.

use super::columns::{Columns, Fields};
use super::index_scan::Place;
use super::memory::Batch;
use super::relation::RelationRef;
use super::slot::{Row, clear};
use super::snapshot::Snapshot;
use super::unwinding;
use crate::error::{AttestError, Result, SqlState};
use pgrx::pg_sys;
use std::ops::Range;

/// How many blocks a table has now.
pub fn blocks(table: RelationRef<'_>) -> u32 {
    // SAFETY: open table with storage.
    unsafe {
        pg_sys::RelationGetNumberOfBlocksInFork(table.raw(), pg_sys::ForkNumber::MAIN_FORKNUM)
    }
}

/// How many blocks a gentle scan asks the disk for ahead of the row that it is at: 128 kB.
const AHEAD: u32 = 16;

/// A scan of some blocks of a heap table.
pub struct HeapScan<'a> {
    descriptor: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    columns: &'a Columns,
    batch: Batch,
    /// The blocks that a gentle scan has not asked for yet.
    to_ask_for: Range<u32>,
}

impl<'a> HeapScan<'a> {
    /// Starts one. Table and snapshot stay as long as the scan.
    pub fn new(
        table: RelationRef<'a>,
        snapshot: &'a Snapshot,
        blocks: Range<u32>,
        columns: &'a Columns,
    ) -> Self {
        Self::with(
            table,
            snapshot,
            blocks,
            columns,
            pg_sys::ScanOptions::SO_ALLOW_STRAT,
        )
    }

    /// Starts one of all blocks that gives way at each, and asks for them a few at a time, before the system reads ahead by itself: where that is set to
    /// megabytes, a COMMIT of somebody else waits for all of them. What it read stays in `shared_buffers`, for those who read it next.
    ///
    /// # Errors
    /// It is not a heap table.
    pub fn gentle(
        table: RelationRef<'a>,
        snapshot: &'a Snapshot,
        columns: &'a Columns,
    ) -> Result<Self> {
        // SAFETY: open relation.
        let method = unsafe { (*(*table.raw()).rd_rel).relam };
        if table.kind() != 'r' || method != pg_sys::HEAP_TABLE_AM_OID {
            return Err(AttestError::new(
                SqlState::ERRCODE_WRONG_OBJECT_TYPE,
                format!("audit.{} is not a heap table", table.name()),
            )
            .detail("Partitions of the log are tables that pg_attest made.")
            .hint("DETACH it from audit.audit_events, and attach a table like those that audit.maintain() makes."));
        }
        let blocks = 0..blocks(table);
        let mut scan = Self::with(table, snapshot, blocks.clone(), columns, 0);
        scan.to_ask_for = blocks;
        scan.ask_for(0..AHEAD);
        Ok(scan)
    }

    fn with(
        table: RelationRef<'a>,
        snapshot: &'a Snapshot,
        blocks: Range<u32>,
        columns: &'a Columns,
        flags: pg_sys::ScanOptions::Type,
    ) -> Self {
        // No synchronized scan: it begins where another one is.
        let flags =
            pg_sys::ScanOptions::SO_TYPE_SEQSCAN | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE | flags;
        // SAFETY: table_beginscan, inline in C, of a heap table; limits are set before the first row is read.
        unsafe {
            let raw = table.raw();
            let begin = (*(*raw).rd_tableam).scan_begin;
            let descriptor = begin.map_or(std::ptr::null_mut(), |begin| {
                let none = std::ptr::null_mut();
                begin(raw, snapshot.raw(), 0, none, std::ptr::null_mut(), flags)
            });
            pg_sys::heap_setscanlimits(descriptor, blocks.start, blocks.end - blocks.start);
            Self {
                descriptor,
                slot: pg_sys::table_slot_create(raw, std::ptr::null_mut()),
                columns,
                batch: Batch::new(c"pg_attest heap scan"),
                to_ask_for: 0..0,
            }
        }
    }

    /// Where the next row is; None at the end.
    pub fn next(&mut self) -> Option<Place> {
        pgrx::check_for_interrupts!();
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: an open scan and its slot.
        let next = unsafe {
            pg_sys::heap_getnextslot(self.descriptor, forward, self.slot)
                .then(|| Place::of(self.slot))
        };
        if let Some(place) = next {
            let block = place.block();
            self.ask_for(block..block.saturating_add(AHEAD));
        }
        next
    }

    /// Asks the disk for those of some blocks that it was not asked for yet.
    fn ask_for(&mut self, blocks: Range<u32>) {
        self.to_ask_for.start = self.to_ask_for.start.max(blocks.start);
        while self.to_ask_for.start < blocks.end
            && let Some(block) = self.to_ask_for.next()
        {
            super::xact::give_way();
            // SAFETY: the scan's open table; reads nothing, and says nothing of a block that is not there.
            unsafe {
                let table = (*self.descriptor).rs_rd;
                pg_sys::PrefetchBuffer(table, pg_sys::ForkNumber::MAIN_FORKNUM, block);
            }
        }
    }

    /// Calls `f` with the row at that place.
    pub fn row<R>(&mut self, f: impl FnOnce(Fields<'_>) -> R) -> R {
        // SAFETY: the slot holds the row that `next` found.
        let row = unsafe {
            pg_sys::slot_getsomeattrs_int(self.slot, self.columns.last());
            Row::of_slot(self.slot)
        };
        let columns = self.columns;
        self.batch.run(|| f(columns.read(row)))
    }
}

impl Drop for HeapScan<'_> {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: opened by us, closed once; the slot goes first, for it pins a buffer.
            unsafe {
                clear(self.slot);
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::heap_endscan(self.descriptor);
            }
        }
    }
}
