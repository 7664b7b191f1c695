//! Entries into a btree, many at once.
//!
//! `PostgreSQL` inserts index entries one by one: each descends from the root, locks its leaf page and writes a WAL record.
//! The entries of one statement lie close together: a primary key's at the right edge, row keys where the statement walked the
//! table, one request's all in one place. So they wait until the statement ends or many are waiting, are sorted, and go page by page
//! (`btree_leaf`): one lock for all that a leaf page takes, one WAL record where it takes many, and from one page to the next without a descent
//! where they lie close. Rows with one key share a posting list from the start. Whatever is not plain (a full page, which has to be
//! deduplicated or split; a possible duplicate of a unique key; a posting list to be split; an index of an old format) goes
//! `PostgreSQL`'s own way, and so does a single row.

use super::btree_leaf;
use super::btree_queue::{Entry, Queue};
use super::index_plan::{IndexPlan, IndexPlans};
use super::memory::Context;
use super::nbtree;
use super::relation::{OpenRelation, lock};
use super::tuple::{self, Field};
use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use std::ptr;
use std::rc::Rc;

/// Entries wait until they are of so many rows: some 100 bytes each. The more are sorted together, the fuller they leave the pages of
/// an index whose order is not the statement's.
const WAITING: usize = 131_072;

/// The indexes of an open table, and the entries that wait for them.
pub(in crate::pg) struct Indexes {
    plans: Rc<IndexPlans>,
    /// Of each plan; opened by the first row that the index takes: most rows are none for most partial indexes.
    entries: Vec<Option<Entries>>,
    memory: Memory,
}

/// What the indexes' entries share.
struct Memory {
    /// Holds the waiting entries.
    home: Context,
    /// For what one page needs.
    scratch: Context,
    /// The bytes of the entry that is made.
    entry: Vec<u8>,
}

impl Indexes {
    /// Opens none yet.
    pub fn new(plans: Rc<IndexPlans>) -> Self {
        Self {
            entries: plans.simple.iter().map(|_| None).collect(),
            plans,
            memory: Memory {
                home: Context::short_lived(c"pg_attest index entries"),
                scratch: Context::short_lived(c"pg_attest index page"),
                entry: Vec::new(),
            },
        }
    }

    /// Makes the entries of the batch's row of this number. `fields` are the row's.
    pub fn prepare(&mut self, row: usize, fields: &[Field<'_>]) {
        for (entries, plan) in self.entries.iter_mut().zip(&self.plans.simple) {
            if plan.takes(fields) {
                entries.get_or_insert_with(|| Entries::open(plan)).prepare(
                    plan,
                    &mut self.memory,
                    row,
                    fields,
                );
            }
        }
    }

    /// The batch is stored in `heap`, each row at its place in `stored`.
    pub fn stored(&mut self, heap: pg_sys::Relation, stored: &[pg_sys::ItemPointerData]) {
        let mut most = 0;
        for entries in self.entries.iter_mut().flatten() {
            entries.stored(stored);
            most = most.max(entries.buffers.rows.len());
        }
        if most >= WAITING {
            self.flush(heap);
        }
    }

    /// Inserts what is waiting.
    pub fn flush(&mut self, heap: pg_sys::Relation) {
        for entries in self.entries.iter_mut().flatten() {
            entries.flush(&mut self.memory.scratch, heap);
        }
        self.memory.home.reset();
    }
}

impl Drop for Indexes {
    fn drop(&mut self) {
        for (entries, plan) in self.entries.iter_mut().zip(&self.plans.simple) {
            if let Some(entries) = entries {
                plan.buffers.set(entries.buffers.emptied());
            }
        }
    }
}

/// The entries of one index that wait.
struct Entries {
    index: OpenRelation,
    unique: bool,
    buffers: Buffers,
}

/// What an index's entries wait in; its plan keeps it from one transaction to the next.
#[derive(Default)]
pub(in crate::pg) struct Buffers {
    /// Rows of the batch that is not stored yet: their number in it, and their entry unless it is the one before.
    batch: Vec<(usize, Option<(u128, pg_sys::IndexTuple)>)>,
    waiting: Vec<Entry>,
    /// The heap positions of the entries' rows.
    rows: Vec<pg_sys::ItemPointerData>,
    /// The bytes of the last entry.
    last: Vec<u8>,
}

impl Buffers {
    /// These for another use, or new ones where these have grown large.
    fn emptied(&mut self) -> Self {
        /// Rows of a transaction that is not small any more.
        const MANY: usize = 1024;
        let mut buffers = std::mem::take(self);
        if buffers.rows.capacity() > MANY {
            return Self::default();
        }
        buffers.batch.clear();
        buffers.waiting.clear();
        buffers.rows.clear();
        buffers.last.clear();
        buffers
    }
}

impl Entries {
    /// Opens the index.
    fn open(plan: &IndexPlan) -> Self {
        Self {
            index: OpenRelation::index(plan.oid, lock::ROW_EXCLUSIVE),
            unique: plan.unique,
            buffers: plan.buffers.take(),
        }
    }

    /// Makes the entry of the batch's row of this number. `fields` are the row's; `plan` is of this index.
    fn prepare(&mut self, plan: &IndexPlan, memory: &mut Memory, row: usize, fields: &[Field<'_>]) {
        let key = plan
            .columns
            .iter()
            .map(|column| fields[*column as usize - 1]);
        let entry = if tuple::index_entry(&mut memory.entry, key.clone()) {
            if memory.entry == self.buffers.last {
                self.buffers.batch.push((row, None));
                return;
            }
            std::mem::swap(&mut memory.entry, &mut self.buffers.last);
            let bytes = &self.buffers.last;
            // SAFETY: copies the whole entry into memory of its size, aligned by palloc.
            memory.home.run(|| unsafe {
                let entry = pg_sys::palloc(bytes.len()).cast::<u8>();
                ptr::copy_nonoverlapping(bytes.as_ptr(), entry, bytes.len());
                entry.cast()
            })
        } else {
            self.buffers.last.clear();
            memory.home.run(|| self.form(key.clone()))
        };
        let order = plan.text.map_or(0, |position| leading_bytes(key, position));
        self.buffers.batch.push((row, Some((order, entry))));
    }

    fn form<'a>(&self, key: impl Iterator<Item = Field<'a>>) -> pg_sys::IndexTuple {
        let (mut values, mut nulls): (Vec<_>, Vec<_>) = key
            .map(|field| {
                let datum = field.datum();
                (datum.unwrap_or(pg_sys::Datum::null()), datum.is_none())
            })
            .unzip();
        // SAFETY: one value for each column of the index, of its type; index_form_tuple copies them.
        unsafe {
            pg_sys::index_form_tuple(
                (*self.index.raw()).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        }
    }

    fn stored(&mut self, stored: &[pg_sys::ItemPointerData]) {
        let buffers = &mut self.buffers;
        for (row, entry) in buffers.batch.drain(..) {
            if let Some((order, tuple)) = entry {
                buffers.waiting.push(Entry {
                    order,
                    tuple,
                    start: buffers.rows.len(),
                    count: 0,
                });
            }
            buffers.rows.push(stored[row]);
            if let Some(entry) = buffers.waiting.last_mut() {
                entry.count += 1;
            }
        }
    }

    /// Inserts what is waiting; its memory is the caller's to free.
    fn flush(&mut self, scratch: &mut Context, heap: pg_sys::Relation) {
        let mut waiting = std::mem::take(&mut self.buffers.waiting);
        let mut rows = std::mem::take(&mut self.buffers.rows);
        for entry in &waiting {
            let rows = &mut rows[entry.start..][..entry.count];
            if !rows.is_sorted_by_key(position) {
                rows.sort_by_key(position);
            }
        }
        // Stable: rows without a text in their key keep their order, which for event ids is the index's own.
        waiting.sort_by_key(|entry| entry.order);
        let mut queue = Queue::new(self.index.raw(), self.unique, &waiting, &rows);
        while !queue.is_empty() {
            if rows.len() > 1 {
                Self::fill_leaves(scratch, heap, &mut queue);
            }
            self.insert_first(scratch, heap, &mut queue);
            scratch.reset();
            pgrx::check_for_interrupts!();
        }
        waiting.clear();
        rows.clear();
        self.buffers.waiting = waiting;
        self.buffers.rows = rows;
        self.buffers.last.clear();
    }

    /// Inserts, leaf by leaf, up to the first entry that is not plain or has no room.
    fn fill_leaves(scratch: &Context, heap: pg_sys::Relation, queue: &mut Queue<'_>) {
        // SAFETY: nothing inside has to be dropped, so that an ERROR may jump out: what is allocated goes with the scratch
        // context, locks and pins of buffers with the transaction.
        scratch.run(|| unsafe { pg_guard_ffi_boundary(|| btree_leaf::fill(heap, queue)) });
    }

    /// Inserts the first entry for its first row, `PostgreSQL`'s own way.
    fn insert_first(&self, scratch: &Context, heap: pg_sys::Relation, queue: &mut Queue<'_>) {
        let Some((entry, rows)) = queue.first() else {
            return;
        };
        let check = if self.unique {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
        } else {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
        };
        // SAFETY: what btinsert does with the entry that it forms (src/backend/access/nbtree/nbtree.c); nothing to drop inside.
        scratch.run(|| unsafe {
            (*entry).t_tid = rows[0];
            pg_guard_ffi_boundary(|| {
                nbtree::_bt_doinsert(self.index.raw(), entry, check, false, heap);
                queue.advance(1);
            });
        });
    }
}

/// Heap positions in their order.
#[allow(clippy::trivially_copy_pass_by_ref)] // what sorting passes
fn position(row: &pg_sys::ItemPointerData) -> (u16, u16, u16) {
    (row.ip_blkid.bi_hi, row.ip_blkid.bi_lo, row.ip_posid)
}

/// The first bytes of the key's table and text, as a number that sorts like them: a hint to the order of the index, no more.
fn leading_bytes<'a>(key: impl Iterator<Item = Field<'a>>, position: usize) -> u128 {
    let mut leading = [0; 16];
    let mut free = leading.as_mut_slice();
    for field in key.take(position + 1) {
        let oid;
        let bytes = match field {
            Field::Oid(table) => {
                oid = table.to_u32().to_be_bytes();
                &oid
            }
            field => field.text().unwrap_or_default(),
        };
        let (filled, rest) = free.split_at_mut(bytes.len().min(free.len()));
        filled.copy_from_slice(&bytes[..filled.len()]);
        free = rest;
    }
    u128::from_be_bytes(leading)
}
