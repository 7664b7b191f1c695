//! Locks on sub-objects of the extension that do not exist: what processes agree on by locks, without a table.
//!
//! They are held as advisory locks are: a session's lock outlives failed transactions, and ends with the session, however it ends
//! (an ordinary lock that a session holds stays behind when it exits between transactions). But they are locks on an object, which
//! no SQL function takes; and unlike a lock on the extension itself, they do not hold up DROP EXTENSION.

use pgrx::pg_sys;

/// What is locked.
#[derive(Clone, Copy)]
pub enum Agreement {
    /// Being the database's one background sealer: exclusive, for the session.
    Sealer = 0x5ea1,
    /// Restoring the log (for the session) against sealing it (for the transaction).
    Restore = 0x5ea2,
    /// Removing events, and saying which may be removed: exclusive, for the transaction.
    Retention = 0x5ea3,
    /// Summarising events, and voiding what was summarised: exclusive, for the transaction.
    Summaries = 0x5ea4,
}

/// How long a lock is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    TransactionEnds,
    SessionEnds,
}

/// The extension's OID in this database.
pub fn extension() -> Option<pg_sys::Oid> {
    // SAFETY: a C string; `true`: missing is fine.
    let oid = unsafe { pg_sys::get_extension_oid(c"pg_attest".as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Takes a lock; `wait` false: only if that is possible at once. False when it was not.
pub fn lock(
    extension: pg_sys::Oid,
    what: Agreement,
    mode: pg_sys::LOCKMODE,
    until: Until,
    wait: bool,
) -> bool {
    // SAFETY: SET_LOCKTAG_OBJECT, a macro in C; the lock manager copies the tag.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::MyDatabaseId.to_u32(),
            locktag_field2: pg_sys::ExtensionRelationId.to_u32(),
            locktag_field3: extension.to_u32(),
            locktag_field4: what as u16,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        };
        let for_session = until == Until::SessionEnds;
        let taken = pg_sys::LockAcquire(&raw const tag, mode, for_session, !wait);
        taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}
