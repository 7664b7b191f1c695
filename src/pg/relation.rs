//! Open relations and what the relcache knows of them.

use super::unwinding;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Heavyweight lock modes (`src/include/storage/lockdefs.h`).
pub mod lock {
    use pgrx::pg_sys;

    pub const NONE: pg_sys::LOCKMODE = pg_sys::NoLock.cast_signed();
    pub const ACCESS_SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock.cast_signed();
    pub const ROW_EXCLUSIVE: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock.cast_signed();
    pub const SHARE: pg_sys::LOCKMODE = pg_sys::ShareLock.cast_signed();
    pub const EXCLUSIVE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock.cast_signed();
    pub const SHARE_UPDATE_EXCLUSIVE: pg_sys::LOCKMODE =
        pg_sys::ShareUpdateExclusiveLock.cast_signed();
    pub const SHARE_ROW_EXCLUSIVE: pg_sys::LOCKMODE = pg_sys::ShareRowExclusiveLock.cast_signed();
    pub const ACCESS_EXCLUSIVE: pg_sys::LOCKMODE = pg_sys::AccessExclusiveLock.cast_signed();
}

/// Takes a lock if that is possible at once: nobody queues behind it. It is held until the transaction ends.
pub fn lock_at_once(relation: pg_sys::Oid, mode: pg_sys::LOCKMODE) -> bool {
    // SAFETY: the lock manager takes any OID.
    unsafe { pg_sys::ConditionalLockRelationOid(relation, mode) }
}

/// The attribute with this zero-based index.
///
/// # Safety
/// `tupdesc` is live and has more than `index` attributes.
pub(in crate::pg) unsafe fn attribute(
    tupdesc: pg_sys::TupleDesc,
    index: usize,
) -> pg_sys::Form_pg_attribute {
    // SAFETY: by the caller.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            (*tupdesc).attrs.as_mut_ptr().add(index)
        }
        #[cfg(feature = "pg18")]
        {
            // TupleDescAttr: the full attributes follow the compact ones (src/include/access/tupdesc.h).
            let natts = (*tupdesc).natts as usize;
            (*tupdesc)
                .compact_attrs
                .as_mut_ptr()
                .add(natts)
                .cast::<pg_sys::FormData_pg_attribute>()
                .add(index)
        }
    }
}

/// A relation that someone keeps open: the executor's while a trigger runs, or our own.
#[derive(Clone, Copy)]
pub struct RelationRef<'a> {
    raw: pg_sys::Relation,
    _open: std::marker::PhantomData<&'a ()>,
}

impl RelationRef<'_> {
    /// # Safety
    /// `raw` is open for as long as `'a`.
    pub(in crate::pg) unsafe fn new<'a>(raw: pg_sys::Relation) -> RelationRef<'a> {
        RelationRef {
            raw,
            _open: std::marker::PhantomData,
        }
    }

    pub(in crate::pg) fn raw(self) -> pg_sys::Relation {
        self.raw
    }

    pub fn oid(self) -> pg_sys::Oid {
        // SAFETY: open relation.
        unsafe { (*self.raw).rd_id }
    }

    /// How many attributes it has, dropped ones included.
    pub fn attribute_count(self) -> usize {
        // SAFETY: open relation.
        unsafe { (*(*self.raw).rd_att).natts as usize }
    }

    fn class(self) -> pg_sys::Form_pg_class {
        // SAFETY: open relation.
        unsafe { (*self.raw).rd_rel }
    }

    pub fn name(self) -> String {
        // SAFETY: open relation.
        unsafe {
            CStr::from_ptr((*self.class()).relname.data.as_ptr())
                .to_string_lossy()
                .into_owned()
        }
    }

    pub fn namespace(self) -> pg_sys::Oid {
        // SAFETY: open relation.
        unsafe { (*self.class()).relnamespace }
    }

    /// `pg_class.relkind`.
    pub fn kind(self) -> char {
        // SAFETY: open relation.
        unsafe { char::from((*self.class()).relkind as u8) }
    }

    /// `pg_class.relpersistence`: p, u or t.
    pub fn persistence(self) -> char {
        // SAFETY: open relation.
        unsafe { char::from((*self.class()).relpersistence as u8) }
    }

    pub fn is_partition(self) -> bool {
        // SAFETY: open relation.
        unsafe { (*self.class()).relispartition }
    }

    /// Zero-based positions of the columns of the primary key (deferrable or not), else of the replica identity index;
    /// empty without either.
    pub fn key_columns(self) -> Vec<usize> {
        // SAFETY: open relation; RelationGetIndexList also fills rd_replidindex.
        let (indexes, replica_identity) = unsafe {
            let list = pg_sys::RelationGetIndexList(self.raw);
            (super::catalog::take_oids(list), (*self.raw).rd_replidindex)
        };
        let lock = lock::ACCESS_SHARE;
        let mut fallback = Vec::new();
        for oid in indexes {
            let opened = OpenRelation::index(oid, lock);
            // SAFETY: an open index has rd_index; indkey has indnkeyatts entries at least.
            let (is_primary, columns) = unsafe {
                let form = (*opened.raw).rd_index;
                let keys = (*form).indkey.values.as_slice((*form).indnkeyatts as usize);
                let columns: Vec<usize> = keys
                    .iter()
                    .filter(|key| **key > 0)
                    .map(|key| *key as usize - 1)
                    .collect();
                ((*form).indisprimary, columns)
            };
            if is_primary {
                return columns;
            }
            if oid == replica_identity {
                fallback = columns;
            }
        }
        fallback
    }
}

/// A relation that we opened, closed with the value. The lock stays until the transaction ends, as `PostgreSQL`'s own writers keep it.
pub struct OpenRelation {
    raw: pg_sys::Relation,
    is_index: bool,
}

impl OpenRelation {
    /// Opens any relation; raises `PostgreSQL`'s error when it does not exist.
    pub fn table(oid: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> Self {
        // SAFETY: relation_open checks the OID.
        let raw = unsafe { pg_sys::relation_open(oid, lock) };
        Self {
            raw,
            is_index: false,
        }
    }

    /// Opens any relation, None when it is gone.
    pub fn try_table(oid: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> Option<Self> {
        // SAFETY: try_relation_open checks the OID.
        let raw = unsafe { pg_sys::try_relation_open(oid, lock) };
        // Not `then_some`: a `Self` made for nothing would close NULL.
        (!raw.is_null()).then(|| Self {
            raw,
            is_index: false,
        })
    }

    /// Opens an index.
    pub fn index(oid: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> Self {
        // SAFETY: index_open checks the OID and that it is an index.
        let raw = unsafe { pg_sys::index_open(oid, lock) };
        Self {
            raw,
            is_index: true,
        }
    }

    pub fn relation(&self) -> RelationRef<'_> {
        // SAFETY: open as long as `self`.
        unsafe { RelationRef::new(self.raw) }
    }

    pub(in crate::pg) fn raw(&self) -> pg_sys::Relation {
        self.raw
    }
}

impl Drop for OpenRelation {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: opened by us, closed once.
            unsafe {
                if self.is_index {
                    pg_sys::index_close(self.raw, lock::NONE);
                } else {
                    pg_sys::relation_close(self.raw, lock::NONE);
                }
            }
        }
    }
}

impl RelationRef<'_> {
    /// The names of the columns that were added with a default which older rows have without being written (`atthasmissing`).
    pub fn columns_with_missing(self) -> Vec<String> {
        let names = self.column_names().into_iter().enumerate();
        names
            .filter(|(index, name)| {
                // SAFETY: open relation, index below its number of attributes.
                let missing = unsafe { (*attribute((*self.raw).rd_att, *index)).atthasmissing };
                missing && !name.is_empty()
            })
            .map(|(_, name)| name)
            .collect()
    }

    /// The names of its columns in order, dropped ones as empty strings.
    pub fn column_names(self) -> Vec<String> {
        (0..self.attribute_count())
            .map(|index| {
                // SAFETY: open relation, index below its number of attributes.
                unsafe {
                    let attribute = attribute((*self.raw).rd_att, index);
                    if (*attribute).attisdropped {
                        String::new()
                    } else {
                        CStr::from_ptr((*attribute).attname.data.as_ptr())
                            .to_string_lossy()
                            .into_owned()
                    }
                }
            })
            .collect()
    }
}
