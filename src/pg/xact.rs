//! What is known of the running transaction.

use pgrx::pg_sys;

/// This backend's local transaction id: differs between any two transactions of one backend.
pub fn local_transaction_id() -> u32 {
    // SAFETY: MyProc is set in every backend that runs SQL.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        {
            (*pg_sys::MyProc).lxid
        }
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        {
            (*pg_sys::MyProc).vxid.lxid
        }
    }
}

/// The id of the command that is running: it grows with each command that writes, and never goes back within a
/// transaction (`src/backend/access/transam/xact.c`).
pub fn command_id() -> u32 {
    // SAFETY: plain read of transaction state; `false` does not mark the id as used.
    unsafe { pg_sys::GetCurrentCommandId(false) }
}

/// The same, marked as used: for what writes rows with it.
pub fn command_id_for_write() -> u32 {
    // SAFETY: triggers never run in parallel mode, where this would be refused.
    unsafe { pg_sys::GetCurrentCommandId(true) }
}

/// The top-level transaction's id with its epoch; assigns one if there is none yet.
pub fn top_transaction_id() -> u64 {
    // SAFETY: inside a transaction.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// The setting `lock_timeout`: milliseconds; 0 is none.
pub fn lock_timeout() -> i32 {
    // SAFETY: plain read of the setting's variable.
    unsafe { pg_sys::LockTimeout }
}

/// Whether the transaction has an id, that is, has written something.
pub fn has_id() -> bool {
    // SAFETY: inside a transaction.
    unsafe { pg_sys::GetTopFullTransactionIdIfAny().value != 0 }
}

/// The start of the transaction, equal to SQL `now()`: microseconds since 2000-01-01.
pub fn transaction_start() -> i64 {
    // SAFETY: inside a transaction.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// Wall clock: microseconds since 2000-01-01.
pub fn wall_clock() -> i64 {
    // SAFETY: no precondition.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// How deep subtransactions are nested: 1 outside of all of them.
pub fn nest_level() -> i32 {
    // SAFETY: plain read of transaction state.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() }
}

/// The running subtransaction's id.
pub fn subtransaction_id() -> u32 {
    // SAFETY: inside a transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Whether the subtransaction is still open (neither rolled back nor released).
pub fn subtransaction_is_active(id: u32) -> bool {
    // SAFETY: looks the id up on the transaction's own stack.
    unsafe { pg_sys::SubTransactionIsActive(id) }
}

/// Makes what was written so far visible to what follows.
pub fn command_counter_increment() {
    // SAFETY: inside a transaction, not in a parallel worker.
    unsafe { pg_sys::CommandCounterIncrement() }
}

/// Whether the caller's own BEGIN goes on after the running command: what is locked stays locked for long.
pub fn in_block() -> bool {
    // SAFETY: inside a transaction.
    unsafe { pg_sys::IsTransactionBlock() }
}

/// Sleeps for less than a second; an interrupt is seen afterwards.
pub fn pause(time: std::time::Duration) {
    // SAFETY: sleeps, woken early by a signal.
    unsafe { pg_sys::pg_usleep(time.as_micros().try_into().unwrap_or(1000)) }
}

/// Lets whoever waits for this processor have it now. A process that only computes keeps it for some milliseconds else, which is
/// longer than a COMMIT of somebody else takes. Where nobody waits, it costs less than a microsecond.
pub fn give_way() {
    std::thread::yield_now();
}

/// Refuses in a read-only transaction, as `PostgreSQL`'s own commands do.
pub fn prevent_if_read_only(command: &'static std::ffi::CStr) {
    // SAFETY: a static C string.
    unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) }
}

/// Lets the transaction's commit wait for its WAL to be on disk, where `synchronous_commit` is off.
pub fn commit_durably() {
    // SAFETY: plain read of the setting's variable.
    let is_off = unsafe { pg_sys::synchronous_commit } == 0;
    if is_off {
        super::guc::set(c"synchronous_commit", c"on", true);
    }
}

/// Lets the transaction's commit not wait for the disk: what a crash takes is made anew.
pub fn commit_lazily() {
    super::guc::set(c"synchronous_commit", c"off", true);
}

/// Sees to it that a snapshot is active while it lives. DETACH PARTITION … CONCURRENTLY calls event triggers in a transaction
/// that has none, and catalogs with long values cannot be written without.
pub struct ActiveSnapshot {
    pushed: bool,
}

impl ActiveSnapshot {
    pub fn ensure() -> Self {
        // SAFETY: inside a transaction; what is pushed is popped in Drop, or by the abort.
        let pushed = unsafe {
            let is_missing = !pg_sys::ActiveSnapshotSet();
            if is_missing {
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            }
            is_missing
        };
        Self { pushed }
    }
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        if self.pushed && !super::unwinding() {
            // SAFETY: pushed by us; snapshots nest.
            unsafe { pg_sys::PopActiveSnapshot() }
        }
    }
}
