//! What tells this server and this database from all others.

use pgrx::pg_sys;

/// The cluster's system identifier, made by initdb.
pub fn system_identifier() -> u64 {
    // SAFETY: set before any backend starts.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// The timeline that WAL is written on; None on a standby.
pub fn timeline() -> Option<u32> {
    // SAFETY: GetWALInsertionTimeLine is for servers that are not in recovery.
    unsafe { (!pg_sys::RecoveryInProgress()).then(|| pg_sys::GetWALInsertionTimeLine()) }
}

/// Whether the server is a standby.
pub fn in_recovery() -> bool {
    // SAFETY: no precondition.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// This database's OID.
pub fn database() -> u32 {
    // SAFETY: set once a backend is connected.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}
