//! Hooks into `PostgreSQL`, each chained to whoever was there before.

use pgrx::{pg_guard, pg_sys};
use std::cell::Cell;

use super::cell::Backend;

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
#[pg_guard]
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
            crate::error::or_raise(crate::attach::drop_guard::check(object));
        }
    }
}

/// Before a query ends: if it stopped early, its AFTER STATEMENT triggers of ours are still owed.
///
/// SPI with a row limit (`spi_exec_query(…, 1)` of PL/Perl and its like) leaves a `… RETURNING` after that many rows. The
/// executor then never reaches the point where it queues AFTER STATEMENT triggers, and what was changed would go unseen.
#[pg_guard]
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: PostgreSQL passes a running query; standard_ExecutorFinish is what it would call without a hook.
    unsafe {
        queue_owed_triggers(query);
        match PREVIOUS_EXECUTOR_FINISH.get() {
            Some(previous) => previous(query),
            None => pg_sys::standard_ExecutorFinish(query),
        }
    }
}

/// # Safety
/// `query` is running and not yet finished.
unsafe fn queue_owed_triggers(query: *mut pg_sys::QueryDesc) {
    // SAFETY: by the caller; the node tag is checked before the cast.
    unsafe {
        let state = (*query).planstate.cast::<pg_sys::ModifyTableState>();
        if state.is_null() || (*state).ps.type_ != pg_sys::NodeTag::T_ModifyTableState {
            return;
        }
        let estate = (*query).estate;
        let skip = (pg_sys::EXEC_FLAG_SKIP_TRIGGERS | pg_sys::EXEC_FLAG_EXPLAIN_ONLY) as i32;
        // fireBSTriggers is still set when the statement never started.
        if (*state).mt_done || (*state).fireBSTriggers || (*estate).es_top_eflags & skip != 0 {
            return;
        }
        let result = (*state).rootResultRelInfo;
        let triggers = (*result).ri_TrigDesc;
        if triggers.is_null() {
            return;
        }
        // The descriptor is the executor's own copy. Other people's triggers keep PostgreSQL's behaviour: they stay unfired.
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
        fire(state, estate, result);
        for (trigger, enabled) in all.iter_mut().zip(was) {
            trigger.tgenabled = enabled;
        }
    }
}

/// `fireASTriggers` of `src/backend/executor/nodeModifyTable.c`.
///
/// # Safety
/// `state` is the running query's top node, with its executor state and root result relation.
unsafe fn fire(
    state: *mut pg_sys::ModifyTableState,
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
) {
    // SAFETY: by the caller.
    unsafe {
        let capture = (*state).mt_transition_capture;
        match (*state).operation {
            pg_sys::CmdType::CMD_INSERT => {
                if !(*state).mt_oc_transition_capture.is_null() {
                    pg_sys::ExecASUpdateTriggers(estate, result, (*state).mt_oc_transition_capture);
                }
                pg_sys::ExecASInsertTriggers(estate, result, capture);
            }
            pg_sys::CmdType::CMD_UPDATE => pg_sys::ExecASUpdateTriggers(estate, result, capture),
            pg_sys::CmdType::CMD_DELETE => pg_sys::ExecASDeleteTriggers(estate, result, capture),
            _ => {
                let parts = (*state).mt_merge_subcommands as u32;
                if parts & pg_sys::MERGE_DELETE != 0 {
                    pg_sys::ExecASDeleteTriggers(estate, result, capture);
                }
                if parts & pg_sys::MERGE_UPDATE != 0 {
                    pg_sys::ExecASUpdateTriggers(estate, result, capture);
                }
                if parts & pg_sys::MERGE_INSERT != 0 {
                    pg_sys::ExecASInsertTriggers(estate, result, capture);
                }
            }
        }
    }
}
