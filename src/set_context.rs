//! `audit.set_context` and `audit.context`: who acts and why, as the application says it.

use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::guc;
use crate::settings::{CONTEXT_SETTINGS, ContextSetting};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Map, Value as Json};
use std::ffi::CString;

/// `audit.set_context(…)`: sets what is given, leaves alone what is NULL.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // one per context field: the SQL signature
fn set_context(
    request_id: Option<&str>,
    process_id: Option<&str>,
    app_user_id: Option<&str>,
    reason: Option<&str>,
    session_id: Option<&str>,
    tenant_id: Option<&str>,
    extra: Option<JsonB>,
    is_local: Option<bool>,
) {
    let extra = or_raise(extra.map(|JsonB(json)| object_text(&json)).transpose());
    let values = [
        request_id,
        process_id,
        app_user_id,
        reason,
        session_id,
        tenant_id,
        extra.as_deref(),
    ];
    for (setting, value) in CONTEXT_SETTINGS.iter().zip(values) {
        if let Some(value) = value {
            or_raise(set(setting, value, is_local.unwrap_or(true)));
        }
    }
}

fn object_text(json: &Json) -> Result<String> {
    if json.is_object() {
        return Ok(json.to_string());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
        "extra must be a JSON object",
    )
    .detail(format!("It is {json}."))
    .hint("For example extra => '{\"ticket\": \"QA-17\"}'."))
}

/// Sets one field of the context, by its name in events; an empty value is none.
pub fn put(field: &str, value: &str, is_local: bool) -> Result<()> {
    CONTEXT_SETTINGS
        .iter()
        .filter(|setting| setting.field == field)
        .try_for_each(|setting| set(setting, value, is_local))
}

fn set(setting: &ContextSetting, value: &str, is_local: bool) -> Result<()> {
    let value = CString::new(value).map_err(|_| {
        AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{} holds a NUL byte", setting.field),
        )
        .detail("PostgreSQL settings are C strings.")
        .hint("Leave the NUL byte out.")
    })?;
    guc::set(setting.guc, &value, is_local);
    Ok(())
}

/// `audit.context()`: what is set now.
#[pg_extern(sql = false)]
fn context() -> JsonB {
    let mut object = Map::new();
    for setting in &CONTEXT_SETTINGS {
        let Some(value) = crate::capture::context::setting_value(setting) else {
            continue;
        };
        let value = if setting.field == "extra" {
            serde_json::from_str(&value).unwrap_or(Json::String(value))
        } else {
            Json::String(value)
        };
        object.insert(setting.field.to_owned(), value);
    }
    JsonB(Json::Object(object))
}
