//! Commands that concern the background workers: those that need a database for themselves, and CREATE EXTENSION.

use super::cell::Backend;
use super::query::{self, Arg};
use super::role::ActAsSuperuser;
use super::worker::{LAUNCHER, SEALER};
use crate::error::{Result, or_raise};
use pgrx::{PgXactCallbackEvent, pg_guard, pg_sys, register_xact_callback};
use std::cell::Cell;
use std::ffi::CStr;

static PREVIOUS: Backend<Cell<pg_sys::ProcessUtility_hook_type>> = Backend::cell(None);

/// Installs the hook; called once, in the postmaster, and inherited by its children.
pub fn init() {
    // SAFETY: at load time, in the one thread.
    unsafe {
        PREVIOUS.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const std::ffi::c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL's own arguments are passed on as they came; a statement's node is read by its tag.
    unsafe {
        let node = (*statement).utilityStmt;
        if let Some(database) = needs_for_itself(node) {
            or_raise(end_sealer(&database));
        }
        let is_creation = creates_extension(node);
        match PREVIOUS.get() {
            Some(previous) => previous(
                statement,
                text,
                read_only_tree,
                context,
                params,
                environment,
                dest,
                completion,
            ),
            None => pg_sys::standard_ProcessUtility(
                statement,
                text,
                read_only_tree,
                context,
                params,
                environment,
                dest,
                completion,
            ),
        }
        if is_creation {
            or_raise(wake_launcher());
        }
    }
}

/// The database that no other session may be connected to while the command runs.
///
/// # Safety
/// `node` is a live utility statement.
unsafe fn needs_for_itself(node: *mut pg_sys::Node) -> Option<String> {
    // SAFETY: by the caller; the tag is checked before the cast, names are C strings or NULL.
    unsafe {
        let name = match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => (*node.cast::<pg_sys::DropdbStmt>()).dbname,
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                (*rename).subname
            }
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                let alter = node.cast::<pg_sys::AlterDatabaseStmt>();
                option(node_list((*alter).options), c"tablespace")?;
                (*alter).dbname
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                let create = node.cast::<pg_sys::CreatedbStmt>();
                option(node_list((*create).options), c"template")?
            }
            _ => return None,
        };
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// # Safety
/// `list` is NIL or a list of nodes.
unsafe fn node_list<'a>(list: *mut pg_sys::List) -> &'a [pg_sys::ListCell] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: by the caller.
    unsafe { std::slice::from_raw_parts((*list).elements, (*list).length as usize) }
}

/// The string value of an option.
///
/// # Safety
/// The cells are `DefElem` nodes.
unsafe fn option(options: &[pg_sys::ListCell], name: &CStr) -> Option<*mut std::ffi::c_char> {
    // SAFETY: by the caller; defGetString returns a C string.
    unsafe {
        options.iter().find_map(|cell| {
            let element = cell.ptr_value.cast::<pg_sys::DefElem>();
            let found = CStr::from_ptr((*element).defname) == name && !(*element).arg.is_null();
            found.then(|| pg_sys::defGetString(element))
        })
    }
}

/// # Safety
/// `node` is a live utility statement.
unsafe fn creates_extension(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by the caller; the tag is checked before the cast.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_CreateExtensionStmt
            && CStr::from_ptr((*node.cast::<pg_sys::CreateExtensionStmt>()).extname) == c"pg_attest"
    }
}

/// Ends the sealer of a database, if the caller may do with the database what he is about to do. `PostgreSQL` itself then waits up
/// to five seconds for it to be gone.
fn end_sealer(database: &str) -> Result<()> {
    let may = query::rows(
        "SELECT FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
         WHERE d.datname OPERATOR(pg_catalog.=) $1 AND r.rolname OPERATOR(pg_catalog.=) current_user \
           AND (r.rolsuper OR pg_catalog.pg_has_role(d.datdba, 'USAGE'))",
        &[Arg::Text(database)],
    )?;
    if may.is_empty() {
        return Ok(());
    }
    let _superuser = ActAsSuperuser::new();
    query::rows(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE backend_type OPERATOR(pg_catalog.=) $2 AND datname OPERATOR(pg_catalog.=) $1",
        &[Arg::Text(database), Arg::Text(SEALER)],
    )
    .map(drop)
}

unsafe extern "C" {
    /// `kill(2)`
    fn kill(pid: i32, signal: i32) -> i32;
}

/// Wakes the launcher once the extension is there for all.
fn wake_launcher() -> Result<()> {
    let _superuser = ActAsSuperuser::new();
    let found = query::rows(
        "SELECT pid FROM pg_catalog.pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) $1",
        &[Arg::Text(LAUNCHER)],
    )?;
    let pid = found
        .iter()
        .find_map(|row| row.first()?.as_ref()?.parse::<i32>().ok());
    if let Some(pid) = pid {
        register_xact_callback(PgXactCallbackEvent::Commit, move || {
            // SAFETY: a signal that the launcher handles; should it be gone, there is nothing to wake.
            unsafe {
                kill(pid, pg_sys::SIGHUP as i32);
            }
        });
    }
    Ok(())
}
