//! The free part of pages: what was deleted stays there until something else is written over it.

use super::relation::{OpenRelation, lock};
use pgrx::pg_sys;

/// Zeroes the bytes between the item pointers and the items of a relation's pages, where they are not zero already; with WAL, so
/// that replicas follow. Returns how many pages it wrote. Pages of heaps and btrees are of the standard layout.
pub fn wipe(relation: &OpenRelation) -> u64 {
    let mut wiped = 0;
    let raw = relation.raw();
    // SAFETY: an open relation with storage.
    let blocks =
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(raw, pg_sys::ForkNumber::MAIN_FORKNUM) };
    for block in 0..blocks {
        pgrx::check_for_interrupts!();
        // SAFETY: the block is there. The page is locked from LockBuffer to UnlockReleaseBuffer; GenericXLogFinish writes it with a
        // zeroed hole (src/backend/access/transam/generic_xlog.c), and an ERROR before it releases lock and pin.
        unsafe {
            let buffer = pg_sys::ReadBufferExtended(
                raw,
                pg_sys::ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                std::ptr::null_mut(),
            );
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
            if has_bytes_in_hole(pg_sys::BufferGetPage(buffer)) {
                let wal = pg_sys::GenericXLogStart(raw);
                pg_sys::GenericXLogRegisterBuffer(
                    wal,
                    buffer,
                    pg_sys::GENERIC_XLOG_FULL_IMAGE as i32,
                );
                pg_sys::GenericXLogFinish(wal);
                wiped += 1;
            }
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }
    wiped
}

/// # Safety
/// A page in a locked buffer.
unsafe fn has_bytes_in_hole(page: pg_sys::Page) -> bool {
    // SAFETY: by the caller; a page is BLCKSZ bytes, of which the header's bounds are checked.
    unsafe {
        let header = page.cast::<pg_sys::PageHeaderData>();
        let (lower, upper) = (
            usize::from((*header).pd_lower),
            usize::from((*header).pd_upper),
        );
        if lower >= upper || upper > pg_sys::BLCKSZ as usize {
            return false;
        }
        let hole = std::slice::from_raw_parts(page.cast::<u8>().add(lower), upper - lower);
        hole.iter().any(|byte| *byte != 0)
    }
}

/// Opens a table with its indexes and its TOAST table: everything that its rows are stored in.
pub fn storage_of(table: pg_sys::Oid) -> Vec<OpenRelation> {
    let mut all = vec![OpenRelation::table(table, lock::ROW_EXCLUSIVE)];
    // SAFETY: an open relation.
    let toast = unsafe { (*(*all[0].raw()).rd_rel).reltoastrelid };
    if toast != pg_sys::InvalidOid {
        all.push(OpenRelation::table(toast, lock::ROW_EXCLUSIVE));
    }
    for at in 0..all.len() {
        // SAFETY: an open relation; the list is ours.
        let indexes =
            unsafe { super::catalog::take_oids(pg_sys::RelationGetIndexList(all[at].raw())) };
        all.extend(
            indexes
                .into_iter()
                .map(|index| OpenRelation::index(index, lock::ROW_EXCLUSIVE)),
        );
    }
    all
}
