//! Many entries into one leaf page of a btree.
//!
//! What is done to a page is what `_bt_insertonpg` does to a leaf with room (`src/backend/access/nbtree/nbtinsert.c`), and for posting lists
//! what `_bt_dedup_pass` leaves (`nbtdedup.c`). The WAL record is a generic one (`src/backend/access/transam/generic_xlog.c`), which
//! recovery and standbys replay like any other.

use super::nbtree::{self, HIGH_KEY, ScanInsert};
use pgrx::pg_sys;
use std::ptr;

/// Larger entries, in bytes, go `PostgreSQL`'s own way: it limits them to a third of a page.
const LARGEST: usize = 2000;
/// An entry with a posting list has at most so many bytes, as deduplication leaves it (`BTMaxItemSize / 2`).
const LARGEST_POSTING: usize = 1352;

/// An entry of the index: a key, and the rows that have it.
pub(super) struct Entry {
    /// The first bytes of its text: a hint to the order of the index.
    pub order: u128,
    pub tuple: pg_sys::IndexTuple,
    /// Where its rows begin in the rows that go with the entries, and how many they are.
    pub start: usize,
    pub count: usize,
}

/// Inserts into the first row's leaf page as many as belong there, are plain and have room; returns of how many rows.
///
/// # Safety
/// Inside a guard; the entries are of the open index, which is of the open heap.
pub(super) unsafe fn fill(
    index: pg_sys::Relation,
    heap: pg_sys::Relation,
    unique: bool,
    entries: &[Entry],
    rows: &[pg_sys::ItemPointerData],
) -> usize {
    // SAFETY: by the caller. The page is locked from leaf_of to UnlockReleaseBuffer; its image changes, and the page itself
    // only in GenericXLogFinish.
    unsafe {
        let first = &entries[0];
        let Some(key) = insertion_key(index, unique, first.tuple, &raw const rows[first.start])
        else {
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
        let mut leaf = Leaf {
            index,
            page,
            unique,
            rightmost: nbtree::is_rightmost(page),
            before: 0,
        };
        if !leaf.rightmost {
            leaf.before = HIGH_KEY;
        }
        let mut taken = 0;
        for entry in entries {
            let added = leaf.add(entry.tuple, &rows[entry.start..][..entry.count], taken > 0);
            taken += added;
            if added < entry.count {
                break;
            }
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

/// The image of a leaf page that is being filled.
struct Leaf {
    index: pg_sys::Relation,
    page: pg_sys::Page,
    unique: bool,
    rightmost: bool,
    /// The offset before the first that the next entry may take: the descent found the first entry's page, the others follow it.
    before: pg_sys::OffsetNumber,
}

impl Leaf {
    /// Adds an entry with as many of its rows, ascending, as belong on the page and have room; returns how many.
    ///
    /// # Safety
    /// Inside a guard; the entry is of the index, the page a leaf of it. Unless `follows`, the entry's first row belongs on the page.
    unsafe fn add(
        &mut self,
        entry: pg_sys::IndexTuple,
        rows: &[pg_sys::ItemPointerData],
        mut follows: bool,
    ) -> usize {
        let mut added = 0;
        // SAFETY: by the caller.
        unsafe {
            let base = entry_size(entry);
            if base > LARGEST {
                return 0;
            }
            let Some(key) = insertion_key(self.index, self.unique, entry, &raw const rows[0])
            else {
                return 0;
            };
            let may_share = !self.unique && (*key).all_equal_image && base < LARGEST_POSTING;
            while let Some(first) = rows.get(added) {
                let room = nbtree::PageGetFreeSpace(self.page);
                if room < base {
                    break;
                }
                let share = if may_share {
                    // entries are aligned
                    let room = room.min(LARGEST_POSTING) & !(pg_sys::MAXIMUM_ALIGNOF as usize - 1);
                    room.saturating_sub(base) / size_of::<pg_sys::ItemPointerData>()
                } else {
                    1
                };
                let run = &rows[added..][..share.clamp(1, rows.len() - added)];
                set_row(self.unique, key, first);
                if follows && nbtree::_bt_compare(self.index, key, self.page, self.before) <= 0 {
                    break;
                }
                let Some(offset) = self.place_of(key, run) else {
                    break;
                };
                let item = if let [row] = run {
                    (*entry).t_tid = *row;
                    entry
                } else {
                    // at most LARGEST_POSTING / 6
                    nbtree::_bt_form_posting(entry, run.as_ptr(), run.len() as i32)
                };
                let size = entry_size(item);
                if nbtree::PageAddItemExtended(self.page, item.cast(), size, offset, 0) != offset {
                    break;
                }
                self.before = offset;
                added += run.len();
                follows = true;
            }
        }
        added
    }

    /// The offset, behind `before`, of the first entry of the page that is greater than the key with these rows; None where they do
    /// not belong on this page, or where one is equal: a duplicate of a unique key, or a posting list among the rows.
    ///
    /// # Safety
    /// As `add`; the key's row is the first of `run`.
    unsafe fn place_of(
        &self,
        key: *mut ScanInsert,
        run: &[pg_sys::ItemPointerData],
    ) -> Option<pg_sys::OffsetNumber> {
        // SAFETY: by the caller.
        unsafe {
            let mut low = self.before + 1;
            let end = pg_sys::PageGetMaxOffsetNumber(self.page) + 1;
            let mut high = end;
            // Entries that follow each other in the statement mostly do so in the index.
            let mut middle = low;
            while low < high {
                match nbtree::_bt_compare(self.index, key, self.page, middle) {
                    0 => return None,
                    order if order > 0 => low = middle + 1,
                    _ => high = middle,
                }
                middle = low + (high - low) / 2;
            }
            let last = &run[run.len() - 1];
            set_row(self.unique, key, last);
            if run.len() > 1
                && low < end
                && nbtree::_bt_compare(self.index, key, self.page, low) >= 0
            {
                return None;
            }
            let belongs = self.rightmost
                || is_below(
                    nbtree::_bt_compare(self.index, key, self.page, HIGH_KEY),
                    self.unique,
                );
            belongs.then_some(low)
        }
    }
}

/// Whether an entry belongs on a page by its comparison with the page's high key. Without a heap position in the key (see
/// `insertion_key`) an equal one may have its duplicates on the next page.
fn is_below(comparison: i32, unique: bool) -> bool {
    comparison < 0 || (comparison == 0 && !unique)
}

/// Sets the row whose place the key stands for; a unique index's key has none.
///
/// # Safety
/// A key of `insertion_key`; the row outlives its use.
unsafe fn set_row(unique: bool, key: *mut ScanInsert, row: *const pg_sys::ItemPointerData) {
    if !unique {
        // SAFETY: by the caller. nbtree only reads it.
        unsafe { (*key).scan_tid = row.cast_mut() };
    }
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
    row: *const pg_sys::ItemPointerData,
) -> Option<*mut ScanInsert> {
    // SAFETY: by the caller.
    unsafe {
        let key = nbtree::_bt_mkscankey(index, entry);
        if !(*key).heap_key_space || (unique && (*key).any_null_keys) {
            return None;
        }
        (*key).scan_tid = ptr::null_mut();
        set_row(unique, key, row);
        Some(key)
    }
}

/// An entry's size in a page (`MAXALIGN(IndexTupleSize)`).
///
/// # Safety
/// A valid entry.
unsafe fn entry_size(entry: pg_sys::IndexTuple) -> usize {
    // SAFETY: by the caller.
    let size = unsafe { usize::from((*entry).t_info) & pg_sys::INDEX_SIZE_MASK as usize };
    size.next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize)
}
