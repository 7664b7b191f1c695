//! Commands that are not queries: what waits is written before they run (`held`). Some concern the background workers: those that
//! need a database for themselves, and CREATE EXTENSION.

use super::catalog;
use super::cell::Backend;
use super::ffi::standard;
use super::held;
use super::query::{self, Arg};
use super::role::ActAsSuperuser;
use super::worker::{LAUNCHER, SEALER};
use crate::error::{Result, or_raise};
use pgrx::{PgXactCallbackEvent, pg_guard, pg_sys, register_xact_callback};
use std::cell::Cell;
use std::ffi::CStr;

static PREVIOUS: Backend<Cell<pg_sys::ProcessUtility_hook_type>> = Backend::cell(None);

/// Whether there are background workers: the library was loaded by the postmaster.
static HAS_WORKERS: Backend<Cell<bool>> = Backend::cell(false);

/// Installs the hook; called once, when the library is loaded.
pub fn init() {
    // SAFETY: at load time, in the one thread.
    unsafe {
        PREVIOUS.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

/// From now on commands look after the workers too; called in the postmaster, and inherited by its children.
pub fn mind_workers() {
    HAS_WORKERS.set(true);
}

/// Not guarded, and with nothing to drop: `ffi::standard` tells why.
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
    // SAFETY: PostgreSQL's own arguments are passed on as they came.
    unsafe {
        let node = (*statement).utilityStmt;
        let was_inside = before_command(node);
        let is_creation = HAS_WORKERS.get() && creates_extension(node);
        let next = PREVIOUS.get().unwrap_or(standard::process_utility);
        next(
            statement,
            text,
            read_only_tree,
            context,
            params,
            environment,
            dest,
            completion,
        );
        held::after_command(was_inside);
        if is_creation {
            after_creation();
        }
    }
}

/// What `held::before_command` answers.
#[pg_guard]
unsafe extern "C-unwind" fn before_command(node: *mut pg_sys::Node) -> bool {
    // SAFETY: a live utility statement, read by its tag.
    unsafe {
        if HAS_WORKERS.get()
            && let Some((database, needs)) = needs_for_itself(node)
        {
            or_raise(end_sealer(&database, &needs));
        }
        held::before_command(node)
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn after_creation() {
    or_raise(wake_launcher());
}

/// What a command takes beside ownership of the database.
enum Needs {
    Nothing,
    /// The right to create databases.
    CreateDb,
    /// The right to create something in this tablespace, which the database is not in yet.
    Tablespace(String),
}

/// The database that no other session may be connected to while the command runs, and what the command takes.
///
/// # Safety
/// `node` is a live utility statement.
unsafe fn needs_for_itself(node: *mut pg_sys::Node) -> Option<(String, Needs)> {
    // SAFETY: by the caller; the tag is checked before the cast, names are C strings or NULL.
    unsafe {
        let text = |name: *mut std::ffi::c_char| {
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        };
        let (name, needs) = match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => {
                let drop = node.cast::<pg_sys::DropdbStmt>();
                ((*drop).dbname, Needs::Nothing)
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                ((*rename).subname, Needs::CreateDb)
            }
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                let alter = node.cast::<pg_sys::AlterDatabaseStmt>();
                let tablespace = option(catalog::cells((*alter).options), c"tablespace")?;
                ((*alter).dbname, Needs::Tablespace(text(tablespace)?))
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                let create = node.cast::<pg_sys::CreatedbStmt>();
                let template = option(catalog::cells((*create).options), c"template")?;
                (template, Needs::CreateDb)
            }
            _ => return None,
        };
        Some((text(name)?, needs))
    }
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
fn end_sealer(database: &str, needs: &Needs) -> Result<()> {
    let (create, tablespace) = match needs {
        Needs::Nothing => (false, None),
        Needs::CreateDb => (true, None),
        Needs::Tablespace(name) => (false, Some(name.as_str())),
    };
    let may = query::rows(
        "SELECT FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
         WHERE d.datname OPERATOR(pg_catalog.=) $1 AND r.rolname OPERATOR(pg_catalog.=) current_user \
           AND (r.rolsuper OR pg_catalog.pg_has_role(d.datdba, 'USAGE')) \
           AND (r.rolsuper OR r.rolcreatedb OR NOT $2::pg_catalog.bool) \
           AND ($3 OPERATOR(pg_catalog.=) '' OR EXISTS (SELECT FROM pg_catalog.pg_tablespace t \
             WHERE t.spcname OPERATOR(pg_catalog.=) $3 AND t.oid OPERATOR(pg_catalog.<>) d.dattablespace \
               AND pg_catalog.has_tablespace_privilege(t.oid, 'CREATE')))",
        &[
            Arg::Text(database),
            Arg::Text(if create { "true" } else { "false" }),
            Arg::Text(tablespace.unwrap_or_default()),
        ],
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
