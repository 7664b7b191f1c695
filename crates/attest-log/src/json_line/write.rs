//! Writing.

use super::{KEYS, LEAF_INDEX, PAYLOAD_HASH, SALT};
use crate::Error;
use crate::encoding::{EventRecord, tag};
use std::io::Write as _;

/// Appends the event as one line, with its newline.
///
/// # Errors
/// [`Error::NotUtf8`]; `out` is then as it was.
#[rustfmt::skip]
pub fn write(out: &mut Vec<u8>, leaf_index: u64, event: &EventRecord<'_>) -> Result<(), Error> {
    let start = out.len();
    let mut line = Line { out, failed: None };
    line.integer(LEAF_INDEX, leaf_index);
    line.integer(tag::EVENT_ID, event.event_id);
    line.integer(tag::OCCURRED_AT, event.occurred_at);
    line.integer(tag::CAPTURED_AT, event.captured_at);
    line.integer(tag::XACT_ID, event.xact_id);
    line.integer(tag::STATEMENT_ID, event.statement_id);
    line.integer(tag::BACKEND_PID, event.backend_pid);
    if let Some(oid) = event.table_oid {
        line.integer(tag::TABLE_OID, oid);
    }
    line.text(tag::OPERATION, Some(event.operation));
    line.hex(SALT, event.salt.as_ref().map(<[u8; 16]>::as_slice));
    line.text(tag::SCHEMA_NAME, event.schema_name);
    line.text(tag::TABLE_NAME, event.table_name);
    line.text(tag::ROW_KEY, event.row_key);
    line.text(tag::OLD_ROW_KEY, event.old_row_key);
    line.text(tag::OLD_VALUES, event.old_values);
    line.text(tag::NEW_VALUES, event.new_values);
    if let Some(list) = event.changed_columns {
        line.list(tag::CHANGED_COLUMNS, list.iter());
    }
    line.text(tag::SESSION_USER_NAME, Some(event.session_user_name));
    line.text(tag::EFFECTIVE_ROLE, Some(event.effective_role));
    line.text(tag::APP_USER_ID, event.app_user_id);
    line.text(tag::REQUEST_ID, event.request_id);
    line.text(tag::PROCESS_ID, event.process_id);
    line.text(tag::SESSION_ID, event.session_id);
    line.text(tag::TENANT_ID, event.tenant_id);
    line.text(tag::REASON, event.reason);
    line.text(tag::APPLICATION_NAME, event.application_name);
    line.text(tag::CLIENT_ADDR, event.client_addr);
    line.text(tag::ACTION, event.action);
    line.text(tag::CATEGORY, event.category);
    line.text(tag::SEVERITY, event.severity);
    line.text(tag::ENTITY_TYPE, event.entity_type);
    line.text(tag::ENTITY_ID, event.entity_id);
    line.text(tag::ENTITY_NAME, event.entity_name);
    line.text(tag::DESCRIPTION, event.description);
    line.text(tag::CONTEXT, event.context);
    line.hex(PAYLOAD_HASH, event.payload_hash.as_ref().map(<[u8; 32]>::as_slice));
    let failed = line.failed;
    if let Some(field) = failed {
        out.truncate(start);
        return Err(Error::NotUtf8 { field });
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// A line that is being written. Writing to a Vec does not fail.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// The first field that is not UTF-8.
    failed: Option<&'static str>,
}

impl Line<'_> {
    fn key(&mut self, column: impl Into<usize>) -> &'static str {
        let column = column.into();
        let name = KEYS[column].0;
        self.out
            .push(if column == LEAF_INDEX { b'{' } else { b',' });
        let _ = write!(self.out, "\"{name}\":");
        name
    }

    fn integer(&mut self, column: impl Into<usize>, value: impl std::fmt::Display) {
        self.key(column);
        let _ = write!(self.out, "{value}");
    }

    fn text(&mut self, column: u16, value: Option<&[u8]>) {
        if let Some(value) = value {
            let name = self.key(column);
            self.string(name, value);
        }
    }

    fn hex(&mut self, column: usize, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.key(column);
            self.out.push(b'"');
            for byte in value {
                let _ = write!(self.out, "{byte:02x}");
            }
            self.out.push(b'"');
        }
    }

    fn list<'b>(&mut self, column: u16, elements: impl Iterator<Item = Option<&'b [u8]>>) {
        let name = self.key(column);
        let mut before = b'[';
        for element in elements {
            self.out.push(before);
            before = b',';
            match element {
                Some(text) => self.string(name, text),
                None => self.out.extend_from_slice(b"null"),
            }
        }
        if before == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
    }

    fn string(&mut self, field: &'static str, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) => {
                let _ = serde_json::to_writer(&mut *self.out, text);
            }
            Err(_) => {
                self.failed.get_or_insert(field);
            }
        }
    }
}
