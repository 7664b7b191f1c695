//! The columns of an archive's rows: docs/archive.md, "Columns".

use attest_log::encoding::{EventRecord, TextList};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Long,
    /// Microseconds since the Unix epoch, UTC.
    Time,
    Int,
    /// A table's: without a sign, in 32 bits.
    Oid,
    Text,
    /// As PostgreSQL's inet prints it.
    Address,
    /// The exact text that PostgreSQL prints.
    Json,
    Bytes,
    /// Texts and NULLs.
    List,
}

impl Kind {
    /// In the manifest: a type of SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Long | Self::Oid => "bigint",
            Self::Time => "timestamptz",
            Self::Int => "integer",
            Self::Text | Self::Address => "text",
            Self::Json => "json",
            Self::Bytes => "bytea",
            Self::List => "text[]",
        }
    }
}

/// A column.
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    /// NOT NULL
    pub required: bool,
    /// Whether few values repeat, so that a dictionary of them pays.
    pub repeats: bool,
}

const fn column(name: &'static str, kind: Kind, required: bool, repeats: bool) -> Column {
    Column {
        name,
        kind,
        required,
        repeats,
    }
}

/// The tree that the event's leaf is in.
pub const EPOCH: usize = 35;
/// The leaf's index in it.
pub const LEAF_INDEX: usize = 36;

/// Those of `audit.audit_events` in their order, then where the event's leaf is.
pub const COLUMNS: [Column; 37] = [
    column("event_id", Kind::Long, true, false),
    column("occurred_at", Kind::Time, true, false),
    column("captured_at", Kind::Time, true, false),
    column("xact_id", Kind::Long, true, false),
    column("statement_id", Kind::Int, true, true),
    column("backend_pid", Kind::Int, true, true),
    column("table_oid", Kind::Oid, false, true),
    column("operation", Kind::Text, true, true),
    column("salt", Kind::Bytes, false, false),
    column("schema_name", Kind::Text, false, true),
    column("table_name", Kind::Text, false, true),
    column("row_key", Kind::Text, false, false),
    column("old_row_key", Kind::Text, false, false),
    column("old_values", Kind::Json, false, false),
    column("new_values", Kind::Json, false, false),
    column("changed_columns", Kind::List, false, true),
    column("session_user_name", Kind::Text, true, true),
    column("effective_role", Kind::Text, true, true),
    column("app_user_id", Kind::Text, false, true),
    column("request_id", Kind::Text, false, true),
    column("process_id", Kind::Text, false, true),
    column("session_id", Kind::Text, false, true),
    column("tenant_id", Kind::Text, false, true),
    column("reason", Kind::Text, false, true),
    column("application_name", Kind::Text, false, true),
    column("client_addr", Kind::Address, false, true),
    column("action", Kind::Text, false, true),
    column("category", Kind::Text, false, true),
    column("severity", Kind::Text, false, true),
    column("entity_type", Kind::Text, false, true),
    column("entity_id", Kind::Text, false, false),
    column("entity_name", Kind::Text, false, true),
    column("description", Kind::Text, false, true),
    column("context", Kind::Json, false, true),
    column("payload_hash", Kind::Bytes, false, false),
    column("epoch", Kind::Int, true, true),
    column("leaf_index", Kind::Long, true, false),
];

/// A value that is not NULL; lists and whatever else is no number as bytes.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Long(i64),
    Int(i32),
    Bytes(&'a [u8]),
}

/// The values of an event and of its place, in the order of [`COLUMNS`].
pub fn values<'a>(
    event: &'a EventRecord<'_>,
    epoch: i32,
    leaf_index: i64,
) -> [Option<Value<'a>>; COLUMNS.len()] {
    let long = |value: i64| Some(Value::Long(value));
    let int = |value: i32| Some(Value::Int(value));
    let some = |value: &'a [u8]| Some(Value::Bytes(value));
    let bytes = |value: Option<&'a [u8]>| value.map(Value::Bytes);
    [
        long(event.event_id),
        long(event.occurred_at),
        long(event.captured_at),
        long(event.xact_id.cast_signed()),
        int(event.statement_id),
        int(event.backend_pid),
        event.table_oid.map(|oid| Value::Long(oid.into())),
        some(event.operation),
        bytes(event.salt.as_ref().map(<[u8; 16]>::as_slice)),
        bytes(event.schema_name),
        bytes(event.table_name),
        bytes(event.row_key),
        bytes(event.old_row_key),
        bytes(event.old_values),
        bytes(event.new_values),
        bytes(event.changed_columns.map(TextList::as_bytes)),
        some(event.session_user_name),
        some(event.effective_role),
        bytes(event.app_user_id),
        bytes(event.request_id),
        bytes(event.process_id),
        bytes(event.session_id),
        bytes(event.tenant_id),
        bytes(event.reason),
        bytes(event.application_name),
        bytes(event.client_addr),
        bytes(event.action),
        bytes(event.category),
        bytes(event.severity),
        bytes(event.entity_type),
        bytes(event.entity_id),
        bytes(event.entity_name),
        bytes(event.description),
        bytes(event.context),
        bytes(event.payload_hash.as_ref().map(<[u8; 32]>::as_slice)),
        int(epoch),
        long(leaf_index),
    ]
}
