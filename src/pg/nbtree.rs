//! What `btree` needs of nbtree and of its WAL, as `PostgreSQL` 15 to 18 declare it: not guarded.
//!
//! An ERROR in any of these functions jumps. They are called inside `pg_guard_ffi_boundary`, from frames that have nothing to drop.

use pgrx::pg_sys;
use std::ffi::{c_char, c_void};

/// `BTScanInsertData` (src/include/access/nbtree.h), up to its scan keys.
#[repr(C)]
pub struct ScanInsert {
    pub heap_key_space: bool,
    /// Whether equal keys have equal bytes, so that they may share a posting list.
    pub all_equal_image: bool,
    pub any_null_keys: bool,
    next_key: bool,
    /// `pivotsearch`; since 17 `backward`.
    direction: bool,
    pub scan_tid: pg_sys::ItemPointer,
}

/// `BTPageOpaqueData` (src/include/access/nbtree.h).
#[repr(C)]
struct PageOpaque {
    previous: pg_sys::BlockNumber,
    next: pg_sys::BlockNumber,
    level: u32,
    flags: u16,
    cycle: u16,
}

/// Offset of a page's high key, where it has one (`P_HIKEY`).
pub const HIGH_KEY: pg_sys::OffsetNumber = 1;

/// `BT_WRITE`: an exclusive buffer lock.
const WRITE: i32 = 2;

/// The page's right sibling (`btpo_next`); None for the last of its level, which has no high key (`P_RIGHTMOST`).
///
/// # Safety
/// `page` is a page of a btree, not its metapage.
pub unsafe fn right_of(page: pg_sys::Page) -> Option<pg_sys::BlockNumber> {
    // SAFETY: by the caller.
    let next = unsafe { (*opaque(page)).next };
    (next != 0).then_some(next)
}

/// Whether the page is a leaf that entries may be put on: not deleted or being deleted (`P_IGNORE`), and its split, if it had one,
/// is complete. A descent ends on no other; a step to the right may.
///
/// # Safety
/// `page` is a page of a btree, not its metapage.
pub unsafe fn is_live_leaf(page: pg_sys::Page) -> bool {
    const LEAF: u16 = 1;
    const DELETED: u16 = 1 << 2;
    const HALF_DEAD: u16 = 1 << 4;
    const INCOMPLETE_SPLIT: u16 = 1 << 7;
    // SAFETY: by the caller.
    let flags = unsafe { (*opaque(page)).flags };
    flags & (LEAF | DELETED | HALF_DEAD | INCOMPLETE_SPLIT) == LEAF
}

/// A page, locked for writing and pinned.
///
/// # Safety
/// Inside a guard; an open index, a block of it.
pub unsafe fn locked(index: pg_sys::Relation, block: pg_sys::BlockNumber) -> pg_sys::Buffer {
    // SAFETY: by the caller.
    unsafe { _bt_getbuf(index, block, WRITE) }
}

/// The leaf page that the key belongs on, locked for writing and pinned.
///
/// # Safety
/// Inside a guard; open relations, a key of the index.
pub unsafe fn leaf_of(
    index: pg_sys::Relation,
    #[cfg_attr(feature = "pg15", allow(unused_variables))] heap: pg_sys::Relation,
    key: *mut ScanInsert,
) -> pg_sys::Buffer {
    let mut buffer = 0;
    // SAFETY: by the caller. The stack of parents is for splits alone.
    unsafe {
        #[cfg(feature = "pg15")]
        let stack = _bt_search(index, key, &raw mut buffer, WRITE, std::ptr::null_mut());
        #[cfg(feature = "pg16")]
        let stack = _bt_search(
            index,
            heap,
            key,
            &raw mut buffer,
            WRITE,
            std::ptr::null_mut(),
        );
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let stack = _bt_search(index, heap, key, &raw mut buffer, WRITE);
        if !stack.is_null() {
            _bt_freestack(stack);
        }
    }
    buffer
}

/// Whether the page holds what nbtree changes without a WAL record (`BTP_SPLIT_END`, `BTP_HAS_GARBAGE` and dead entries, a vacuum
/// cycle): nbtree's own records let a replayed page differ in these (`btree_mask`, src/backend/access/nbtree/nbtxlog.c), generic ones
/// do not.
///
/// # Safety
/// `page` is a page of a btree, not its metapage.
pub unsafe fn has_unlogged_state(page: pg_sys::Page) -> bool {
    const SPLIT_END: u16 = 1 << 5;
    const HAS_GARBAGE: u16 = 1 << 6;
    // SAFETY: by the caller.
    let opaque = unsafe { &*opaque(page) };
    opaque.flags & (SPLIT_END | HAS_GARBAGE) != 0 || opaque.cycle != 0
}

/// `CHECK_FOR_INTERRUPTS`.
///
/// # Safety
/// Inside a guard.
pub unsafe fn check_for_interrupts() {
    // SAFETY: by the caller.
    unsafe {
        if pg_sys::InterruptPending != 0 {
            ProcessInterrupts();
        }
    }
}

/// Whether changes to the index go into the WAL (`RelationNeedsWAL`, src/include/utils/rel.h).
///
/// # Safety
/// An open relation.
pub unsafe fn needs_wal(index: pg_sys::Relation) -> bool {
    /// `InvalidSubTransactionId`.
    const NONE: pg_sys::SubTransactionId = 0;
    // SAFETY: by the caller.
    unsafe {
        #[cfg(feature = "pg15")]
        let new_storage = (*index).rd_firstRelfilenodeSubid;
        #[cfg(not(feature = "pg15"))]
        let new_storage = (*index).rd_firstRelfilelocatorSubid;
        (*(*index).rd_rel).relpersistence == pg_sys::RELPERSISTENCE_PERMANENT as c_char
            && (pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32
                || ((*index).rd_createSubid == NONE && new_storage == NONE))
    }
}

/// Writes the WAL record of an entry that was put on a leaf page at this offset, and gives the page its LSN
/// (`_bt_insertonpg`, src/backend/access/nbtree/nbtinsert.c; `xl_btree_insert`, src/include/access/nbtxlog.h).
///
/// # Safety
/// In a critical section; a leaf that is locked for writing and marked dirty, a plain entry.
pub unsafe fn log_leaf_insert(
    buffer: pg_sys::Buffer,
    entry: pg_sys::IndexTuple,
    offset: pg_sys::OffsetNumber,
) {
    const INSERT_LEAF: u8 = 0;
    // SAFETY: by the caller. What is registered stays until XLogInsert has copied it.
    unsafe {
        XLogBeginInsert();
        XLogRegisterData((&raw const offset).cast(), size_of_val(&offset) as u32);
        XLogRegisterBuffer(0, buffer, pg_sys::REGBUF_STANDARD as u8);
        XLogRegisterBufData(0, entry.cast(), entry_size(entry) as u32);
        let end = XLogInsert(pg_sys::RmgrIds::RM_BTREE_ID as u8, INSERT_LEAF);
        let header = pg_sys::BufferGetPage(buffer).cast::<pg_sys::PageHeaderData>();
        (*header).pd_lsn = pg_sys::PageXLogRecPtr {
            xlogid: (end >> 32) as u32,
            xrecoff: end as u32,
        };
    }
}

/// An entry's bytes (`IndexTupleSize`).
///
/// # Safety
/// A valid entry.
pub unsafe fn entry_size(entry: pg_sys::IndexTuple) -> usize {
    // SAFETY: by the caller.
    unsafe { usize::from((*entry).t_info) & pg_sys::INDEX_SIZE_MASK as usize }
}

/// # Safety
/// `page` is a page of a btree, not its metapage: its special space is a `BTPageOpaqueData`.
unsafe fn opaque(page: pg_sys::Page) -> *const PageOpaque {
    // SAFETY: by the caller.
    unsafe {
        let header = page.cast::<pg_sys::PageHeaderData>();
        page.add(usize::from((*header).pd_special)).cast()
    }
}

#[repr(C)]
pub struct Stack([u8; 0]);

unsafe extern "C-unwind" {
    // src/backend/access/nbtree/nbtsearch.c
    #[cfg(feature = "pg15")]
    fn _bt_search(
        index: pg_sys::Relation,
        key: *mut ScanInsert,
        buffer: *mut pg_sys::Buffer,
        access: i32,
        snapshot: pg_sys::Snapshot,
    ) -> *mut Stack;
    #[cfg(feature = "pg16")]
    fn _bt_search(
        index: pg_sys::Relation,
        heap: pg_sys::Relation,
        key: *mut ScanInsert,
        buffer: *mut pg_sys::Buffer,
        access: i32,
        snapshot: pg_sys::Snapshot,
    ) -> *mut Stack;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    fn _bt_search(
        index: pg_sys::Relation,
        heap: pg_sys::Relation,
        key: *mut ScanInsert,
        buffer: *mut pg_sys::Buffer,
        access: i32,
    ) -> *mut Stack;
    pub fn _bt_compare(
        index: pg_sys::Relation,
        key: *mut ScanInsert,
        page: pg_sys::Page,
        offset: pg_sys::OffsetNumber,
    ) -> i32;
    // src/backend/access/nbtree/nbtpage.c
    fn _bt_getbuf(
        index: pg_sys::Relation,
        block: pg_sys::BlockNumber,
        access: i32,
    ) -> pg_sys::Buffer;
    // src/backend/access/nbtree/nbtutils.c
    pub fn _bt_mkscankey(index: pg_sys::Relation, entry: pg_sys::IndexTuple) -> *mut ScanInsert;
    fn _bt_freestack(stack: *mut Stack);
    // src/backend/access/nbtree/nbtdedup.c
    pub fn _bt_form_posting(
        base: pg_sys::IndexTuple,
        tids: *const pg_sys::ItemPointerData,
        count: i32,
    ) -> pg_sys::IndexTuple;
    // src/backend/access/nbtree/nbtinsert.c
    pub fn _bt_doinsert(
        index: pg_sys::Relation,
        entry: pg_sys::IndexTuple,
        check: pg_sys::IndexUniqueCheck::Type,
        unchanged: bool,
        heap: pg_sys::Relation,
    ) -> bool;
    // src/backend/tcop/postgres.c
    fn ProcessInterrupts();
    // src/backend/utils/mmgr/mcxt.c
    pub fn pfree(pointer: *mut c_void);
    // src/backend/storage/lmgr/predicate.c
    pub fn CheckForSerializableConflictIn(
        relation: pg_sys::Relation,
        tid: pg_sys::ItemPointer,
        block: pg_sys::BlockNumber,
    );
    // src/backend/storage/buffer/bufmgr.c
    pub fn BufferGetBlockNumber(buffer: pg_sys::Buffer) -> pg_sys::BlockNumber;
    pub fn MarkBufferDirty(buffer: pg_sys::Buffer);
    pub fn UnlockReleaseBuffer(buffer: pg_sys::Buffer);
    // src/backend/storage/page/bufpage.c
    pub fn PageGetFreeSpace(page: pg_sys::Page) -> pg_sys::Size;
    pub fn PageAddItemExtended(
        page: pg_sys::Page,
        item: pg_sys::Item,
        size: pg_sys::Size,
        offset: pg_sys::OffsetNumber,
        flags: i32,
    ) -> pg_sys::OffsetNumber;
    // src/backend/access/transam/xloginsert.c; since 16 data is const and its length unsigned
    fn XLogBeginInsert();
    fn XLogRegisterData(data: *const u8, length: u32);
    fn XLogRegisterBuffer(id: u8, buffer: pg_sys::Buffer, flags: u8);
    fn XLogRegisterBufData(id: u8, data: *const u8, length: u32);
    fn XLogInsert(manager: pg_sys::RmgrId, info: u8) -> pg_sys::XLogRecPtr;
    // src/backend/access/transam/generic_xlog.c
    pub fn GenericXLogStart(relation: pg_sys::Relation) -> *mut pg_sys::GenericXLogState;
    pub fn GenericXLogRegisterBuffer(
        state: *mut pg_sys::GenericXLogState,
        buffer: pg_sys::Buffer,
        flags: i32,
    ) -> pg_sys::Page;
    pub fn GenericXLogFinish(state: *mut pg_sys::GenericXLogState) -> pg_sys::XLogRecPtr;
    pub fn GenericXLogAbort(state: *mut pg_sys::GenericXLogState);
}
