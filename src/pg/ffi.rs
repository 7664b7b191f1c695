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

/// What hooks pass on to. Not guarded: as an ERROR of a user's statement goes through a guard, it loses its SQLSTATE, context,
/// constraint and position. It jumps over the hook's frame instead, which must have nothing to drop.
pub mod standard {
    use pgrx::pg_sys;

    unsafe extern "C-unwind" {
        /// `src/backend/executor/execMain.c`
        #[link_name = "standard_ExecutorStart"]
        pub fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32);
        /// `src/backend/executor/execMain.c`
        #[link_name = "standard_ExecutorFinish"]
        pub fn executor_finish(query: *mut pg_sys::QueryDesc);
        /// `src/backend/tcop/utility.c`
        #[link_name = "standard_ProcessUtility"]
        pub fn process_utility(
            statement: *mut pg_sys::PlannedStmt,
            text: *const std::ffi::c_char,
            read_only_tree: bool,
            context: pg_sys::ProcessUtilityContext::Type,
            params: pg_sys::ParamListInfo,
            environment: *mut pg_sys::QueryEnvironment,
            dest: *mut pg_sys::DestReceiver,
            completion: *mut pg_sys::QueryCompletion,
        );
    }
}

unsafe extern "C-unwind" {
    /// `src/backend/utils/adt/varlena.c`: 0 is escape, 1 is hex.
    pub static mut bytea_output: i32;
}
