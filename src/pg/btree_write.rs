//! Entries on a locked leaf page of a btree, with the WAL for them.
//!
//! Many on one page go into an image of it, which becomes the page with one record of generic WAL (`src/backend/access/transam/generic_xlog.c`);
//! but the image and the search for what has changed, byte by byte, cost more than some entries' own records. Few go into the page itself, each with
//! the record that `_bt_insertonpg` writes for a leaf with room (`src/backend/access/nbtree/nbtinsert.c`). Recovery and standbys replay either.

use super::nbtree;
use pgrx::{PgLogLevel, PgSqlErrorCode, ereport, pg_sys};

/// A leaf page that entries are put on. Whoever makes one holds the page's exclusive lock until `finish`.
pub(super) struct LeafWriter {
    buffer: pg_sys::Buffer,
    /// What the page is, with all that was put on it.
    page: pg_sys::Page,
    wal: Wal,
}

enum Wal {
    /// One record for all; none, where nothing was put.
    Together {
        record: *mut pg_sys::GenericXLogState,
        changed: bool,
    },
    /// A record for each.
    Each,
    /// None: the index is unlogged, or of a transaction that `wal_level` minimal spares it.
    None,
}

impl LeafWriter {
    /// Begins with the page of a buffer.
    ///
    /// # Safety
    /// Inside a guard; an open index, a leaf of it, locked for writing. If `many`, without unlogged state.
    pub unsafe fn new(index: pg_sys::Relation, buffer: pg_sys::Buffer, many: bool) -> Self {
        // SAFETY: by the caller.
        unsafe {
            if many {
                let record = nbtree::GenericXLogStart(index);
                return Self {
                    buffer,
                    page: nbtree::GenericXLogRegisterBuffer(record, buffer, 0),
                    wal: Wal::Together {
                        record,
                        changed: false,
                    },
                };
            }
            Self {
                buffer,
                page: pg_sys::BufferGetPage(buffer),
                wal: if nbtree::needs_wal(index) {
                    Wal::Each
                } else {
                    Wal::None
                },
            }
        }
    }

    pub fn page(&self) -> pg_sys::Page {
        self.page
    }

    /// Whether entries may share a posting list: a native record is about a single row's.
    pub fn takes_posting_lists(&self) -> bool {
        matches!(self.wal, Wal::Together { .. })
    }

    /// Puts an entry at this offset.
    ///
    /// # Safety
    /// Inside a guard, between `new` and `finish`; an entry of the index, of `size` bytes when aligned, which belongs there and has room.
    pub unsafe fn put(
        &mut self,
        entry: pg_sys::IndexTuple,
        size: usize,
        offset: pg_sys::OffsetNumber,
    ) {
        // SAFETY: by the caller. In place as in _bt_insertonpg: from the page's change to its LSN nothing can fail that would not
        // end the server, as must be.
        unsafe {
            if let Wal::Together { changed, .. } = &mut self.wal {
                add(self.page, entry, size, offset);
                *changed = true;
                return;
            }
            pg_sys::CritSectionCount += 1;
            add(self.page, entry, size, offset);
            nbtree::MarkBufferDirty(self.buffer);
            if matches!(self.wal, Wal::Each) {
                nbtree::log_leaf_insert(self.buffer, entry, offset);
            }
            pg_sys::CritSectionCount -= 1;
        }
    }

    /// Nothing more is put; the page is still locked.
    ///
    /// # Safety
    /// Inside a guard.
    pub unsafe fn finish(self) {
        if let Wal::Together { record, changed } = self.wal {
            // SAFETY: by the caller; the record is ours.
            unsafe {
                if changed {
                    nbtree::GenericXLogFinish(record);
                } else {
                    nbtree::GenericXLogAbort(record);
                }
            }
        }
    }
}

/// # Safety
/// As `LeafWriter::put`.
unsafe fn add(
    page: pg_sys::Page,
    entry: pg_sys::IndexTuple,
    size: usize,
    offset: pg_sys::OffsetNumber,
) {
    // SAFETY: by the caller.
    let added = unsafe { nbtree::PageAddItemExtended(page, entry.cast(), size, offset, 0) };
    if added != offset {
        // The page may be half changed.
        ereport!(
            PgLogLevel::PANIC,
            PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED,
            "failed to add an entry to a page of an index"
        );
    }
}
