//! Functions of `PostgreSQL` that pgrx does not bind, guarded like its own bindings: an ERROR inside becomes a Rust panic, which
//! unwinds our frames in order, instead of a jump over them.

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

/// Declares the C functions and a guarded wrapper of each.
macro_rules! guarded {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        mod raw {
            use pgrx::pg_sys;
            unsafe extern "C-unwind" {
                $($(#[$meta])* pub fn $name($($arg: $type),*) $(-> $result)?;)*
            }
        }
        $(
            $(#[$meta])*
            ///
            /// # Safety
            /// As the C function's.
            pub unsafe fn $name($($arg: $type),*) $(-> $result)? {
                // SAFETY: by the caller; the boundary turns a longjmp into a panic.
                unsafe { pg_guard_ffi_boundary(|| raw::$name($($arg),*)) }
            }
        )*
    };
}

guarded! {
    /// `src/backend/commands/sequence.c`
    fn nextval_internal(relid: pg_sys::Oid, check_permissions: bool) -> i64;
    /// `src/backend/utils/adt/datum.c`
    fn datum_image_eq(a: pg_sys::Datum, b: pg_sys::Datum, by_value: bool, length: i32) -> bool;
    /// `src/backend/catalog/partition.c`
    fn get_partition_ancestors(relid: pg_sys::Oid) -> *mut pg_sys::List;
    /// `src/backend/catalog/pg_inherits.c`
    fn find_all_inheritors(parent: pg_sys::Oid, lockmode: pg_sys::LOCKMODE, numparents: *mut *mut pg_sys::List) -> *mut pg_sys::List;
    /// `src/backend/rewrite/rewriteHandler.c`, PostgreSQL 18
    #[cfg(feature = "pg18")]
    fn build_generation_expression(rel: pg_sys::Relation, attrno: i32) -> *mut pg_sys::Node;
}

unsafe extern "C-unwind" {
    /// `src/backend/utils/adt/varlena.c`: 0 is escape, 1 is hex.
    pub static mut bytea_output: i32;
}
