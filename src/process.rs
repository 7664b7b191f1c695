//! `audit.begin_process` and `audit.end_process`: which process makes the changes, and which process caused it.
//!
//! A process is two events and nothing else: its start and its end, both recorded in the context of its parent (`process_id` is the
//! parent's), both about the entity of type `process` with its id. So the index on `process_id` leads from a process to
//! its children, the one on `entity_id` to its start, and `audit.processes` is a plain view.

use crate::act::Act;
use crate::capture::context::{self, MAX_ID_BYTES};
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise, required};
use crate::pg::query::{self, Arg};
use crate::pg::role::ActAsSuperuser;
use crate::pg::{context_source, xact};
use crate::set_context;
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Map, Value as Json};

const STARTED: &str = "process started";
const ENDED: &str = "process ended";
/// What kind of entity the two events are about, and their category.
const PROCESS: &str = "process";

/// Whether an event with this action and type of entity is the start or the end of a process.
pub fn is_event_of_process(action: &str, entity_type: Option<&str>) -> bool {
    [STARTED, ENDED].contains(&action) && entity_type == Some(PROCESS)
}

/// `audit.begin_process(…)`: records the start, puts the process and its request in force, returns the process's id.
#[pg_extern(sql = false)]
fn begin_process(
    name: Option<&str>,
    request_id: Option<&str>,
    parent_process_id: Option<&str>,
    metadata: Option<JsonB>,
    process_id: Option<&str>,
    is_local: Option<bool>,
) -> String {
    or_raise(begin(
        name,
        request_id,
        parent_process_id,
        metadata.map(|JsonB(json)| json),
        process_id,
        is_local.unwrap_or(true),
    ))
}

/// `audit.end_process(…)`: records the end; if the process is the one in force, what was before it is again.
#[pg_extern(sql = false)]
fn end_process(
    process_id: Option<&str>,
    status: Option<&str>,
    metadata: Option<JsonB>,
    is_local: Option<bool>,
) {
    or_raise(end(
        process_id,
        status.unwrap_or("done"),
        metadata.map(|JsonB(json)| json),
        is_local.unwrap_or(true),
    ));
}

fn begin(
    name: Option<&str>,
    request_id: Option<&str>,
    parent: Option<&str>,
    metadata: Option<Json>,
    process_id: Option<&str>,
    is_local: bool,
) -> Result<String> {
    let name = required(name.filter(|name| !name.trim().is_empty()), "name")?;
    let outer_request = context::field("request_id");
    let outer_process = context::field("process_id");
    let id = match given(process_id, "process_id")? {
        Some(id) => id.to_owned(),
        None => uuid_v7()?,
    };
    if start_of(&id)?.is_some() {
        return Err(AttestError::new(
            SqlState::ERRCODE_DUPLICATE_OBJECT,
            format!("process \"{id}\" has been started before"),
        )
        .detail("A process has one start and one end.")
        .hint("Leave process_id out: each process then gets an id of its own."));
    }
    // An empty parent asks for a root, whatever is in force.
    let parent = parent.map_or_else(
        || outer_process.clone(),
        |parent| Some(parent.to_owned()).filter(|parent| !parent.is_empty()),
    );
    if let Some(parent) = &parent {
        check_length(parent, "parent_process_id")?;
    }
    let request = match given(request_id, "request_id")?.map(ToOwned::to_owned) {
        Some(request) => request,
        None => request_of(outer_request.as_ref(), parent.as_deref())?,
    };
    let mut about = said(metadata)?;
    // What is in force again when the process ends, where that is not its parent and its request.
    if outer_process != parent {
        about.insert("outer_process_id".into(), outer_process.into());
    }
    if outer_request.as_ref() != Some(&request) {
        about.insert("outer_request_id".into(), outer_request.into());
    }
    // The start happens in the parent.
    set_context::put("process_id", parent.as_deref().unwrap_or(""), is_local)?;
    set_context::put("request_id", &request, is_local)?;
    record(STARTED, &id, Some(name), parent.as_deref(), &request, about)?;
    set_context::put("process_id", &id, is_local)?;
    Ok(id)
}

/// The request in force, else the parent's, else a new one.
fn request_of(in_force: Option<&String>, parent: Option<&str>) -> Result<String> {
    if let Some(request) = in_force {
        return Ok(request.clone());
    }
    match parent.map(start_of).transpose()?.flatten() {
        Some(start) => Ok(start.request),
        None => uuid_v7(),
    }
}

fn end(
    process_id: Option<&str>,
    status: &str,
    metadata: Option<Json>,
    is_local: bool,
) -> Result<()> {
    let in_force = context::field("process_id");
    let id = process_id
        .map(ToOwned::to_owned)
        .or_else(|| in_force.clone());
    let id = required(id, "process_id")?;
    let Some(start) = start_of(&id)? else {
        return Err(AttestError::new(
            SqlState::ERRCODE_UNDEFINED_OBJECT,
            format!("unknown process \"{id}\""),
        )
        .detail("No start of a process with this id is recorded, or it is not committed yet.")
        .hint("audit.begin_process() starts a process and returns its id."));
    };
    if start.is_ended {
        return Err(AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("process \"{id}\" has already ended"),
        )
        .detail("A process has one start and one end.")
        .hint("SELECT * FROM audit.processes; shows the processes and when they ended."));
    }
    let mut about = said(metadata)?;
    about.insert("status".into(), status.into());
    if in_force.as_ref() == Some(&id) {
        set_context::put("process_id", &start.outer_process, is_local)?;
        set_context::put("request_id", &start.outer_request, is_local)?;
    }
    let parent = start.parent.as_deref();
    record(
        ENDED,
        &id,
        start.name.as_deref(),
        parent,
        &start.request,
        about,
    )
}

fn record(
    action: &str,
    id: &str,
    name: Option<&str>,
    parent: Option<&str>,
    request: &str,
    about: Map<String, Json>,
) -> Result<()> {
    Act {
        category: Some(PROCESS),
        entity_type: Some(PROCESS),
        entity_id: Some(id),
        entity_name: name,
        process_id: parent,
        request_id: Some(request),
        said: Map::from_iter([(PROCESS.to_owned(), Json::Object(about))]),
        ..Act::new(EventKind::Event, action)
    }
    .record()?;
    // A later call in the same statement finds it.
    xact::command_counter_increment();
    Ok(())
}

/// What the log knows of a started process.
struct Start {
    name: Option<String>,
    parent: Option<String>,
    request: String,
    /// What was in force before it began, empty for none.
    outer_process: String,
    outer_request: String,
    is_ended: bool,
}

fn start_of(id: &str) -> Result<Option<Start>> {
    let _superuser = ActAsSuperuser::new();
    let rows = query::rows(
        "SELECT s.entity_name, s.process_id, s.request_id, \
                CASE WHEN s.context -> 'process' ? 'outer_process_id' THEN s.context #>> '{process,outer_process_id}' ELSE s.process_id END, \
                CASE WHEN s.context -> 'process' ? 'outer_request_id' THEN s.context #>> '{process,outer_request_id}' ELSE s.request_id END, \
                EXISTS (SELECT FROM audit.audit_events e WHERE e.entity_type = 'process' AND e.entity_id = s.entity_id \
                        AND e.operation = 'event' AND e.action = 'process ended')::pg_catalog.text \
         FROM audit.audit_events s WHERE s.entity_type = 'process' AND s.entity_id = $1 \
         AND s.operation = 'event' AND s.action = 'process started' ORDER BY s.event_id LIMIT 1",
        &[Arg::Text(id)],
    )?;
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    Ok(<[_; 6]>::try_from(row).ok().map(
        |[
            name,
            parent,
            request,
            outer_process,
            outer_request,
            is_ended,
        ]| Start {
            name,
            parent,
            request: request.unwrap_or_default(),
            outer_process: outer_process.unwrap_or_default(),
            outer_request: outer_request.unwrap_or_default(),
            is_ended: is_ended.as_deref() == Some("true"),
        },
    ))
}

fn said(metadata: Option<Json>) -> Result<Map<String, Json>> {
    match metadata {
        None => Ok(Map::new()),
        Some(object @ Json::Object(_)) => Ok(Map::from_iter([("metadata".to_owned(), object)])),
        Some(other) => Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "metadata must be a JSON object",
        )
        .detail(format!("It is {other}."))
        .hint("For example metadata => '{\"model\": \"v4\"}'.")),
    }
}

/// An id that was given; None for NULL and for blanks.
fn given<'a>(id: Option<&'a str>, argument: &str) -> Result<Option<&'a str>> {
    let id = id.filter(|id| !id.trim().is_empty());
    if let Some(id) = id {
        check_length(id, argument)?;
    }
    Ok(id)
}

/// The log would cut a longer id, and the process would not be found again.
fn check_length(id: &str, argument: &str) -> Result<()> {
    if id.len() <= MAX_ID_BYTES {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
        format!("{argument} is too long"),
    )
    .detail(format!(
        "It has {} bytes, at most {MAX_ID_BYTES} are kept.",
        id.len()
    ))
    .hint("Leave it out to get a UUID."))
}

/// A UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds, 74 random bits. `PostgreSQL` has `uuidv7()` from
/// 18 on.
fn uuid_v7() -> Result<String> {
    let mut bytes = [0_u8; 16];
    if !context_source::random_bytes(&mut bytes) {
        return Err(AttestError::new(
            SqlState::ERRCODE_INTERNAL_ERROR,
            "could not generate a random id",
        )
        .hint("The system's random number generator failed; see the server's log."));
    }
    let since_epoch = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |elapsed| elapsed.as_millis());
    let millis = u64::try_from(since_epoch).unwrap_or(0).to_be_bytes();
    bytes[..6].copy_from_slice(&millis[2..]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Ok(parts.join("-"))
}
