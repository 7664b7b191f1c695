//! Dropping what holds events: a partition of the log, or the extension with it.
//!
//! DROP EXTENSION takes the log's tables one by one, the extension last; so it is the tables that are guarded, whatever
//! command drops them.

use super::registry::first;
use crate::capture::guard;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::catalog;
use crate::pg::role::ActAsSuperuser;
use crate::settings;
use pgrx::pg_sys;

/// Refuses to lose events, unless a superuser said so. Called before a relation is dropped.
pub fn check(relation: pg_sys::Oid) -> Result<()> {
    if settings::ALLOW_DROP.get() || guard::is_upkeep() || !catalog::is_table_of_log(relation) {
        return Ok(());
    }
    let name = catalog::qualified_name(relation);
    let _superuser = ActAsSuperuser::new();
    let has_events = first(&format!("SELECT EXISTS (SELECT FROM {name})"), &[])?;
    if has_events.as_deref() != Some("t") {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!("cannot drop {name}: it holds audit events"),
    )
    .detail("They would be lost, with the extension pg_attest or without it.")
    .hint("Export what must be kept; then a superuser may SET audit.allow_drop = on, and drop the extension with CASCADE."))
}
