//! What is said of an event that is not what it should be.

use attest_log::encoding::{EventRecord, LeafData};
use std::fmt::Write;

/// Which part of an event was altered.
pub fn differs(sealed: &LeafData, now: &LeafData) -> String {
    let mut parts = Vec::new();
    if sealed.event_id() != now.event_id() {
        parts.push(format!(
            "its id (event {} was sealed here)",
            sealed.event_id()
        ));
    }
    if sealed.xact_id() != now.xact_id() {
        parts.push("its transaction".to_owned());
    }
    if sealed.occurred_at() != now.occurred_at() {
        parts.push("its time".to_owned());
    }
    if sealed.meta() != now.meta() {
        parts.push("its meta fields (who, when, which table)".to_owned());
    }
    if sealed.payload() != now.payload() {
        parts.push("its payload (keys, values, description, context)".to_owned());
    }
    format!("changed: {}", parts.join(", "))
}

/// What an event says of itself: where an investigator looks next.
pub fn describe(event: &EventRecord<'_>) -> String {
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut said = String::from("it says:");
    // Writing to a String does not fail.
    if let (Some(schema), Some(table)) = (text(event.schema_name), text(event.table_name)) {
        let _ = write!(said, " table {schema}.{table},");
    }
    if let Some(key) = text(event.row_key) {
        let _ = write!(said, " row {key},");
    }
    let by = String::from_utf8_lossy(event.session_user_name);
    let _ = write!(said, " by {by}, transaction {}", event.xact_id);
    said
}
