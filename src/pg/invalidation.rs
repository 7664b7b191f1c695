//! When what we cached of relations is out of date.
//!
//! One epoch for everything cached: it moves on when `PostgreSQL` invalidates a relation that someone watches, or names
//! that are cached with it. Such moments are DDL, ANALYZE and VACUUM; rebuilding a plan costs some 50 µs.

use super::cell::Backend;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};

static EPOCH: Backend<Cell<u64>> = Backend::cell(1);
static WATCHED: Backend<RefCell<Vec<u32>>> = Backend::refcell(Vec::new());

/// What was cached at an older epoch is out of date.
pub fn epoch() -> u64 {
    EPOCH.get()
}

/// Moves the epoch on when the relation changes.
pub fn watch(relation: pg_sys::Oid) {
    let mut watched = WATCHED.borrow_mut();
    if let Err(place) = watched.binary_search(&relation.to_u32()) {
        watched.insert(place, relation.to_u32());
    }
}

/// Registers with `PostgreSQL`; called once, when the library is loaded.
pub fn init() {
    // SAFETY: the callbacks only set a cell, and live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(on_relation), pg_sys::Datum::from(0usize));
        for cache in [
            // A renamed schema or role invalidates no relation.
            pg_sys::SysCacheIdentifier::NAMESPACEOID,
            pg_sys::SysCacheIdentifier::AUTHOID,
            // A new cast to json changes how a type is printed.
            pg_sys::SysCacheIdentifier::CASTSOURCETARGET,
        ] {
            pg_sys::CacheRegisterSyscacheCallback(
                cache as i32,
                Some(on_name),
                pg_sys::Datum::from(0usize),
            );
        }
    }
}

fn move_on() {
    EPOCH.set(EPOCH.get() + 1);
}

/// Relcache callback: `relation` is `InvalidOid` when everything is to be forgotten.
unsafe extern "C-unwind" fn on_relation(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let concerns_us = relation == pg_sys::InvalidOid
        // Busy means that someone is adding to it: be on the safe side.
        || WATCHED.try_borrow().map_or(true, |watched| watched.binary_search(&relation.to_u32()).is_ok());
    if concerns_us {
        move_on();
    }
}

unsafe extern "C-unwind" fn on_name(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    move_on();
}
