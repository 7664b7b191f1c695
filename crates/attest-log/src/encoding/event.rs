//! An event with all its fields, and its commitments and leaf.

use super::leaf::LeafData;
use super::text_list::TextList;
use super::tlv::Writer;
use crate::Error;
use crate::hash::{self, Hash};

/// The tags of the fields: a column's number in `audit.audit_events`. Never used again for another field; a column
/// added later gets the next one.
pub mod tag {
    pub const EVENT_ID: u16 = 1;
    pub const OCCURRED_AT: u16 = 2;
    pub const CAPTURED_AT: u16 = 3;
    pub const XACT_ID: u16 = 4;
    pub const STATEMENT_ID: u16 = 5;
    pub const BACKEND_PID: u16 = 6;
    pub const TABLE_OID: u16 = 7;
    pub const OPERATION: u16 = 8;
    // 9, salt: stands before the payload's fields without a tag.
    pub const SCHEMA_NAME: u16 = 10;
    pub const TABLE_NAME: u16 = 11;
    pub const ROW_KEY: u16 = 12;
    pub const OLD_ROW_KEY: u16 = 13;
    pub const OLD_VALUES: u16 = 14;
    pub const NEW_VALUES: u16 = 15;
    pub const CHANGED_COLUMNS: u16 = 16;
    pub const SESSION_USER_NAME: u16 = 17;
    pub const EFFECTIVE_ROLE: u16 = 18;
    pub const APP_USER_ID: u16 = 19;
    pub const REQUEST_ID: u16 = 20;
    pub const PROCESS_ID: u16 = 21;
    pub const SESSION_ID: u16 = 22;
    pub const TENANT_ID: u16 = 23;
    pub const REASON: u16 = 24;
    pub const APPLICATION_NAME: u16 = 25;
    pub const CLIENT_ADDR: u16 = 26;
    pub const ACTION: u16 = 27;
    pub const CATEGORY: u16 = 28;
    pub const SEVERITY: u16 = 29;
    pub const ENTITY_TYPE: u16 = 30;
    pub const ENTITY_ID: u16 = 31;
    pub const ENTITY_NAME: u16 = 32;
    pub const DESCRIPTION: u16 = 33;
    pub const CONTEXT: u16 = 34;
    // 35, payload_hash: is the payload's commitment itself.
}

/// A row of `audit.audit_events`, its fields borrowed; None is NULL.
///
/// Texts are UTF-8 and are hashed as they are, unchecked: `operation` the enum's label, the four JSON fields
/// (`old_values`, `new_values`, `context` and nothing else is JSON) the exact text that PostgreSQL prints for the
/// stored jsonb, `client_addr` as `inet_out` prints it (`10.1.2.3`, without `/32`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventRecord<'a> {
    pub event_id: i64,
    /// Microseconds since the Unix epoch; see [`super::unix_micros`].
    pub occurred_at: i64,
    /// Microseconds since the Unix epoch.
    pub captured_at: i64,
    pub xact_id: u64,
    pub statement_id: i32,
    pub backend_pid: i32,
    pub table_oid: Option<u32>,
    pub operation: &'a [u8],
    /// None once the event was erased.
    pub salt: Option<[u8; 16]>,
    pub schema_name: Option<&'a [u8]>,
    pub table_name: Option<&'a [u8]>,
    pub row_key: Option<&'a [u8]>,
    pub old_row_key: Option<&'a [u8]>,
    pub old_values: Option<&'a [u8]>,
    pub new_values: Option<&'a [u8]>,
    pub changed_columns: Option<TextList<'a>>,
    pub session_user_name: &'a [u8],
    pub effective_role: &'a [u8],
    pub app_user_id: Option<&'a [u8]>,
    pub request_id: Option<&'a [u8]>,
    pub process_id: Option<&'a [u8]>,
    pub session_id: Option<&'a [u8]>,
    pub tenant_id: Option<&'a [u8]>,
    pub reason: Option<&'a [u8]>,
    pub application_name: Option<&'a [u8]>,
    pub client_addr: Option<&'a [u8]>,
    pub action: Option<&'a [u8]>,
    pub category: Option<&'a [u8]>,
    pub severity: Option<&'a [u8]>,
    pub entity_type: Option<&'a [u8]>,
    pub entity_id: Option<&'a [u8]>,
    pub entity_name: Option<&'a [u8]>,
    pub description: Option<&'a [u8]>,
    pub context: Option<&'a [u8]>,
    /// Of an erased event, whose payload and salt are gone.
    pub payload_hash: Option<Hash>,
}

impl<'a> EventRecord<'a> {
    /// The fields that an erasure removes, in the order of their tags.
    fn payload_fields(&self) -> [(u16, &'static str, Option<&'a [u8]>); 8] {
        [
            (tag::ROW_KEY, "row_key", self.row_key),
            (tag::OLD_ROW_KEY, "old_row_key", self.old_row_key),
            (tag::OLD_VALUES, "old_values", self.old_values),
            (tag::NEW_VALUES, "new_values", self.new_values),
            (tag::ENTITY_ID, "entity_id", self.entity_id),
            (tag::ENTITY_NAME, "entity_name", self.entity_name),
            (tag::DESCRIPTION, "description", self.description),
            (tag::CONTEXT, "context", self.context),
        ]
    }
}

/// A commitment's bytes beyond which the scratch memory is given back: an event can have a gigabyte.
const KEEP: usize = 1 << 20;

/// Computes commitments and leaves; the scratch memory is kept from one event to the next.
#[derive(Debug, Default)]
pub struct Encoder {
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder, which allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The event's leaf data.
    ///
    /// # Errors
    /// [`Error::NoCommitment`], [`Error::HalfErased`], [`Error::FieldTooLong`]
    pub fn leaf(&mut self, event: &EventRecord<'_>) -> Result<LeafData, Error> {
        let payload = self.payload_commitment(event)?;
        let meta = self.meta_commitment(event)?;
        Ok(LeafData::new(
            event.event_id,
            event.xact_id,
            event.occurred_at,
            &meta,
            &payload,
        ))
    }

    /// `SHA-256("pg_attest/payload/v1\n" || salt || TLV(payload fields))`, or what an erasure left of it.
    ///
    /// # Errors
    /// [`Error::NoCommitment`], [`Error::HalfErased`], [`Error::FieldTooLong`]
    pub fn payload_commitment(&mut self, event: &EventRecord<'_>) -> Result<Hash, Error> {
        if let Some(hash) = event.payload_hash {
            let left = event.payload_fields().into_iter().find(|f| f.2.is_some());
            return match (event.salt, left) {
                (None, None) => Ok(hash),
                (Some(_), _) => Err(Error::HalfErased { left: "salt" }),
                (None, Some((_, left, _))) => Err(Error::HalfErased { left }),
            };
        }
        let salt = event.salt.ok_or(Error::NoCommitment)?;
        self.begin(b"pg_attest/payload/v1\n");
        self.scratch.extend_from_slice(&salt);
        let mut fields = Writer::new(&mut self.scratch);
        for (tag, name, value) in event.payload_fields() {
            fields.field(tag, name, value);
        }
        fields.finish()?;
        Ok(hash::sha256(&self.scratch))
    }

    /// `SHA-256("pg_attest/meta/v1\n" || TLV(all other fields))`
    ///
    /// # Errors
    /// [`Error::FieldTooLong`]
    #[rustfmt::skip]
    pub fn meta_commitment(&mut self, event: &EventRecord<'_>) -> Result<Hash, Error> {
        let changed = event.changed_columns.map(TextList::as_bytes);
        let table_oid = event.table_oid.map(u32::to_be_bytes);
        let table_oid = table_oid.as_ref().map(<[u8; 4]>::as_slice);
        self.begin(b"pg_attest/meta/v1\n");
        let mut fields = Writer::new(&mut self.scratch);
        fields.field(tag::EVENT_ID, "event_id", Some(&event.event_id.to_be_bytes()));
        fields.field(tag::OCCURRED_AT, "occurred_at", Some(&event.occurred_at.to_be_bytes()));
        fields.field(tag::CAPTURED_AT, "captured_at", Some(&event.captured_at.to_be_bytes()));
        fields.field(tag::XACT_ID, "xact_id", Some(&event.xact_id.to_be_bytes()));
        fields.field(tag::STATEMENT_ID, "statement_id", Some(&event.statement_id.to_be_bytes()));
        fields.field(tag::BACKEND_PID, "backend_pid", Some(&event.backend_pid.to_be_bytes()));
        fields.field(tag::TABLE_OID, "table_oid", table_oid);
        fields.field(tag::OPERATION, "operation", Some(event.operation));
        fields.field(tag::SCHEMA_NAME, "schema_name", event.schema_name);
        fields.field(tag::TABLE_NAME, "table_name", event.table_name);
        fields.field(tag::CHANGED_COLUMNS, "changed_columns", changed);
        fields.field(tag::SESSION_USER_NAME, "session_user_name", Some(event.session_user_name));
        fields.field(tag::EFFECTIVE_ROLE, "effective_role", Some(event.effective_role));
        fields.field(tag::APP_USER_ID, "app_user_id", event.app_user_id);
        fields.field(tag::REQUEST_ID, "request_id", event.request_id);
        fields.field(tag::PROCESS_ID, "process_id", event.process_id);
        fields.field(tag::SESSION_ID, "session_id", event.session_id);
        fields.field(tag::TENANT_ID, "tenant_id", event.tenant_id);
        fields.field(tag::REASON, "reason", event.reason);
        fields.field(tag::APPLICATION_NAME, "application_name", event.application_name);
        fields.field(tag::CLIENT_ADDR, "client_addr", event.client_addr);
        fields.field(tag::ACTION, "action", event.action);
        fields.field(tag::CATEGORY, "category", event.category);
        fields.field(tag::SEVERITY, "severity", event.severity);
        fields.field(tag::ENTITY_TYPE, "entity_type", event.entity_type);
        fields.finish()?;
        Ok(hash::sha256(&self.scratch))
    }

    fn begin(&mut self, prefix: &[u8]) {
        self.scratch.clear();
        self.scratch.shrink_to(KEEP);
        self.scratch.extend_from_slice(prefix);
    }
}
