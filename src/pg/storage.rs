//! The files of a table, page by page.

use super::heap_scan::blocks;
use super::relation::{OpenRelation, lock, lock_at_once};
use pgrx::pg_sys;

/// The files of a table that nobody else uses until the transaction ends.
pub struct Files(OpenRelation);

impl Files {
    /// Of a table or a TOAST table; None where somebody uses it at this very moment, where it is gone, or where this transaction itself
    /// has changed what the catalog says of it.
    pub fn at_once(oid: pg_sys::Oid) -> Option<Self> {
        if !lock_at_once(oid, lock::ACCESS_EXCLUSIVE) {
            return None;
        }
        let table = OpenRelation::try_table(oid, lock::NONE)?;
        let has_files = matches!(table.relation().kind(), 'r' | 't');
        (has_files && !is_of_this_transaction(oid)).then_some(Self(table))
    }

    /// How many pages they have.
    pub fn pages(&self) -> u32 {
        blocks(self.0.relation())
    }

    /// Gives all pages from this one on back to the file system, at once and for good: a transaction that is rolled back does not bring
    /// them back (`src/backend/catalog/storage.c`).
    pub fn shorten(&self, pages: u32) {
        if pages < self.pages() {
            // SAFETY: an open relation with files, ACCESS EXCLUSIVE locked until the transaction ends; fewer pages than it has. That these
            // files are this table's was committed before, so no rollback makes them another one's.
            unsafe { pg_sys::RelationTruncate(self.0.raw(), pages) }
        }
    }
}

/// Whether the running transaction, or one of its subtransactions, wrote what `pg_class` says of a relation.
pub fn is_of_this_transaction(oid: pg_sys::Oid) -> bool {
    // SAFETY: a syscache tuple is valid until it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return true;
        }
        let written_by = (*(*tuple).t_data).t_choice.t_heap.t_xmin;
        let is_ours = pg_sys::TransactionIdIsCurrentTransactionId(written_by);
        pg_sys::ReleaseSysCache(tuple);
        is_ours
    }
}
