//! An event, and how it becomes a row of `audit.audit_events`.
//!
//! Invariant: `COLUMNS` is the table's column order in `sql/schema.sql`, of these types; the writer compares the names
//! before it writes.

use super::context::Context;
use crate::pg::datum::Varlena;
use crate::pg::tuple::Field;
use pgrx::pg_sys;

/// The columns of `audit.audit_events`, in order: fixed-width ones first, so that nothing is lost to alignment.
pub const COLUMNS: [&str; 35] = [
    "event_id",
    "occurred_at",
    "captured_at",
    "xact_id",
    "statement_id",
    "backend_pid",
    "table_oid",
    "operation",
    "salt",
    "schema_name",
    "table_name",
    "row_key",
    "old_row_key",
    "old_values",
    "new_values",
    "changed_columns",
    "session_user_name",
    "effective_role",
    "app_user_id",
    "request_id",
    "process_id",
    "session_id",
    "tenant_id",
    "reason",
    "application_name",
    "client_addr",
    "action",
    "category",
    "severity",
    "entity_type",
    "entity_id",
    "entity_name",
    "description",
    "context",
    "payload_hash",
];

/// What kind of event it is; `LABELS` are the labels of the enum `audit.operation`, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    Insert,
    Update,
    Delete,
    Truncate,
    Snapshot,
    Ddl,
    Event,
    System,
}

impl EventKind {
    pub const LABELS: [&str; 8] = [
        "insert", "update", "delete", "truncate", "snapshot", "ddl", "event", "system",
    ];
}

/// The table that an event is about.
pub struct TableName {
    pub oid: pg_sys::Oid,
    schema: Varlena,
    table: Varlena,
}

impl TableName {
    pub fn new(oid: pg_sys::Oid, schema: &str, table: &str) -> Self {
        Self {
            oid,
            schema: Varlena::text(schema.as_bytes()),
            table: Varlena::text(table.as_bytes()),
        }
    }
}

/// What one event says; what all events of a statement share is in `Stamp` and `Context`.
pub struct Event<'a> {
    pub kind: EventKind,
    pub statement: i32,
    pub table: Option<&'a TableName>,
    pub row_key: Option<&'a Varlena>,
    pub old_row_key: Option<&'a Varlena>,
    pub old_values: Option<&'a Varlena>,
    pub new_values: Option<&'a Varlena>,
    pub changed_columns: Option<&'a Varlena>,
    pub action: Option<&'a Varlena>,
    pub category: Option<&'a Varlena>,
    pub severity: Option<&'a Varlena>,
    pub entity_type: Option<&'a Varlena>,
    pub entity_id: Option<&'a Varlena>,
    pub entity_name: Option<&'a Varlena>,
    pub description: Option<&'a Varlena>,
    /// Where the statement's context has none.
    pub request_id: Option<&'a Varlena>,
    pub process_id: Option<&'a Varlena>,
    /// Instead of the statement's own context.
    pub context: Option<&'a Varlena>,
}

impl Event<'_> {
    /// An event with nothing but its kind and order.
    pub fn new(kind: EventKind, statement: i32) -> Self {
        Self {
            kind,
            statement,
            table: None,
            row_key: None,
            old_row_key: None,
            old_values: None,
            new_values: None,
            changed_columns: None,
            action: None,
            category: None,
            severity: None,
            entity_type: None,
            entity_id: None,
            entity_name: None,
            description: None,
            request_id: None,
            process_id: None,
            context: None,
        }
    }
}

/// What the writer gives each event.
pub struct Stamp<'a> {
    pub event_id: i64,
    pub occurred_at: i64,
    pub captured_at: i64,
    pub xact_id: u64,
    pub operation: pg_sys::Oid,
    pub salt: &'a [u8; 16],
}

/// The event's row, in the order of `COLUMNS`.
pub fn fields<'a>(
    event: &'a Event<'_>,
    stamp: &'a Stamp<'_>,
    context: &'a Context,
) -> [Field<'a>; COLUMNS.len()] {
    fn of(value: Option<&Varlena>) -> Field<'_> {
        value.map_or(Field::Null, |value| Field::Varlena(value.bytes()))
    }
    [
        Field::Int8(stamp.event_id),
        Field::Int8(stamp.occurred_at),
        Field::Int8(stamp.captured_at),
        Field::Int8(stamp.xact_id.cast_signed()),
        Field::Int4(event.statement),
        Field::Int4(context.backend_pid),
        event
            .table
            .map_or(Field::Null, |table| Field::Oid(table.oid)),
        Field::Oid(stamp.operation),
        Field::Uuid(stamp.salt),
        of(event.table.map(|table| &table.schema)),
        of(event.table.map(|table| &table.table)),
        of(event.row_key),
        of(event.old_row_key),
        of(event.old_values),
        of(event.new_values),
        of(event.changed_columns),
        of(Some(&context.session_user)),
        of(Some(&context.effective_role)),
        of(context.app_user_id.as_ref()),
        of(context.request_id.as_ref().or(event.request_id)),
        of(context.process_id.as_ref().or(event.process_id)),
        of(context.session_id.as_ref()),
        of(context.tenant_id.as_ref()),
        of(context.reason.as_ref()),
        of(context.application_name.as_ref()),
        of(context.client_addr.as_ref()),
        of(event.action),
        of(event.category),
        of(event.severity),
        of(event.entity_type),
        of(event.entity_id),
        of(event.entity_name),
        of(event.description),
        of(event.context.or(context.extra.as_ref())),
        Field::Null,
    ]
}
