//! Rows that wait for their transaction's end.
//!
//! A transaction of several small statements would write the log's heap and each of its indexes once a statement. Instead its rows wait
//! in memory, and go into the log together when the transaction commits or is prepared, or before somebody looks.
//!
//! Invariants:
//! - Nobody can tell: before a query that reads a relation of the schema audit, before a parallel one, before any command that is not
//!   a query (DDL, COPY, SAVEPOINT …), and before our own code reads a table (`Snapshot::latest`), what waits is written. Other transactions
//!   see it with the commit, as ever.
//! - Rows wait at the outermost level alone: what a subtransaction captures is written at once, for it may be rolled back. A reader
//!   inside a subtransaction sees rows from outside it, which are written there; they stay in memory (`Parked`) until the subtransaction
//!   has committed: if it is rolled back, they are written again.
//! - The table stays open and locked while rows wait, owned by the transaction, so that nobody changes it or its indexes.
//! - Each row is stamped with the id of its own command, so that an older snapshot of the transaction's (a STABLE function's, a cursor's) sees
//!   what it should.
//! - At most a batch waits: a statement that writes one leaves nothing behind.

use super::catalog;
use super::cell::Backend;
use super::ffi::standard;
use super::heap::{Appender, Parked};
use super::index_plan::IndexPlans;
use super::relation::OpenRelation;
use super::tuple::Field;
use super::xact::{self, ActiveSnapshot};
use pgrx::{pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;

/// What waits.
enum Held {
    /// Rows of an open table.
    Open(Appender),
    /// Rows that a subtransaction had to write, if it is still open, with its id.
    Parked(Parked, Option<pg_sys::SubTransactionId>),
}

static HELD: Backend<RefCell<Option<Held>>> = Backend::refcell(None);
/// The transaction in which nothing waits any more: it is committing, or somebody looked from a subtransaction.
static AT_ONCE: Backend<Cell<u32>> = Backend::cell(0);
/// A command that is not a query is running: what its triggers change is written at once, for it may be about our own tables. An error
/// may leave this on until the transaction ends.
static IN_COMMAND: Backend<Cell<bool>> = Backend::cell(false);
/// The transaction is being rolled back: its resources go without us.
static ABANDONING: Backend<Cell<bool>> = Backend::cell(false);

/// Whether rows that are dropped now belong to a transaction that is being rolled back.
pub(in crate::pg) fn is_abandoning() -> bool {
    ABANDONING.get()
}

/// Whether what is captured now may wait.
pub fn may_wait() -> bool {
    xact::nest_level() == 1 && !IN_COMMAND.get() && AT_ONCE.get() != xact::local_transaction_id()
}

/// Whether the table of this transaction's waiting rows is open, so that rows can be added.
pub fn is_open() -> bool {
    matches!(*HELD.borrow(), Some(Held::Open(_)))
}

/// Opens the table that rows are to wait for. `open` finds it, with locks that last as long as the transaction.
///
/// # Errors
/// Those of `open`.
pub fn open<E>(open: impl FnOnce() -> Result<(OpenRelation, Rc<IndexPlans>), E>) -> Result<(), E> {
    write();
    let _owned = OwnedByTransaction::enter();
    let (table, plans) = open()?;
    // SAFETY: inside a transaction; the context outlives all that waits.
    let previous = unsafe { pg_sys::MemoryContextSwitchTo(pg_sys::TopTransactionContext) };
    let appender = Appender::new(table, plans, 0);
    // SAFETY: what was current before.
    unsafe { pg_sys::MemoryContextSwitchTo(previous) };
    HELD.replace(Some(Held::Open(appender)));
    Ok(())
}

/// Adds a row of the running command; false where no table is open.
pub fn append<const N: usize>(command: u32, fields: &[Field<'_>; N]) -> bool {
    let mut held = HELD.borrow_mut();
    let Some(Held::Open(appender)) = held.as_mut() else {
        return false;
    };
    let _owned = OwnedByTransaction::enter();
    appender.stamp(command);
    appender.append(fields);
    true
}

/// A statement has added all its rows. One that wrote a batch leaves none behind: it holds what lives no longer than the statement.
pub fn end_statement() {
    let is_large = matches!(&*HELD.borrow(), Some(Held::Open(appender)) if appender.has_written());
    if is_large {
        write();
    }
}

/// Writes what waits, if it is not written yet. Nothing waits while a query is parallel.
pub fn write() {
    if !anything() {
        return;
    }
    let is_outermost = xact::nest_level() == 1;
    let held = HELD.take();
    let parked = match held {
        None => return,
        Some(Held::Open(appender)) if is_outermost => {
            let _owned = OwnedByTransaction::enter();
            let _snapshot = appender.needs_snapshot().then(ActiveSnapshot::ensure);
            appender.finish();
            return;
        }
        Some(Held::Open(appender)) => {
            AT_ONCE.set(xact::local_transaction_id());
            let _owned = OwnedByTransaction::enter();
            appender.park()
        }
        Some(Held::Parked(parked, Some(written_in))) => {
            HELD.replace(Some(Held::Parked(parked, Some(written_in))));
            return;
        }
        Some(Held::Parked(parked, None)) => parked,
    };
    let _snapshot = ActiveSnapshot::ensure();
    if is_outermost {
        parked.write();
    } else {
        // Kept before it is written: the subtransaction may fail in between.
        HELD.replace(Some(Held::Parked(parked, None)));
        if let Some(Held::Parked(parked, written_in)) = HELD.borrow_mut().as_mut() {
            parked.write();
            *written_in = Some(xact::subtransaction_id());
        }
    }
}

/// While it lives, what is opened and closed belongs to the transaction, not to the running statement.
struct OwnedByTransaction(pg_sys::ResourceOwner);

impl OwnedByTransaction {
    fn enter() -> Self {
        // SAFETY: inside a transaction there is an owner of its own; after an error PostgreSQL sets the current one itself.
        unsafe {
            let previous = pg_sys::CurrentResourceOwner;
            pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
            Self(previous)
        }
    }
}

impl Drop for OwnedByTransaction {
    fn drop(&mut self) {
        // SAFETY: the owner that was current before lives on: owners nest.
        unsafe { pg_sys::CurrentResourceOwner = self.0 };
    }
}

static PREVIOUS_START: Backend<Cell<pg_sys::ExecutorStart_hook_type>> = Backend::cell(None);

/// Installs hook and callbacks; called once, when the library is loaded.
pub fn init() {
    // SAFETY: at load time, in the one thread; the library is never unloaded.
    unsafe {
        PREVIOUS_START.set(pg_sys::ExecutorStart_hook);
        pg_sys::ExecutorStart_hook = Some(executor_start);
        pg_sys::RegisterXactCallback(Some(transaction_event), ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_event), ptr::null_mut());
    }
}

/// The table that rows wait for.
fn table() -> pg_sys::Oid {
    match HELD.try_borrow().as_deref() {
        Ok(Some(Held::Open(appender))) => appender.table(),
        Ok(Some(Held::Parked(parked, _))) => parked.table(),
        _ => pg_sys::InvalidOid,
    }
}

fn anything() -> bool {
    HELD.try_borrow().is_ok_and(|held| held.is_some())
}

/// Not guarded, and with nothing to drop: `ffi::standard` tells why.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: PostgreSQL's own arguments are passed on as they came.
    unsafe {
        if anything() {
            before_query((*query).plannedstmt);
        }
        let next = PREVIOUS_START.get().unwrap_or(standard::executor_start);
        next(query, flags);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn before_query(plan: *mut pg_sys::PlannedStmt) {
    // SAFETY: a live plan.
    if unsafe { may_look(&*plan) } {
        write();
    }
}

/// Whether a query may read what waits: it names a relation of the schema audit, or the table, wherever that is; or it is parallel: then
/// nothing can be written while it runs.
///
/// # Safety
/// A live plan.
unsafe fn may_look(plan: &pg_sys::PlannedStmt) -> bool {
    if plan.parallelModeNeeded {
        return true;
    }
    let audit = catalog::namespace_oid(c"audit");
    let table = table();
    // SAFETY: by the caller; a list of OIDs.
    unsafe {
        catalog::cells(plan.relationOids).iter().any(|cell| {
            cell.oid_value == table || audit == Some(pg_sys::get_rel_namespace(cell.oid_value))
        })
    }
}

/// Before a command; returns what `after_command` has to know.
///
/// # Safety
/// `node` is a live utility statement.
pub(in crate::pg) unsafe fn before_command(node: *mut pg_sys::Node) -> bool {
    let was_inside = IN_COMMAND.get();
    // SAFETY: by the caller.
    if !unsafe { only_runs_queries(node) } {
        write();
        IN_COMMAND.set(true);
    }
    was_inside
}

/// After it.
pub(in crate::pg) fn after_command(was_inside: bool) {
    IN_COMMAND.set(was_inside);
}

/// Commands that touch no table, but for queries that they run; and those that end a transaction, which calls us back, or begin one.
///
/// # Safety
/// `node` is a live utility statement.
unsafe fn only_runs_queries(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag;
    // SAFETY: by the caller; the tag is checked before the cast.
    unsafe {
        match (*node).type_ {
            NodeTag::T_TransactionStmt => {
                (*node.cast::<pg_sys::TransactionStmt>()).kind
                    != pg_sys::TransactionStmtKind::TRANS_STMT_SAVEPOINT
            }
            NodeTag::T_ExecuteStmt
            | NodeTag::T_PrepareStmt
            | NodeTag::T_DeallocateStmt
            | NodeTag::T_DeclareCursorStmt
            | NodeTag::T_FetchStmt
            | NodeTag::T_ClosePortalStmt
            | NodeTag::T_CallStmt
            | NodeTag::T_DoStmt
            | NodeTag::T_VariableSetStmt
            | NodeTag::T_VariableShowStmt => true,
            _ => false,
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(
    event: pg_sys::XactEvent::Type,
    _arg: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => {
            AT_ONCE.set(xact::local_transaction_id());
            // Nobody of this transaction looks any more: all rows can have one command's id.
            if let Some(Held::Open(appender)) = HELD.borrow_mut().as_mut() {
                appender.forget_commands();
            }
            write();
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            IN_COMMAND.set(false);
            abandon();
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            IN_COMMAND.set(false);
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    let Ok(mut held) = HELD.try_borrow_mut() else {
        return;
    };
    let Some(Held::Parked(_, written_in)) = held.as_mut() else {
        return;
    };
    if *written_in != Some(own) {
        return;
    }
    match event {
        // The ending subtransaction still counts.
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB if xact::nest_level() == 2 => *held = None,
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => *written_in = Some(parent),
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => *written_in = None,
        _ => {}
    }
}

/// Forgets what waits. PostgreSQL frees and closes what it holds; when the process ends in the midst of us, all goes with it.
fn abandon() {
    if let Ok(mut held) = HELD.try_borrow_mut() {
        ABANDONING.set(true);
        *held = None;
        ABANDONING.set(false);
    }
}
