//! Entries into a btree, many at once.
//!
//! `PostgreSQL` inserts index entries one by one: each descends from the root, locks its leaf page and writes a WAL record.
//! The entries of one statement lie close together: a primary key's at the right edge, row keys where the statement walked the
//! table. So they wait until the statement ends or many are waiting, are sorted, and go page by page: one descent, one lock and
//! one WAL record for all that a leaf page takes. Whatever is not plain (a full page, which has to be deduplicated or split; a
//! possible duplicate of a unique key; a posting list to be split; a page with dead entries; an index of an old format) goes `PostgreSQL`'s own way.
//!
//! What is done to a page is what `_bt_insertonpg` does to a leaf with room (`src/backend/access/nbtree/nbtinsert.c`); the WAL record
//! is a generic one (`src/backend/access/transam/generic_xlog.c`), which recovery and standbys replay like any other.

use super::index_plan::IndexPlan;
use super::memory::Context;
use super::nbtree::{self, HIGH_KEY, ScanInsert};
use super::relation::{OpenRelation, lock};
use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use std::ptr;

/// Entries wait until they are so many.
const WAITING: usize = 8192;
/// So few entries go one by one: an image of the page and its comparison would cost more.
const FEW: usize = 6;
/// Where pages take few entries, so many go one by one before pages are tried again.
const PAUSE: usize = 64;
/// Larger entries, in bytes, go `PostgreSQL`'s own way: it limits them to a third of a page.
const LARGEST: usize = 2000;

/// The entries of one index that wait.
pub(in crate::pg) struct Entries {
    index: OpenRelation,
    unique: bool,
    waiting: Vec<(u128, pg_sys::IndexTuple)>,
    /// Holds the waiting entries.
    home: Context,
    /// For what one page needs.
    scratch: Context,
}

impl Entries {
    /// Opens the index.
    pub fn open(plan: &IndexPlan) -> Self {
        Self {
            index: OpenRelation::index(plan.oid, lock::ROW_EXCLUSIVE),
            unique: plan.unique,
            waiting: Vec::new(),
            home: Context::short_lived(c"pg_attest index entries"),
            scratch: Context::short_lived(c"pg_attest index page"),
        }
    }

    /// Adds the entry of a row that was stored in `heap` at `tid`.
    ///
    /// # Safety
    /// `tuple` is of the heap's type, `plan` of this index and of the heap's columns.
    pub unsafe fn add(
        &mut self,
        heap: pg_sys::Relation,
        plan: &IndexPlan,
        tuple: pg_sys::HeapTuple,
        tid: pg_sys::ItemPointerData,
    ) {
        let mut values = [pg_sys::Datum::from(0usize); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
        // SAFETY: by the caller; index_form_tuple copies.
        unsafe {
            let descriptor = (*heap).rd_att;
            for (position, column) in plan.columns.iter().enumerate() {
                values[position] =
                    pg_sys::heap_getattr(tuple, *column, descriptor, &mut nulls[position]);
            }
            let entry = self.home.run(|| {
                pg_sys::index_form_tuple(
                    (*self.index.raw()).rd_att,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                )
            });
            (*entry).t_tid = tid;
            let order = match plan.text {
                Some(position) if !nulls[position] => leading_bytes(values[position]),
                _ => 0,
            };
            self.waiting.push((order, entry));
        }
        if self.waiting.len() >= WAITING {
            self.flush(heap);
        }
    }

    /// Inserts what is waiting.
    pub fn flush(&mut self, heap: pg_sys::Relation) {
        let mut waiting = std::mem::take(&mut self.waiting);
        // Stable: rows without a text in their key keep their order, which for event ids is the index's own.
        waiting.sort_by_key(|(order, _)| *order);
        let mut rest = waiting.as_slice();
        let (mut one_by_one, mut scattered) = (0, false);
        while let Some((_, first)) = rest.first() {
            let mut taken = 0;
            if one_by_one > 0 {
                one_by_one -= 1;
            } else if rest.len() > FEW {
                taken = self.fill_leaf(heap, rest);
                // Once may be a full page; twice in a row is a statement that walks the index at random.
                let few = taken < FEW;
                if std::mem::replace(&mut scattered, few) && few {
                    one_by_one = PAUSE;
                }
            }
            if taken == 0 {
                self.insert_one(heap, *first);
                taken = 1;
            }
            rest = &rest[taken..];
            self.scratch.reset();
            pgrx::check_for_interrupts!();
        }
        waiting.clear();
        self.waiting = waiting;
        self.home.reset();
    }

    fn insert_one(&self, heap: pg_sys::Relation, entry: pg_sys::IndexTuple) {
        let check = if self.unique {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
        } else {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
        };
        // SAFETY: what btinsert does with the entry that it forms (src/backend/access/nbtree/nbtree.c); nothing to drop inside.
        self.scratch.run(|| unsafe {
            pg_guard_ffi_boundary(|| {
                nbtree::_bt_doinsert(self.index.raw(), entry, check, false, heap)
            })
        });
    }

    /// Inserts into the first entry's leaf page as many of the entries as belong there, are plain and have room; returns how many.
    fn fill_leaf(&self, heap: pg_sys::Relation, entries: &[(u128, pg_sys::IndexTuple)]) -> usize {
        // SAFETY: nothing inside has to be dropped, so that an ERROR may jump out: what is allocated goes with the scratch
        // context, locks and pins of buffers with the transaction.
        self.scratch.run(|| unsafe {
            pg_guard_ffi_boundary(|| fill_leaf(self.index.raw(), heap, self.unique, entries))
        })
    }
}

/// # Safety
/// Inside a guard; the entries are of the open index, which is of the open heap.
unsafe fn fill_leaf(
    index: pg_sys::Relation,
    heap: pg_sys::Relation,
    unique: bool,
    entries: &[(u128, pg_sys::IndexTuple)],
) -> usize {
    // SAFETY: by the caller. The page is locked from leaf_of to UnlockReleaseBuffer; its image changes, and the page itself
    // only in GenericXLogFinish.
    unsafe {
        let Some(mut key) = insertion_key(index, unique, entries[0].1) else {
            return 0;
        };
        let buffer = nbtree::leaf_of(index, heap, key);
        nbtree::CheckForSerializableConflictIn(
            index,
            ptr::null_mut(),
            nbtree::BufferGetBlockNumber(buffer),
        );
        if nbtree::has_unlogged_state(pg_sys::BufferGetPage(buffer)) {
            nbtree::UnlockReleaseBuffer(buffer);
            return 0;
        }
        let wal = nbtree::GenericXLogStart(index);
        let page = nbtree::GenericXLogRegisterBuffer(wal, buffer, 0);
        let rightmost = nbtree::is_rightmost(page);
        // The offset before the first that the entry may take: the descent found the first entry's page, the others follow it.
        let mut before = if rightmost { 0 } else { HIGH_KEY };
        let mut taken = 0;
        for (_, entry) in entries {
            let size = aligned_size(*entry);
            if size > LARGEST || nbtree::PageGetFreeSpace(page) < size {
                break;
            }
            if taken > 0 {
                match insertion_key(index, unique, *entry) {
                    Some(next) => key = next,
                    None => break,
                }
                if nbtree::_bt_compare(index, key, page, before) <= 0 {
                    break;
                }
            }
            if !rightmost && !is_below(nbtree::_bt_compare(index, key, page, HIGH_KEY), unique) {
                break;
            }
            let Some(offset) = place_of(index, key, page, before) else {
                break;
            };
            let stored = nbtree::PageAddItemExtended(page, (*entry).cast(), size, offset, 0);
            if stored != offset {
                break;
            }
            before = offset;
            taken += 1;
        }
        if taken == 0 {
            nbtree::GenericXLogAbort(wal);
        } else {
            nbtree::GenericXLogFinish(wal);
        }
        nbtree::UnlockReleaseBuffer(buffer);
        taken
    }
}

/// Whether an entry belongs on a page by its comparison with the page's high key. Without a heap position in the key (see
/// `insertion_key`) an equal one may have its duplicates on the next page.
fn is_below(comparison: i32, unique: bool) -> bool {
    comparison < 0 || (comparison == 0 && !unique)
}

/// The key to look an entry's place up with. As in `_bt_doinsert`, a unique index's has no heap position: so equal keys show. None
/// where the index or the entry is of another kind.
///
/// # Safety
/// Inside a guard; the entry is of the open index.
unsafe fn insertion_key(
    index: pg_sys::Relation,
    unique: bool,
    entry: pg_sys::IndexTuple,
) -> Option<*mut ScanInsert> {
    // SAFETY: by the caller.
    unsafe {
        let key = nbtree::_bt_mkscankey(index, entry);
        if !(*key).heap_key_space || (unique && (*key).any_null_keys) {
            return None;
        }
        (*key).scan_tid = if unique {
            ptr::null_mut()
        } else {
            &raw mut (*entry).t_tid
        };
        Some(key)
    }
}

/// The offset, behind `before`, of the first entry of the page that is greater than the key; None where one is equal: a duplicate of
/// a unique key, or a posting list around the entry.
///
/// # Safety
/// Inside a guard; a leaf page of the index.
unsafe fn place_of(
    index: pg_sys::Relation,
    key: *mut ScanInsert,
    page: pg_sys::Page,
    before: pg_sys::OffsetNumber,
) -> Option<pg_sys::OffsetNumber> {
    // SAFETY: by the caller.
    unsafe {
        let mut low = before + 1;
        let mut high = pg_sys::PageGetMaxOffsetNumber(page) + 1;
        // Entries that follow each other in the statement mostly do so in the index.
        let mut middle = low;
        while low < high {
            match nbtree::_bt_compare(index, key, page, middle) {
                0 => return None,
                order if order > 0 => low = middle + 1,
                _ => high = middle,
            }
            middle = low + (high - low) / 2;
        }
        Some(low)
    }
}

/// An entry's size in a page (`MAXALIGN(IndexTupleSize)`).
///
/// # Safety
/// A valid entry.
unsafe fn aligned_size(entry: pg_sys::IndexTuple) -> usize {
    // SAFETY: by the caller.
    let size = unsafe { usize::from((*entry).t_info) & pg_sys::INDEX_SIZE_MASK as usize };
    size.next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize)
}

/// The first bytes of a text, as a number that sorts like them: a hint to the order of the index, no more.
///
/// # Safety
/// `value` is a text in a heap tuple.
unsafe fn leading_bytes(value: pg_sys::Datum) -> u128 {
    // SAFETY: by the caller; what is compressed or out of line is not looked into.
    let bytes = unsafe {
        let text = value.cast_mut_ptr::<pg_sys::varlena>();
        if pgrx::varlena::varatt_is_1b_e(text) || pgrx::varlena::varatt_is_4b_c(text) {
            return 0;
        }
        std::slice::from_raw_parts(
            pgrx::varlena::vardata_any(text).cast::<u8>(),
            pgrx::varlena::varsize_any_exhdr(text),
        )
    };
    let mut leading = [0; 16];
    let length = bytes.len().min(leading.len());
    leading[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(leading)
}
