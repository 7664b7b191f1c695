//! Entries on their way into a btree, and the keys that their places are looked up with.

use super::nbtree::{self, ScanInsert};
use pgrx::pg_sys;
use std::ptr;

/// An entry of the index: a key, and the rows that have it.
pub(super) struct Entry {
    /// Its first bytes: a hint to the order of the index.
    pub order: u128,
    pub tuple: pg_sys::IndexTuple,
    /// Where its rows begin in the rows that go with the entries, and how many they are.
    pub start: usize,
    pub count: usize,
}

/// The entries that are not in yet.
pub(super) struct Queue<'a> {
    pub index: pg_sys::Relation,
    pub unique: bool,
    entries: &'a [Entry],
    rows: &'a [pg_sys::ItemPointerData],
    /// How many of the first entry's rows are in.
    taken_of_first: usize,
    /// How many rows are in.
    pub taken: usize,
    /// The first entry's, while `btree_leaf::fill` asks for it.
    key: Option<*mut ScanInsert>,
}

impl<'a> Queue<'a> {
    /// The entries of an open index; each one's rows ascend.
    pub fn new(
        index: pg_sys::Relation,
        unique: bool,
        entries: &'a [Entry],
        rows: &'a [pg_sys::ItemPointerData],
    ) -> Self {
        Self {
            index,
            unique,
            entries,
            rows,
            taken_of_first: 0,
            taken: 0,
            key: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The key of the first entry with its first row; None where nothing is left, or the entry is not plain.
    ///
    /// # Safety
    /// Inside a guard; the index is open.
    pub unsafe fn key(&mut self) -> Option<*mut ScanInsert> {
        let first = self.entries.first()?;
        let row = &raw const self.rows[first.start + self.taken_of_first];
        // SAFETY: by the caller.
        unsafe {
            if let Some(key) = self.key {
                set_row(self.unique, key, row);
            } else {
                self.key = insertion_key(self.index, self.unique, first.tuple, row);
            }
        }
        self.key
    }

    /// The first entry's tuple and its rows.
    pub fn first(&self) -> Option<(pg_sys::IndexTuple, &'a [pg_sys::ItemPointerData])> {
        let first = self.entries.first()?;
        let rows = &self.rows[first.start..][..first.count];
        Some((first.tuple, &rows[self.taken_of_first..]))
    }

    /// The entry with the row that so many go before.
    pub fn behind(&self, rows: usize) -> Option<(pg_sys::IndexTuple, &'a pg_sys::ItemPointerData)> {
        let mut before = self.taken_of_first + rows;
        for entry in self.entries {
            if before < entry.count {
                return Some((entry.tuple, &self.rows[entry.start + before]));
            }
            before -= entry.count;
        }
        None
    }

    /// So many rows of the first entry are in.
    ///
    /// # Safety
    /// Inside a guard; the key is not used any more.
    pub unsafe fn advance(&mut self, rows: usize) {
        self.taken += rows;
        self.taken_of_first += rows;
        if self.taken_of_first == self.entries[0].count {
            self.entries = &self.entries[1..];
            self.taken_of_first = 0;
            // SAFETY: by the caller.
            unsafe { self.free_key() };
        }
    }

    /// Gives the key's memory back.
    ///
    /// # Safety
    /// As `advance`.
    pub unsafe fn free_key(&mut self) {
        if let Some(key) = self.key.take() {
            // SAFETY: by the caller; insertion_key made it.
            unsafe { nbtree::pfree(key.cast()) };
        }
    }
}

/// Sets the row whose place the key stands for; a unique index's key has none.
///
/// # Safety
/// A key of `insertion_key`; the row outlives its use.
pub(super) unsafe fn set_row(
    unique: bool,
    key: *mut ScanInsert,
    row: *const pg_sys::ItemPointerData,
) {
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
pub(super) unsafe fn insertion_key(
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
