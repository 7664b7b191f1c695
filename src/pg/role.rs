//! Acting as the extension's owner for a while.

use super::cell::Backend;
use pgrx::pg_sys;
use std::cell::Cell;

/// The role that the outermost `ActAsSuperuser` put aside.
static CALLER: Backend<Cell<Option<pg_sys::Oid>>> = Backend::cell(None);

/// The role on whose behalf we act as superuser, None while we do not.
pub fn caller() -> Option<pg_sys::Oid> {
    CALLER.get()
}

/// Whether the role that is in force, or on whose behalf we act, is a superuser.
pub fn is_superuser() -> bool {
    // SAFETY: plain read of the role, catalog look-up by OID.
    unsafe { pg_sys::superuser_arg(caller().unwrap_or_else(|| pg_sys::GetUserId())) }
}

/// While it lives, the current role is the bootstrap superuser; the caller's checks come before it.
///
/// The settings that could make our SQL mean something else are pinned: with the caller's `search_path`, an operator of
/// his own would run with our rights. And it takes one processor: it runs beside those who write.
pub struct ActAsSuperuser {
    role: pg_sys::Oid,
    context: i32,
    guc_level: i32,
    outer: Option<pg_sys::Oid>,
}

impl ActAsSuperuser {
    pub fn new() -> Self {
        let acting = Self::with(
            pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID),
            pg_sys::SECURITY_LOCAL_USERID_CHANGE,
        );
        super::guc::save(c"max_parallel_workers_per_gather", c"0");
        super::guc::save(c"jit", c"off");
        acting
    }

    fn with(new_role: pg_sys::Oid, flags: u32) -> Self {
        let mut role = pg_sys::InvalidOid;
        let mut context = 0;
        // SAFETY: a nest level of our own, closed in Drop or by the abort.
        let guc_level = unsafe { pg_sys::NewGUCNestLevel() };
        super::guc::save(c"search_path", c"pg_catalog, pg_temp");
        super::guc::save(c"default_tablespace", c"");
        // SAFETY: the pattern of PostgreSQL's own maintenance commands (src/backend/commands/cluster.c).
        // SECURITY_LOCAL_USERID_CHANGE forbids SET ROLE meanwhile; an abort restores the role by itself.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&raw mut role, &raw mut context);
            pg_sys::SetUserIdAndSecContext(new_role, context | flags as i32);
        }
        let outer = CALLER.get();
        CALLER.set(outer.or(Some(role)));
        Self {
            role,
            context,
            guc_level,
            outer,
        }
    }
}

impl Drop for ActAsSuperuser {
    fn drop(&mut self) {
        CALLER.set(self.outer);
        // SAFETY: puts back what `new` read; assigns two variables, cannot fail. While an ERROR unwinds, the abort closes the
        // nest level.
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
            if !super::unwinding() {
                pg_sys::AtEOXact_GUC(false, self.guc_level);
            }
        }
    }
}

/// While it lives, the current role is a table's owner, as in `VACUUM` and `REINDEX`: what the table's triggers run has the owner's
/// rights, and cannot keep ours. What is recorded meanwhile is the owner's.
pub struct ActAsOwner(#[allow(dead_code)] ActAsSuperuser);

impl ActAsOwner {
    pub fn of(owner: pg_sys::Oid) -> Self {
        let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        let acting = ActAsSuperuser::with(owner, flags);
        CALLER.set(None);
        Self(acting)
    }
}

/// While it lives, the current role is the one that deferred triggers would run as at the end of the transaction: the session's
/// user, or whom it has `SET ROLE` to. Their settings stay.
pub struct ActAsOuter {
    role: pg_sys::Oid,
    context: i32,
}

impl ActAsOuter {
    pub fn new() -> Self {
        let mut role = pg_sys::InvalidOid;
        let mut context = 0;
        // SAFETY: as in `ActAsSuperuser`; the outer role is one that the session has anyway.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&raw mut role, &raw mut context);
            let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(pg_sys::GetOuterUserId(), context | flags);
        }
        Self { role, context }
    }
}

impl Drop for ActAsOuter {
    fn drop(&mut self) {
        // SAFETY: puts back what `new` read; assigns two variables, cannot fail.
        unsafe { pg_sys::SetUserIdAndSecContext(self.role, self.context) };
    }
}
