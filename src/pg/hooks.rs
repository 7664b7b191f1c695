//! Hooks into `PostgreSQL`, each chained to whoever was there before.
//!
//! A hook that passes a user's statement on is not guarded, and has nothing to drop (`ffi::standard` tells why); what we do of our own is.

use pgrx::{pg_guard, pg_sys};
use std::cell::Cell;

use super::cell::Backend;
use super::ffi::standard;
use super::trigger::Operation;
use crate::capture::statement::{self, Cascade};

static PREVIOUS_OBJECT_ACCESS: Backend<Cell<pg_sys::object_access_hook_type>> = Backend::cell(None);
static PREVIOUS_EXECUTOR_FINISH: Backend<Cell<pg_sys::ExecutorFinish_hook_type>> =
    Backend::cell(None);

/// Installs the hooks; called once, when the library is loaded.
pub fn init() {
    // SAFETY: hook variables are read and set in this backend's one thread, at load time.
    unsafe {
        PREVIOUS_OBJECT_ACCESS.set(pg_sys::object_access_hook);
        pg_sys::object_access_hook = Some(object_access);
        PREVIOUS_EXECUTOR_FINISH.set(pg_sys::ExecutorFinish_hook);
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
    }
}

/// Asks `attach::drop_guard` before a relation is dropped, by whatever command.
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub: i32,
    arg: *mut std::ffi::c_void,
) {
    // SAFETY: PostgreSQL's own arguments are passed on as they came.
    unsafe {
        if let Some(previous) = PREVIOUS_OBJECT_ACCESS.get() {
            previous(access, class, object, sub, arg);
        }
        if access == pg_sys::ObjectAccessType::OAT_DROP
            && class == pg_sys::RelationRelationId
            && sub == 0
        {
            before_drop(object);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn before_drop(relation: pg_sys::Oid) {
    crate::error::or_raise(crate::attach::drop_guard::check(relation));
}

/// Before a query ends. Three things are seen here and nowhere else:
///
/// - A foreign-key action has run: how many rows it changed, for their order.
/// - A query stopped early: SPI with a row limit (`spi_exec_query(…, 1)` of PL/Perl and its like) leaves a `… RETURNING` after
///   that many rows. The executor never reaches the point where it queues AFTER STATEMENT triggers, and what was changed would
///   go unseen: they are queued here.
/// - A MERGE whose UPDATE moves rows between partitions: PostgreSQL puts these rows into the transition tables of DELETE and
///   INSERT, but fires the triggers only of the actions that the MERGE names. The missing ones are queued here.
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: PostgreSQL passes a running query; standard_ExecutorFinish is what it would call without a hook.
    unsafe {
        before_finish(query);
        let next = PREVIOUS_EXECUTOR_FINISH
            .get()
            .unwrap_or(standard::executor_finish);
        next(query);
    }
}

/// # Safety
/// `query` is running and not yet finished.
#[pg_guard]
unsafe extern "C-unwind" fn before_finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: by the caller; the node tag is checked before the cast. es_auxmodifytables lists the ModifyTable nodes of
    // data-modifying CTEs.
    unsafe {
        let estate = (*query).estate;
        if estate.is_null() || (*estate).es_top_eflags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0
        {
            return;
        }
        let top = (*query).planstate.cast::<pg_sys::ModifyTableState>();
        let is_modify = !top.is_null() && (*top).ps.type_ == pg_sys::NodeTag::T_ModifyTableState;
        if (*estate).es_top_eflags & pg_sys::EXEC_FLAG_SKIP_TRIGGERS as i32 != 0 {
            if is_modify {
                note_cascade(top, estate);
            }
            return;
        }
        if is_modify {
            // fireBSTriggers is still set when the statement never started.
            if !(*top).mt_done && !(*top).fireBSTriggers {
                queue_ours(top, estate, parts_of(top));
            }
            queue_moves_of_merge(top, estate);
        }
        for other in super::catalog::cells((*estate).es_auxmodifytables) {
            queue_moves_of_merge(other.ptr_value.cast(), estate);
        }
    }
}

/// # Safety
/// `state` is the top node of a foreign-key action that has run.
unsafe fn note_cascade(state: *mut pg_sys::ModifyTableState, estate: *mut pg_sys::EState) {
    // SAFETY: by the caller.
    unsafe {
        let operation = match (*state).operation {
            pg_sys::CmdType::CMD_INSERT => Operation::Insert,
            pg_sys::CmdType::CMD_UPDATE => Operation::Update,
            _ => Operation::Delete,
        };
        let relation = (*(*(*state).rootResultRelInfo).ri_RelationDesc).rd_id;
        let cascade = Cascade {
            statement: (*estate).es_output_cid.cast_signed(),
            rows: (*estate).es_processed,
        };
        statement::note_cascade(relation, operation, cascade);
    }
}

/// The AFTER STATEMENT triggers that a `ModifyTable` node owes.
#[derive(Clone, Copy)]
struct Parts {
    insert: bool,
    update: bool,
    delete: bool,
}

/// # Safety
/// `state` is a live node.
unsafe fn parts_of(state: *mut pg_sys::ModifyTableState) -> Parts {
    // SAFETY: by the caller.
    unsafe {
        let merge = (*state).mt_merge_subcommands as u32;
        let operation = (*state).operation;
        let upserts = !(*state).mt_oc_transition_capture.is_null();
        Parts {
            insert: operation == pg_sys::CmdType::CMD_INSERT || merge & pg_sys::MERGE_INSERT != 0,
            update: operation == pg_sys::CmdType::CMD_UPDATE
                || merge & pg_sys::MERGE_UPDATE != 0
                || upserts,
            delete: operation == pg_sys::CmdType::CMD_DELETE || merge & pg_sys::MERGE_DELETE != 0,
        }
    }
}

/// # Safety
/// `state` is a live `ModifyTable` node of the running query.
unsafe fn queue_moves_of_merge(state: *mut pg_sys::ModifyTableState, estate: *mut pg_sys::EState) {
    // SAFETY: by the caller.
    unsafe {
        let has = parts_of(state);
        let relation = (*(*state).rootResultRelInfo).ri_RelationDesc;
        let is_partitioned =
            (*(*relation).rd_rel).relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE;
        if (*state).operation != pg_sys::CmdType::CMD_MERGE || !has.update || !is_partitioned {
            return;
        }
        let owed = Parts {
            insert: !has.insert,
            update: false,
            delete: !has.delete,
        };
        let table = super::catalog::partition_ancestors((*relation).rd_id)
            .last()
            .copied()
            .unwrap_or((*relation).rd_id);
        let command = (*estate).es_output_cid.cast_signed();
        for (is_owed, operation) in [
            (owed.delete, Operation::Delete),
            (owed.insert, Operation::Insert),
        ] {
            if is_owed {
                statement::open_as((*relation).rd_id, table, operation, command);
            }
        }
        queue_ours(state, estate, owed);
    }
}

/// Queues AFTER STATEMENT triggers of ours as `fireASTriggers` of `src/backend/executor/nodeModifyTable.c` would.
///
/// # Safety
/// `state` is a live `ModifyTable` node of the running query.
unsafe fn queue_ours(
    state: *mut pg_sys::ModifyTableState,
    estate: *mut pg_sys::EState,
    parts: Parts,
) {
    // SAFETY: by the caller. The trigger descriptor is the executor's own copy. Other people's triggers keep PostgreSQL's
    // behaviour: they stay unfired.
    unsafe {
        let result = (*state).rootResultRelInfo;
        let triggers = (*result).ri_TrigDesc;
        if triggers.is_null() {
            return;
        }
        let all =
            std::slice::from_raw_parts_mut((*triggers).triggers, (*triggers).numtriggers as usize);
        let audit = pg_sys::get_namespace_oid(c"audit".as_ptr(), true);
        let was: Vec<std::ffi::c_char> = all.iter().map(|trigger| trigger.tgenabled).collect();
        for trigger in all
            .iter_mut()
            .filter(|trigger| pg_sys::get_func_namespace(trigger.tgfoid) != audit)
        {
            trigger.tgenabled = pg_sys::TRIGGER_DISABLED as std::ffi::c_char;
        }
        let capture = (*state).mt_transition_capture;
        if parts.delete {
            pg_sys::ExecASDeleteTriggers(estate, result, capture);
        }
        if parts.update {
            let upserts = (*state).mt_oc_transition_capture;
            pg_sys::ExecASUpdateTriggers(
                estate,
                result,
                if upserts.is_null() { capture } else { upserts },
            );
        }
        if parts.insert {
            pg_sys::ExecASInsertTriggers(estate, result, capture);
        }
        for (trigger, enabled) in all.iter_mut().zip(was) {
            trigger.tgenabled = enabled;
        }
    }
}
