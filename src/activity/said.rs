//! What an application says, checked: what its programmer chose is refused when it does not fit; what came from outside (an
//! endpoint, an error message, a user agent) is cut and the cut marked, for logging it must not fail.

use super::redact::Secrets;
use crate::capture::context::MAX_ID_BYTES;
use crate::error::{AttestError, Result, SqlState, required};
use crate::pg::jsonb_arg::JsonbArg;
use serde_json::{Map, Value as Json};

/// Longest action, category, entity type, method, provider, role, in characters: names, not texts.
const LONGEST_NAME: usize = 200;
/// Longest description and entity name, in characters.
const LONGEST_TEXT: usize = 10_000;
/// Largest metadata, in bytes of JSON text.
const LARGEST_JSON: usize = 1 << 20;
/// Error messages and user agents are cut here, in characters.
pub const LONGEST_MESSAGE: usize = 500;

/// The severities, in rising order.
pub const SEVERITIES: [&str; 6] = ["debug", "info", "notice", "warning", "error", "critical"];

/// A name that must be given.
pub fn name<'a>(value: Option<&'a str>, argument: &str) -> Result<&'a str> {
    let value = not_blank(value, argument)?;
    optional(Some(value), argument, LONGEST_NAME)?;
    Ok(value)
}

/// A text of whatever length that must be given.
pub fn not_blank<'a>(value: Option<&'a str>, argument: &str) -> Result<&'a str> {
    let value = required(value, argument)?;
    if value.trim().is_empty() {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{argument} must not be empty"),
        )
        .detail(format!("It is '{value}'."))
        .hint(format!(
            "Give {argument} a name; \\df+ audit.* describes the functions."
        )));
    }
    Ok(value)
}

/// A name that may be left out: NULL and the empty string are none.
pub fn optional_name<'a>(value: Option<&'a str>, argument: &str) -> Result<Option<&'a str>> {
    optional(value, argument, LONGEST_NAME)
}

/// A text that may be left out.
pub fn optional_text<'a>(value: Option<&'a str>, argument: &str) -> Result<Option<&'a str>> {
    optional(value, argument, LONGEST_TEXT)
}

fn optional<'a>(value: Option<&'a str>, argument: &str, longest: usize) -> Result<Option<&'a str>> {
    let value = value.filter(|value| !value.is_empty());
    let length = value.map_or(0, |value| value.chars().count());
    if length <= longest {
        return Ok(value);
    }
    Err(AttestError::new(
        SqlState::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
        format!("{argument} is too long"),
    )
    .detail(format!(
        "It has {length} characters; at most {longest} are allowed."
    ))
    .hint("Put what is long into metadata."))
}

/// An id that is indexed, and may be left out.
pub fn optional_id<'a>(value: Option<&'a str>, argument: &str) -> Result<Option<&'a str>> {
    let value = value.filter(|value| !value.is_empty());
    let length = value.map_or(0, str::len);
    if length <= MAX_ID_BYTES {
        return Ok(value);
    }
    Err(AttestError::new(
        SqlState::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
        format!("{argument} is too long"),
    )
    .detail(format!(
        "It has {length} bytes; at most {MAX_ID_BYTES} are allowed, for it is indexed."
    ))
    .hint("Put what is long into metadata."))
}

/// One of the severities; NULL is the default.
pub fn severity(value: Option<&str>, default: &'static str) -> Result<&'static str> {
    let Some(value) = value else {
        return Ok(default);
    };
    SEVERITIES
        .into_iter()
        .find(|known| *known == value)
        .ok_or_else(|| {
            AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("unknown severity '{value}'"),
            )
            .detail("Severities are a fixed ladder, so that they can be compared.")
            .hint(format!("It is one of {}.", SEVERITIES.join(", ")))
        })
}

/// A JSON object with its secrets redacted; None where there is none.
pub fn object(
    value: Option<&JsonbArg>,
    argument: &str,
    secrets: &Secrets,
) -> Result<Option<Map<String, Json>>> {
    let Some(value) = value else {
        return Ok(None);
    };
    let mut object = plain_object(value, argument)?;
    secrets.redact(&mut object);
    Ok(Some(object))
}

/// A JSON object as it is.
pub fn plain_object(value: &JsonbArg, argument: &str) -> Result<Map<String, Json>> {
    let text = value
        .text()
        .filter(|text| text.len() <= LARGEST_JSON)
        .ok_or_else(|| {
            let length = value.text().map_or_else(
                || "more than PostgreSQL can print".to_owned(),
                |text| format!("{} bytes", text.len()),
            );
            AttestError::new(
                SqlState::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("{argument} is too large"),
            )
            .detail(format!(
                "Its text has {length}; at most {LARGEST_JSON} bytes are allowed."
            ))
            .hint("Store the whole elsewhere, and keep its address and its SHA-256 here.")
        })?;
    match serde_json::from_str(text) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(other) => Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{argument} must be a JSON object"),
        )
        .detail(format!("It is {}.", cut(&other.to_string(), 100)))
        .hint(format!(
            "For example {argument} => '{{\"key\": \"value\"}}'."
        ))),
        Err(error) => Err(AttestError::new(
            SqlState::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("{argument} cannot be read"),
        )
        .detail(format!("The JSON reader says: {error}."))
        .hint("Nest it less deeply: at most 127 levels.")),
    }
}

/// The first characters of a text; the cut is marked.
pub fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
