//! DROP EXTENSION while the log holds events.

use super::registry::first;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::role::ActAsSuperuser;
use crate::settings;

/// Refuses to lose events, unless a superuser said so. Called before the extension is dropped, by whatever command.
pub fn check() -> Result<()> {
    if settings::ALLOW_DROP.get() {
        return Ok(());
    }
    let _superuser = ActAsSuperuser::new();
    let events: Option<bool> = first("SELECT EXISTS (SELECT FROM audit.audit_events)", &[])?;
    if events != Some(true) {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        "cannot drop extension pg_attest: the audit log holds events",
    )
    .detail("They would be lost with it.")
    .hint("Export what must be kept; then a superuser may SET audit.allow_drop = on and drop the extension with CASCADE."))
}
