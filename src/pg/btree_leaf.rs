//! Entries into the leaf pages of a btree: which belong on a page, and where.
//!
//! What is done to a page is what `_bt_insertonpg` does to a leaf with room (`src/backend/access/nbtree/nbtinsert.c`), and for posting lists
//! what `_bt_dedup_pass` leaves (`nbtdedup.c`). How it gets there, and into the WAL, stands in `btree_write`.
//!
//! No two pages are ever locked at once. From a leaf to its right sibling one goes as `_bt_moveright` does: what is greater than a
//! page's high key stays right of it, whatever others do meanwhile.

use super::btree_queue::{Queue, insertion_key, set_row};
use super::btree_write::LeafWriter;
use super::nbtree::{self, HIGH_KEY, ScanInsert};
use pgrx::pg_sys;
use std::cmp::Ordering;
use std::ptr;

/// Larger entries, in bytes, go `PostgreSQL`'s own way: it limits them to a third of a page.
const LARGEST: usize = 2000;
/// An entry with a posting list has at most so many bytes, as deduplication leaves it (`BTMaxItemSize / 2`).
const LARGEST_POSTING: usize = 1352;
/// A leaf that takes more rows than these is written at once.
const FEW: usize = 6;

/// Inserts entries, leaf by leaf, up to the first that is not plain or has no room.
///
/// # Safety
/// Inside a guard; the queue's index is of the open heap.
pub(super) unsafe fn fill(heap: pg_sys::Relation, queue: &mut Queue<'_>) {
    let mut sibling = None;
    // SAFETY: by the caller. Each page is locked until UnlockReleaseBuffer.
    unsafe {
        while let Some(key) = queue.key() {
            let buffer = match sibling {
                Some(block) => nbtree::locked(queue.index, block),
                None => nbtree::leaf_of(queue.index, heap, key),
            };
            let taken = queue.taken;
            let next =
                Leaf::find(queue, buffer, key).map_or(Next::NotPlain, |leaf| leaf.take(queue));
            nbtree::UnlockReleaseBuffer(buffer);
            let took = queue.taken - taken;
            sibling = match next {
                // One entry on a leaf that was not next to the one before: the entries lie farther apart than leaves.
                Next::Behind(right) if took > 1 || sibling.is_some() => Some(right),
                Next::Behind(_) | Next::Elsewhere => None,
                Next::NotPlain if took == 0 && sibling.is_some() => None,
                Next::NotPlain => break,
            };
            nbtree::check_for_interrupts();
        }
        queue.free_key();
    }
}

/// Where the next entry belongs.
enum Next {
    /// Behind the leaf, whose right sibling this is.
    Behind(pg_sys::BlockNumber),
    /// Before what went in: a descent tells.
    Elsewhere,
    /// On the leaf, but it is not plain or has no room; or nothing is left.
    NotPlain,
}

/// A leaf page that is being filled.
struct Leaf {
    index: pg_sys::Relation,
    unique: bool,
    buffer: pg_sys::Buffer,
    page: pg_sys::Page,
    right: Option<pg_sys::BlockNumber>,
    /// The offset before the first that the next entry may take.
    before: pg_sys::OffsetNumber,
}

impl Leaf {
    /// The leaf in a locked buffer, which is the key's own leaf or one to its left; None where it is not the key's own, or not to be written to.
    ///
    /// # Safety
    /// Inside a guard; a page of the queue's index, its key.
    unsafe fn find(
        queue: &Queue<'_>,
        buffer: pg_sys::Buffer,
        key: *mut ScanInsert,
    ) -> Option<Self> {
        // SAFETY: by the caller.
        unsafe {
            let page = pg_sys::BufferGetPage(buffer);
            if !nbtree::is_live_leaf(page) {
                return None;
            }
            let right = nbtree::right_of(page);
            let before = if right.is_some() { HIGH_KEY } else { 0 };
            let leaf = Self {
                index: queue.index,
                unique: queue.unique,
                buffer,
                page,
                right,
                before,
            };
            (leaf.side_of(key) == Ordering::Less).then_some(leaf)
        }
    }

    /// Where a key lies by the page's high key: before it, so that it belongs here; behind it; or, equal without a heap position (see
    /// `insertion_key`), perhaps with duplicates on the next page.
    ///
    /// # Safety
    /// Inside a guard; a key of `insertion_key`, not less than what the page begins with.
    unsafe fn side_of(&self, key: *mut ScanInsert) -> Ordering {
        if self.right.is_none() {
            return Ordering::Less;
        }
        // SAFETY: by the caller.
        match unsafe { nbtree::_bt_compare(self.index, key, self.page, HIGH_KEY) } {
            0 if !self.unique => Ordering::Less,
            order => order.cmp(&0),
        }
    }

    /// Takes what belongs here, is plain and has room; the first entry belongs here.
    ///
    /// # Safety
    /// Inside a guard; the queue is of this index.
    unsafe fn take(mut self, queue: &mut Queue<'_>) -> Next {
        // SAFETY: by the caller.
        unsafe {
            nbtree::CheckForSerializableConflictIn(
                self.index,
                ptr::null_mut(),
                nbtree::BufferGetBlockNumber(self.buffer),
            );
            let many = !nbtree::has_unlogged_state(self.page) && self.is_for_many(queue);
            let mut writer = LeafWriter::new(self.index, self.buffer, many);
            self.page = writer.page();
            let next = self.fill(&mut writer, queue);
            writer.finish();
            next
        }
    }

    /// Whether more than a few rows belong here, as far as one behind them tells.
    ///
    /// # Safety
    /// As `take`.
    unsafe fn is_for_many(&self, queue: &Queue<'_>) -> bool {
        let Some((entry, row)) = queue.behind(FEW) else {
            return false;
        };
        // SAFETY: by the caller.
        unsafe {
            insertion_key(self.index, self.unique, entry, row).is_some_and(|key| {
                let first = self.before + 1;
                let belongs = self.side_of(key) == Ordering::Less
                    && (first > pg_sys::PageGetMaxOffsetNumber(self.page)
                        || nbtree::_bt_compare(self.index, key, self.page, first) > 0);
                nbtree::pfree(key.cast());
                belongs
            })
        }
    }

    /// # Safety
    /// As `take`; the writer is of this page.
    unsafe fn fill(&mut self, writer: &mut LeafWriter, queue: &mut Queue<'_>) -> Next {
        let mut follows = false;
        // SAFETY: by the caller.
        unsafe {
            while let (Some(key), Some((entry, rows))) = (queue.key(), queue.first()) {
                if follows {
                    match (self.side_of(key), self.right) {
                        (Ordering::Less, _) => {}
                        (Ordering::Greater, Some(right)) => return Next::Behind(right),
                        _ => break,
                    }
                    if nbtree::_bt_compare(self.index, key, self.page, self.before) <= 0 {
                        return Next::Elsewhere;
                    }
                }
                let added = self.add(writer, key, entry, rows);
                if added == 0 {
                    break;
                }
                queue.advance(added);
                follows = true;
            }
        }
        Next::NotPlain
    }

    /// Adds an entry with as many of its rows, ascending, as one posting list takes; returns how many, none where it is not plain or
    /// has no room.
    ///
    /// # Safety
    /// As `fill`; the key is the entry's, with the first of the rows, and belongs behind `before`.
    unsafe fn add(
        &mut self,
        writer: &mut LeafWriter,
        key: *mut ScanInsert,
        entry: pg_sys::IndexTuple,
        rows: &[pg_sys::ItemPointerData],
    ) -> usize {
        // SAFETY: by the caller.
        unsafe {
            let base = aligned_size(entry);
            let room = nbtree::PageGetFreeSpace(self.page);
            if base > LARGEST || room < base {
                return 0;
            }
            let may_share = writer.takes_posting_lists()
                && !self.unique
                && (*key).all_equal_image
                && base < LARGEST_POSTING;
            let share = if may_share {
                // entries are aligned
                let room = room.min(LARGEST_POSTING) & !(pg_sys::MAXIMUM_ALIGNOF as usize - 1);
                room.saturating_sub(base) / size_of::<pg_sys::ItemPointerData>()
            } else {
                1
            };
            let run = &rows[..share.clamp(1, rows.len())];
            let Some(offset) = self.place_of(key, run) else {
                return 0;
            };
            if let [row] = run {
                (*entry).t_tid = *row;
                writer.put(entry, base, offset);
            } else {
                // at most LARGEST_POSTING / 6
                let list = nbtree::_bt_form_posting(entry, run.as_ptr(), run.len() as i32);
                writer.put(list, aligned_size(list), offset);
                nbtree::pfree(list.cast());
            }
            self.before = offset;
            run.len()
        }
    }

    /// The offset, behind `before`, of the first entry of the page that is greater than the key with these rows; None where one is equal (a
    /// duplicate of a unique key, or a posting list among the rows), or where they do not all belong on this page.
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
            if let [_, .., last] = run {
                set_row(self.unique, key, last);
                let all_before = if low < end {
                    nbtree::_bt_compare(self.index, key, self.page, low) < 0
                } else {
                    self.side_of(key) == Ordering::Less
                };
                return all_before.then_some(low);
            }
            Some(low)
        }
    }
}

/// An entry's size in a page (`MAXALIGN(IndexTupleSize)`).
///
/// # Safety
/// A valid entry.
unsafe fn aligned_size(entry: pg_sys::IndexTuple) -> usize {
    // SAFETY: by the caller.
    unsafe { nbtree::entry_size(entry) }.next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize)
}
