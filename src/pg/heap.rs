//! Appending rows to a heap and its indexes, as COPY does, without triggers, constraints or privileges.
//!
//! `capture::writer` uses it on partitions of `audit.audit_events`, `ledger::tables` on the log's own tables. They owe by construction
//! what the executor would check: the partition bound (see `partition`), NOT NULL and types (see `capture::event`).

use super::btree::Indexes;
use super::guc;
use super::index_plan::IndexPlans;
use super::memory::Context;
#[cfg(feature = "pg15")]
use super::new_pages::NewPages;
use super::relation::{OpenRelation, lock};
use super::slot::clear;
use super::tuple::{self, Field};
use super::unwinding;
use pgrx::pg_sys;
use std::ops::Range;
use std::ptr;
use std::rc::Rc;

/// Rows are written when this many are waiting, or this many bytes: the sizes that COPY uses give no more.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 256 * 1024;

/// Some values of longer rows may go out of line: a little less than `TOAST_TUPLE_THRESHOLD`, 2,032 bytes of a page of 8,192.
const MAY_GO_OUT_OF_LINE: usize = pg_sys::BLCKSZ as usize / 5;

/// After so many bytes a statement goes on in a ring of buffers, as COPY does from its start: the ring spares the cache of others,
/// but makes the statement itself wait for WAL and write its pages out.
fn ring_threshold() -> usize {
    // SAFETY: set at server start.
    let buffers = unsafe { pg_sys::NBuffers };
    buffers.unsigned_abs() as usize * pg_sys::BLCKSZ as usize / 8
}

/// The ways into a table's indexes.
enum IndexesOf {
    Btrees(Indexes),
    Any(ExecutorIndexes),
}

/// Appends rows to one open table.
pub struct Appender {
    table: OpenRelation,
    indexes: IndexesOf,
    /// Tuples of the batch; reset at each flush.
    batch: Context,
    tuples: Vec<pg_sys::HeapTuple>,
    /// The command ids that the batch's rows are stamped with, each from this row on.
    commands: Vec<(usize, u32)>,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    bytes: usize,
    /// Bytes of the largest row.
    largest: usize,
    /// Bytes of the batches before.
    written: usize,
    bulk: pg_sys::BulkInsertState,
    #[cfg(feature = "pg15")]
    pages: Option<NewPages>,
}

impl Appender {
    /// Starts appending. `command` is the command id that the rows are stamped with.
    pub fn new(table: OpenRelation, plans: Rc<IndexPlans>, command: u32) -> Self {
        let indexes = if plans.needs_executor {
            IndexesOf::Any(ExecutorIndexes::open(table.raw()))
        } else {
            IndexesOf::Btrees(Indexes::new(plans))
        };
        Self {
            table,
            indexes,
            batch: Context::short_lived(c"pg_attest batch"),
            tuples: Vec::new(),
            commands: vec![(0, command)],
            slots: Vec::new(),
            bytes: 0,
            largest: 0,
            written: 0,
            bulk: ptr::null_mut(),
            #[cfg(feature = "pg15")]
            pages: None,
        }
    }

    /// The table's OID.
    pub fn table(&self) -> pg_sys::Oid {
        self.table.relation().oid()
    }

    /// Rows are stamped with this command id from now on.
    pub fn stamp(&mut self, command: u32) {
        let row = self.tuples.len();
        match self.commands.last_mut() {
            Some((_, last)) if *last == command => {}
            Some((from, last)) if *from == row => *last = command,
            _ => self.commands.push((row, command)),
        }
    }

    /// Rows that wait are stamped with the last one's command id.
    pub fn forget_commands(&mut self) {
        let command = self.last_command();
        self.commands = vec![(0, command)];
    }

    fn last_command(&self) -> u32 {
        self.commands.last().map_or(0, |(_, command)| *command)
    }

    /// The batch's rows that have one command id each, with it.
    fn runs(&self) -> impl Iterator<Item = (Range<usize>, u32)> {
        let ends = self.commands.iter().skip(1).map(|(from, _)| *from);
        let ends = ends.chain([self.tuples.len()]);
        self.commands
            .iter()
            .zip(ends)
            .map(|((from, command), end)| (*from..end, *command))
            .filter(|(rows, _)| !rows.is_empty())
    }

    /// Whether writing what waits needs an active snapshot: for values that go out of line, and for what the executor evaluates. With
    /// assertions `PostgreSQL` demands one for all rows of a table that has a TOAST table (`AssertHasSnapshotForToast`,
    /// src/backend/access/heap/heapam.c), and newer majors are tested with assertions alone.
    pub fn needs_snapshot(&self) -> bool {
        cfg!(not(feature = "pg15"))
            || guc::has_assertions()
            || self.largest > MAY_GO_OUT_OF_LINE
            || matches!(self.indexes, IndexesOf::Any(_))
    }

    /// Whether some rows are in the table already.
    pub fn has_written(&self) -> bool {
        self.written > 0
    }

    /// Adds a row; `fields` are the table's columns in order, of their types.
    pub fn append<const N: usize>(&mut self, fields: &[Field<'_>; N]) {
        let raw = self.table.raw();
        // SAFETY: an open table; the tuple was just made.
        let length = unsafe {
            debug_assert_eq!((*(*raw).rd_att).natts as usize, N);
            let tuple = tuple::form(&self.batch, (*raw).rd_id, fields);
            self.tuples.push(tuple);
            (*tuple).t_len as usize
        };
        let row = self.tuples.len() - 1;
        if let IndexesOf::Btrees(indexes) = &mut self.indexes {
            indexes.prepare(row, fields);
        }
        self.bytes += length;
        self.largest = self.largest.max(length);
        if self.tuples.len() == BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Writes what is waiting.
    fn flush(&mut self) {
        let raw = self.table.raw();
        let count = self.tuples.len();
        if count == 0 {
            return;
        }
        let command = self.last_command();
        if count == 1
            && let IndexesOf::Btrees(indexes) = &mut self.indexes
        {
            let tuple = self.tuples[0];
            // SAFETY: a tuple of this table's type; heap_insert sets its t_self.
            unsafe {
                pg_sys::heap_insert(raw, tuple, command, 0, self.bulk);
                indexes.stored(raw, &[(*tuple).t_self]);
            }
        } else {
            self.multi_insert();
        }
        self.tuples.clear();
        self.commands.clear();
        self.commands.push((0, command));
        self.written += self.bytes;
        self.bytes = 0;
        self.batch.reset();
    }

    fn multi_insert(&mut self) {
        let raw = self.table.raw();
        let count = self.tuples.len();
        // SAFETY: slots and tuples are of this table's type. The bulk-insert state and the slots live in the caller's
        // context, not in the batch's, which is reset (a bulk-insert state there crashed the server).
        unsafe {
            while self.slots.len() < count {
                self.slots.push(pg_sys::MakeSingleTupleTableSlot(
                    (*raw).rd_att,
                    &raw const pg_sys::TTSOpsHeapTuple,
                ));
            }
            for (slot, tuple) in self.slots.iter().zip(&self.tuples) {
                pg_sys::ExecStoreHeapTuple(*tuple, *slot, false);
            }
            self.store_slots();
            let slots = &self.slots[..count];
            match &mut self.indexes {
                IndexesOf::Any(executor) => {
                    for slot in slots {
                        executor.insert(*slot);
                    }
                }
                IndexesOf::Btrees(indexes) => {
                    let stored: Vec<_> = slots.iter().map(|slot| (**slot).tts_tid).collect();
                    indexes.stored(raw, &stored);
                }
            }
            for slot in &self.slots[..count] {
                clear(*slot);
            }
        }
        pgrx::check_for_interrupts!();
    }

    /// # Safety
    /// The first slots hold the waiting tuples.
    unsafe fn store_slots(&mut self) {
        let raw = self.table.raw();
        let in_ring = self.written > ring_threshold();
        // SAFETY: by the caller. At most BATCH_ROWS.
        let insert = |slots: &mut [*mut pg_sys::TupleTableSlot], command, bulk| unsafe {
            let count = slots.len() as i32;
            pg_sys::heap_multi_insert(raw, slots.as_mut_ptr(), count, command, 0, bulk);
        };
        #[cfg(feature = "pg15")]
        if self.commands.len() == 1 {
            let command = self.last_command();
            if self.pages.is_none() && NewPages::suit(&self.tuples) {
                self.pages = Some(NewPages::new());
            }
            if let Some(pages) = &mut self.pages {
                if in_ring {
                    pages.use_ring();
                }
                // SAFETY: an open table; each range of slots holds the tuples of that range.
                self.batch.run(|| unsafe {
                    pages.fill(raw, &self.tuples, |range, bulk| {
                        insert(&mut self.slots[range], command, bulk);
                    });
                });
                return;
            }
        }
        if in_ring && self.bulk.is_null() {
            // SAFETY: lives in the current context, the caller's.
            self.bulk = unsafe { pg_sys::GetBulkInsertState() };
        }
        let runs: Vec<_> = self.runs().collect();
        self.batch.run(|| {
            for (rows, command) in runs {
                insert(&mut self.slots[rows], command, self.bulk);
            }
        });
    }

    /// Writes the last batch and closes the table.
    pub fn finish(mut self) {
        self.flush();
        self.flush_entries();
    }

    fn flush_entries(&mut self) {
        if let IndexesOf::Btrees(indexes) = &mut self.indexes {
            indexes.flush(self.table.raw());
        }
    }

    /// Closes the table; the rows that wait are still to be written.
    pub fn park(mut self) -> Parked {
        // Of rows that are stored: what is in an index is not rolled back.
        self.flush_entries();
        let tuples = self.runs().flat_map(|(rows, command)| {
            let tuples = self.tuples[rows].iter();
            tuples.map(move |tuple| (*tuple, command))
        });
        Parked {
            table: self.table(),
            tuples: tuples.collect(),
            _batch: std::mem::replace(&mut self.batch, Context::short_lived(c"pg_attest no batch")),
        }
    }
}

/// Rows of a table that is not open.
pub struct Parked {
    table: pg_sys::Oid,
    /// Each with its command id.
    tuples: Vec<(pg_sys::HeapTuple, u32)>,
    /// Holds the tuples.
    _batch: Context,
}

impl Parked {
    /// The table's OID.
    pub fn table(&self) -> pg_sys::Oid {
        self.table
    }

    /// Writes the rows one by one; this can be done again where a subtransaction was rolled back.
    pub fn write(&self) {
        let table = OpenRelation::table(self.table, lock::ROW_EXCLUSIVE);
        let mut indexes = ExecutorIndexes::open(table.raw());
        // SAFETY: tuples of this table's type, in memory of our own; heap_insert sets all of their headers that it needs. The slot
        // is dropped after its use.
        unsafe {
            let slot = pg_sys::MakeSingleTupleTableSlot(
                (*table.raw()).rd_att,
                &raw const pg_sys::TTSOpsHeapTuple,
            );
            for (tuple, command) in &self.tuples {
                pg_sys::heap_insert(table.raw(), *tuple, *command, 0, ptr::null_mut());
                pg_sys::ExecStoreHeapTuple(*tuple, slot, false);
                (*slot).tts_tid = (**tuple).t_self;
                indexes.insert(slot);
                pgrx::check_for_interrupts!();
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        if unwinding() {
            return;
        }
        // SAFETY: made by us, given back once; the relations close after this.
        unsafe {
            for slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
            if !self.bulk.is_null() {
                pg_sys::FreeBulkInsertState(self.bulk);
            }
        }
    }
}

/// The executor's own way into indexes: for expression indexes, other access methods, and what else an administrator adds.
struct ExecutorIndexes {
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
}

impl ExecutorIndexes {
    fn open(table: pg_sys::Relation) -> Self {
        // SAFETY: what COPY does (src/backend/commands/copyfrom.c); both live in the current context until dropped.
        unsafe {
            let estate = pg_sys::CreateExecutorState();
            let result =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            pg_sys::InitResultRelInfo(result, table, 0, ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            Self { estate, result }
        }
    }

    /// # Safety
    /// `slot` holds a row that was just stored in the table.
    unsafe fn insert(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: by the caller.
        unsafe {
            #[cfg(feature = "pg15")]
            pg_sys::ExecInsertIndexTuples(
                self.result,
                slot,
                self.estate,
                false,
                false,
                ptr::null_mut(),
                ptr::null_mut(),
            );
            #[cfg(not(feature = "pg15"))]
            pg_sys::ExecInsertIndexTuples(
                self.result,
                slot,
                self.estate,
                false,
                false,
                ptr::null_mut(),
                ptr::null_mut(),
                false,
            );
            let per_tuple = (*self.estate).es_per_tuple_exprcontext;
            if !per_tuple.is_null() {
                pg_sys::MemoryContextReset((*per_tuple).ecxt_per_tuple_memory);
            }
        }
    }
}

impl Drop for ExecutorIndexes {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: opened by us, closed once.
            unsafe {
                pg_sys::ExecCloseIndices(self.result);
                pg_sys::FreeExecutorState(self.estate);
            }
        }
    }
}

/// The next value of a sequence. Skips the privilege check: any writer may take an event id.
pub fn next_value(sequence: pg_sys::Oid) -> i64 {
    // SAFETY: raises when the OID is no sequence.
    unsafe { super::ffi::nextval_internal(sequence, false) }
}
