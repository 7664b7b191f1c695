//! A temporary file of the transaction: on the temporary tablespaces, under `temp_file_limit`, gone at the transaction's end.

use super::unwinding;
use pgrx::pg_sys;

/// A file that is written once, then read from its start.
pub struct TempFile(*mut pg_sys::BufFile);

impl TempFile {
    pub fn new() -> Self {
        // SAFETY: inside a transaction, whose resource owner closes the file when an ERROR ends it, and whose context the file's
        // memory is taken from: the current one may be a row's, reset before the file is done with.
        unsafe {
            let current = pg_sys::MemoryContextSwitchTo(pg_sys::CurTransactionContext);
            let file = pg_sys::BufFileCreateTemp(false);
            pg_sys::MemoryContextSwitchTo(current);
            Self(file)
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        // SAFETY: an open file; the bytes are only read, though PostgreSQL 15 takes a mutable pointer.
        unsafe { pg_sys::BufFileWrite(self.0, bytes.as_ptr().cast_mut().cast(), bytes.len()) }
    }

    /// Goes back to the start, to read.
    pub fn rewind(&mut self) {
        const SEEK_SET: i32 = 0;
        // SAFETY: an open file; seeking to its start cannot fail, and flushes what was written.
        unsafe { pg_sys::BufFileSeek(self.0, 0, 0, SEEK_SET) };
    }

    /// Fills the buffer; false at the end of the file.
    pub fn read(&mut self, buffer: &mut [u8]) -> bool {
        // SAFETY: an open file and as many bytes as are asked for.
        let length =
            unsafe { pg_sys::BufFileRead(self.0, buffer.as_mut_ptr().cast(), buffer.len()) };
        length == buffer.len()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: opened by us, closed once.
            unsafe { pg_sys::BufFileClose(self.0) }
        }
    }
}
