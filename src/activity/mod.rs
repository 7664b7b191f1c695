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
use crate::error::{Result, or_raise};
use crate::pg::jsonb_arg::JsonbArg;
use crate::pg::xact;
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
        Act {
            category: Some(said::name(category.or(Some("application")), "category")?),
            severity: Some(said::severity(severity, "info")?),
            entity_type: said::optional_name(entity_type, "entity_type")?,
            entity_id: said::optional_id(entity_id, "entity_id")?,
            entity_name: said::optional_text(entity_name, "entity_name")?,
            description: said::optional_text(description, "description")?,
            said: said_of(metadata.as_ref(), &Secrets::default())?,
            ..Act::new(EventKind::Event, said::name(action, "action")?)
        }
        .record()
    };
    or_raise(record())
}

/// The keys of the event's `context` that hold what the application says.
fn said_of(metadata: Option<&JsonbArg>, secrets: &Secrets) -> Result<Map<String, Json>> {
    let mut said = Map::new();
    if let Some(metadata) = said::object(metadata, "metadata", secrets)? {
        said.insert("metadata".into(), metadata.into());
    }
    Ok(said)
}
