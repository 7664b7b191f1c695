//! Application events: `audit.log_event` and `audit.log_request`; the reviews of auditors: `audit.sign_off`.
//!
//! They are rows of the log like all others, written natively as whoever called, sealed and proven. What goes where is described in
//! docs/activity.md.

mod redact;
mod request;
mod said;
mod sign_off;

use crate::act::Act;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::jsonb_arg::JsonbArg;
use crate::pg::xact;
use crate::process;
use pgrx::prelude::*;
use redact::Secrets;
use serde_json::{Map, Value as Json};

/// `audit.log_event(…)`: an event that the application tells; returns its id.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // the SQL signature
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn log_event(
    action: Option<&str>,
    description: Option<&str>,
    entity_type: Option<&str>,
    entity_id: Option<&str>,
    entity_name: Option<&str>,
    category: Option<&str>,
    severity: Option<&str>,
    metadata: Option<JsonbArg>,
) -> i64 {
    xact::prevent_if_read_only(c"audit.log_event()");
    let record = || -> Result<i64> {
        let action = said::name(action, "action")?;
        let entity_type = said::optional_name(entity_type, "entity_type")?;
        if process::is_event_of_process(action, entity_type) {
            return Err(process_made_up(action));
        }
        Act {
            category: Some(said::name(category.or(Some("application")), "category")?),
            severity: Some(said::severity(severity, "info")?),
            entity_type,
            entity_id: said::optional_id(entity_id, "entity_id")?,
            entity_name: said::optional_text(entity_name, "entity_name")?,
            description: said::optional_text(description, "description")?,
            said: said_of(metadata.as_ref(), &Secrets::default())?,
            ..Act::new(EventKind::Event, action)
        }
        .record()
    };
    or_raise(record())
}

/// `audit.processes` shows what these events say, without the checks that processes are begun and ended with.
fn process_made_up(action: &str) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
        "an application event cannot begin or end a process",
    )
    .detail(format!(
        "It has action '{action}' and entity_type 'process', by which audit.processes knows its events."
    ))
    .hint("audit.begin_process() and audit.end_process() record them; an event of your own needs another action.")
}

/// The keys of the event's `context` that hold what the application says.
fn said_of(metadata: Option<&JsonbArg>, secrets: &Secrets) -> Result<Map<String, Json>> {
    let mut said = Map::new();
    if let Some(metadata) = said::object(metadata, "metadata", secrets)? {
        said.insert("metadata".into(), metadata.into());
    }
    Ok(said)
}
