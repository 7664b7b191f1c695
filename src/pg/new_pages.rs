//! Whole new pages for a bulk statement's rows, on `PostgreSQL` 15; from 16 on `heap_multi_insert` extends in bulk by itself.
//!
//! 15 extends a table page by page, each with a write of 8 KB of zeros into the file: a bulk statement pays for its pages twice. Here the
//! file grows as in 16 (`mdzeroextend`, src/backend/storage/smgr/md.c): one `posix_fallocate` for many pages, which reserves the
//! space, so that a full disk is still told to the statement and not to a later checkpoint. The pages' buffers are made
//! beforehand, while they lie past the end of the file and nobody else can know them; `heap_multi_insert` takes each through the
//! bulk-insert state's current buffer. Whatever is not plain (a page that another session takes first, the end of a
//! segment, a file system that refuses) goes `PostgreSQL`'s own way.

use super::unwinding;
use pgrx::pg_sys;
use std::ops::Range;

/// `BulkInsertStateData` (src/include/access/hio.h).
#[repr(C)]
struct State {
    strategy: pg_sys::BufferAccessStrategy,
    current_buffer: pg_sys::Buffer,
}

const NONE: pg_sys::Buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
const MAIN: pg_sys::ForkNumber::Type = pg_sys::ForkNumber::MAIN_FORKNUM;
/// `BUFFER_LOCK_UNLOCK` (src/include/storage/bufmgr.h).
const UNLOCK: i32 = 0;
/// What rows and their line pointers share of a page.
const CAPACITY: usize =
    pg_sys::BLCKSZ as usize - std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
/// Just below `TOAST_TUPLE_THRESHOLD` (src/include/access/heaptoast.h).
const LONGEST: usize = 2000;

/// The pages of one statement.
pub(in crate::pg) struct NewPages {
    state: *mut State,
    /// What is left on the current page, in bytes.
    room: usize,
}

impl NewPages {
    /// Whether a batch is worth pages of its own.
    pub fn suit(tuples: &[pg_sys::HeapTuple]) -> bool {
        needed(tuples) >= 8 * CAPACITY && stay_in_line(tuples)
    }

    /// Starts in shared buffers, without a ring.
    pub fn new() -> Self {
        // SAFETY: the state lives in the current context, the caller's.
        let state = unsafe { pg_sys::GetBulkInsertState() }.cast::<State>();
        // SAFETY: our own state, which PostgreSQL 15 lays out so. No strategy is the default one.
        unsafe {
            pg_sys::FreeAccessStrategy((*state).strategy);
            (*state).strategy = std::ptr::null_mut();
        }
        Self { state, room: 0 }
    }

    /// Goes on in a ring of buffers.
    pub fn use_ring(&mut self) {
        // SAFETY: our own state; what it holds already stays.
        unsafe {
            if (*self.state).strategy.is_null() {
                (*self.state).strategy =
                    pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKWRITE);
            }
        }
    }

    /// Calls `insert` for runs of tuples that fill one page each, with the page as the state's current buffer.
    ///
    /// # Safety
    /// `table` is an open heap, locked for writing; the tuples are of its type, and `insert` stores those of its range there.
    pub unsafe fn fill(
        &mut self,
        table: pg_sys::Relation,
        tuples: &[pg_sys::HeapTuple],
        mut insert: impl FnMut(Range<usize>, pg_sys::BulkInsertState),
    ) {
        let state = self.state.cast();
        if !stay_in_line(tuples) {
            self.room = 0;
            insert(0..tuples.len(), state);
            return;
        }
        let (on_current, runs) = split(tuples, self.room);
        if on_current > 0 {
            insert(0..on_current, state);
        }
        if runs.is_empty() {
            self.room -= needed(&tuples[..on_current]);
            return;
        }
        self.room = 0;
        // SAFETY: by the caller.
        let buffers = unsafe { extend(table, runs.len(), (*self.state).strategy) };
        if buffers.is_empty() {
            insert(on_current..tuples.len(), state);
            return;
        }
        for (run, buffer) in runs.into_iter().zip(buffers) {
            self.room = CAPACITY - needed(&tuples[run.clone()]);
            // SAFETY: each holds a pin of ours; the state gives its own back before it takes another.
            unsafe {
                if (*self.state).current_buffer != NONE {
                    pg_sys::ReleaseBuffer((*self.state).current_buffer);
                }
                (*self.state).current_buffer = buffer;
            }
            insert(run, state);
            // SAFETY: our own state.
            if unsafe { (*self.state).current_buffer } != buffer {
                // Somebody else took the page first: PostgreSQL went on to another.
                self.room = 0;
            }
        }
    }
}

impl Drop for NewPages {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: made by us, given back once, with the pin and the ring that it holds.
            unsafe { pg_sys::FreeBulkInsertState(self.state.cast()) };
        }
    }
}

/// How many tuples go on the current page, and which on each new one.
fn split(tuples: &[pg_sys::HeapTuple], room: usize) -> (usize, Vec<Range<usize>>) {
    let mut on_current = None;
    let mut runs: Vec<Range<usize>> = Vec::new();
    let (mut start, mut left) = (0, room);
    for (position, tuple) in tuples.iter().enumerate() {
        let size = needed(std::slice::from_ref(tuple));
        if size > left {
            match on_current {
                None => on_current = Some(position),
                Some(_) => runs.push(start..position),
            }
            (start, left) = (position, CAPACITY);
        }
        left -= size;
    }
    match on_current {
        None => (tuples.len(), runs),
        Some(on_current) => {
            runs.push(start..tuples.len());
            (on_current, runs)
        }
    }
}

/// Whether all are stored as they are: longer ones go out of line first, which their length does not tell.
fn stay_in_line(tuples: &[pg_sys::HeapTuple]) -> bool {
    tuples.iter().all(|tuple| length(*tuple) <= LONGEST)
}

/// The bytes that tuples take of a page, with their line pointers.
fn needed(tuples: &[pg_sys::HeapTuple]) -> usize {
    let size = |tuple: &pg_sys::HeapTuple| {
        length(*tuple).next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize)
            + size_of::<pg_sys::ItemIdData>()
    };
    tuples.iter().map(size).sum()
}

fn length(tuple: pg_sys::HeapTuple) -> usize {
    // SAFETY: a tuple of the batch.
    unsafe { (*tuple).t_len as usize }
}

/// Extends the table by so many pages, all zeros; returns their buffers, pinned, or none where `PostgreSQL` has to do it.
///
/// # Safety
/// An open heap, locked for writing.
unsafe fn extend(
    table: pg_sys::Relation,
    count: usize,
    strategy: pg_sys::BufferAccessStrategy,
) -> Vec<pg_sys::Buffer> {
    let mut buffers = Vec::with_capacity(count);
    // a batch has far less than 2^32 pages
    let pages = count as pg_sys::BlockNumber;
    let lock = pg_sys::ExclusiveLock.cast_signed();
    // SAFETY: by the caller. Under the extension lock the file's end stays where it is, so that the blocks behind it are ours: their
    // buffers are made, clean and all zeros, before the file has them. An abort gives pins and lock back.
    unsafe {
        pg_sys::LockRelationForExtension(table, lock);
        let first = pg_sys::RelationGetNumberOfBlocksInFork(table, MAIN);
        if first / pg_sys::RELSEG_SIZE == (first + pages) / pg_sys::RELSEG_SIZE {
            for block in first..first + pages {
                let buffer = pg_sys::ReadBufferExtended(
                    table,
                    MAIN,
                    block,
                    pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK,
                    strategy,
                );
                pg_sys::LockBuffer(buffer, UNLOCK);
                buffers.push(buffer);
            }
            if !grow_file(table, first, pages) {
                for buffer in buffers.drain(..) {
                    pg_sys::ReleaseBuffer(buffer);
                }
            }
        }
        pg_sys::UnlockRelationForExtension(table, lock);
    }
    buffers
}

/// Reserves the pages in the relation's file; false where that failed: `PostgreSQL` will say why.
///
/// # Safety
/// An open heap whose extension lock is held; the pages belong to one segment.
unsafe fn grow_file(
    table: pg_sys::Relation,
    first: pg_sys::BlockNumber,
    pages: pg_sys::BlockNumber,
) -> bool {
    let page = i64::from(pg_sys::BLCKSZ);
    // SAFETY: by the caller; the path is palloc'd in the current context, the batch's.
    unsafe {
        let node = (*table).rd_node;
        let path = pg_sys::GetRelationPath(
            node.dbNode,
            node.spcNode,
            node.relNode,
            pg_sys::InvalidBackendId,
            MAIN,
        );
        let path = std::ffi::CStr::from_ptr(path).to_bytes();
        let segment = first / pg_sys::RELSEG_SIZE;
        let suffix = if segment == 0 {
            String::new()
        } else {
            format!(".{segment}")
        };
        let path = [path, suffix.as_bytes(), b"\0"].concat();
        let file = pg_sys::OpenTransientFile(path.as_ptr().cast(), libc::O_RDWR);
        if file < 0 {
            return false;
        }
        let failed = libc::posix_fallocate(
            file,
            i64::from(first % pg_sys::RELSEG_SIZE) * page,
            i64::from(pages) * page,
        ) != 0;
        pg_sys::CloseTransientFile(file);
        !failed
    }
}
