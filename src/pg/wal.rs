//! The write-ahead log that this backend writes.

use super::query;
use crate::error::Result;
use pgrx::pg_sys;

/// Bytes that this backend has written to it since it began, those of full pages included.
pub fn written() -> u64 {
    // SAFETY: plain read of the backend's own counters (src/backend/executor/instrument.c).
    unsafe { pg_sys::pgWalUsage.wal_bytes }
}

/// Waits until the disk has taken a record written now: whatever keeps it busy is over then.
pub fn wait_for_disk() -> Result<()> {
    query::run(
        "SELECT pg_catalog.pg_logical_emit_message(false, 'pg_attest', '')",
        &[],
    )?;
    flush();
    Ok(())
}

/// Sends all of it to disk, as a commit would.
pub fn flush() {
    // SAFETY: the end of a record that this backend wrote, or 0; XLogFlush() waits for others that are still copying theirs.
    unsafe { pg_sys::XLogFlush(pg_sys::XactLastRecEnd) }
}
