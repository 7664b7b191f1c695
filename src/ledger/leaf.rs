//! From a row of `audit.audit_events` to its leaf: `docs/log-format.md`, read natively.

use crate::error::Result;
use crate::pg::catalog;
use crate::pg::columns::{Columns, Expected, Fields, LastInet, column};
use attest_log::encoding::{Encoder, EventRecord, LeafData, TextListBuf, unix_micros};
use pgrx::pg_sys;

/// What is read of an event, under the numbers of [`at`].
pub(super) const COLUMNS: [Expected; 35] = {
    use pg_sys::{
        INETOID, INT4OID, INT8OID, InvalidOid, JSONBOID, OIDOID, TEXTARRAYOID, TEXTOID,
        TIMESTAMPTZOID, UUIDOID, XID8OID,
    };
    [
        column("event_id", INT8OID),
        column("occurred_at", TIMESTAMPTZOID),
        column("captured_at", TIMESTAMPTZOID),
        column("xact_id", XID8OID),
        column("statement_id", INT4OID),
        column("backend_pid", INT4OID),
        column("table_oid", OIDOID),
        column("operation", InvalidOid),
        column("salt", UUIDOID),
        column("schema_name", TEXTOID),
        column("table_name", TEXTOID),
        column("row_key", TEXTOID),
        column("old_row_key", TEXTOID),
        column("old_values", JSONBOID),
        column("new_values", JSONBOID),
        column("changed_columns", TEXTARRAYOID),
        column("session_user_name", TEXTOID),
        column("effective_role", TEXTOID),
        column("app_user_id", TEXTOID),
        column("request_id", TEXTOID),
        column("process_id", TEXTOID),
        column("session_id", TEXTOID),
        column("tenant_id", TEXTOID),
        column("reason", TEXTOID),
        column("application_name", TEXTOID),
        column("client_addr", INETOID),
        column("action", TEXTOID),
        column("category", TEXTOID),
        column("severity", TEXTOID),
        column("entity_type", TEXTOID),
        column("entity_id", TEXTOID),
        column("entity_name", TEXTOID),
        column("description", TEXTOID),
        column("context", JSONBOID),
        column("payload_hash", pg_sys::BYTEAOID),
    ]
};

/// Numbers of the columns in [`COLUMNS`].
pub mod at {
    pub const EVENT_ID: usize = 0;
    pub const OCCURRED_AT: usize = 1;
    pub const CAPTURED_AT: usize = 2;
    pub const XACT_ID: usize = 3;
    pub const STATEMENT_ID: usize = 4;
    pub const TABLE_OID: usize = 6;
    pub const OPERATION: usize = 7;
    pub const SCHEMA_NAME: usize = 9;
    pub const TABLE_NAME: usize = 10;
    pub const ROW_KEY: usize = 11;
    pub const CHANGED_COLUMNS: usize = 15;
    pub const SESSION_USER_NAME: usize = 16;
    pub const APP_USER_ID: usize = 18;
    pub const REQUEST_ID: usize = 19;
    pub const PROCESS_ID: usize = 20;
    pub const SESSION_ID: usize = 21;
    pub const TENANT_ID: usize = 22;
    pub const ACTION: usize = 26;
    pub const CATEGORY: usize = 27;
    pub const SEVERITY: usize = 28;
    pub const ENTITY_TYPE: usize = 29;
    pub const ENTITY_NAME: usize = 31;
    pub const DESCRIPTION: usize = 32;
    pub const CONTEXT: usize = 33;
    pub const PAYLOAD_HASH: usize = 34;
}

/// Where a partition has its columns.
pub fn columns(partition: crate::pg::relation::RelationRef<'_>) -> Result<Columns> {
    Columns::of(partition, &COLUMNS)
}

/// An event's leaf.
pub struct Leaf {
    pub data: LeafData,
    /// Why the row is not one that `pg_attest` wrote: without salt and payload hash, say. Such an event must not keep the others
    /// from being sealed: its commitments are 32 zero bytes, and verification reports it.
    pub malformed: Option<attest_log::Error>,
}

/// Makes leaves from rows; keeps its memory from one event to the next.
pub struct LeafMaker {
    encoder: Encoder,
    changed: TextListBuf,
    /// Old values, new values and context, printed.
    json: [Vec<u8>; 3],
    address: LastInet,
    labels: Labels,
}

impl LeafMaker {
    pub fn new() -> Self {
        Self {
            encoder: Encoder::new(),
            changed: TextListBuf::new(),
            json: Default::default(),
            address: LastInet::default(),
            labels: Labels::default(),
        }
    }

    /// The leaf of an event's row.
    pub fn leaf(&mut self, row: &Fields<'_>) -> Leaf {
        let operation = row.oid(at::OPERATION).unwrap_or_default();
        let operation = self.labels.of(operation);
        self.changed.clear();
        let mut list = Ok(());
        let changed = row.texts(15, |text| {
            if let Err(error) = self.changed.push(text) {
                list = Err(error);
            }
        });
        if changed == Some(false) {
            list = Err(attest_log::Error::BrokenList { at: 0 });
        }
        let text = |number: usize| row.bytes(number);
        let fields = [
            (13, "old_values"),
            (14, "new_values"),
            (at::CONTEXT, "context"),
        ];
        let mut printed = [None; 3];
        for ((number, field), (buffer, printed)) in fields
            .into_iter()
            .zip(self.json.iter_mut().zip(&mut printed))
        {
            match row.json_text(number, buffer) {
                None => {}
                Some(true) => *printed = Some(buffer.as_slice()),
                Some(false) => list = Err(attest_log::Error::Unprintable { field }),
            }
        }
        let [old_values, new_values, context] = printed;
        let event = EventRecord {
            event_id: row.int8(at::EVENT_ID).unwrap_or_default(),
            occurred_at: unix_micros(row.int8(at::OCCURRED_AT).unwrap_or_default()),
            captured_at: unix_micros(row.int8(at::CAPTURED_AT).unwrap_or_default()),
            xact_id: row.int8(at::XACT_ID).unwrap_or_default().cast_unsigned(),
            statement_id: row.int4(at::STATEMENT_ID).unwrap_or_default(),
            backend_pid: row.int4(5).unwrap_or_default(),
            table_oid: row.oid(6).map(pg_sys::Oid::to_u32),
            operation: operation.unwrap_or_default().as_bytes(),
            salt: row.uuid(8).copied(),
            schema_name: text(at::SCHEMA_NAME),
            table_name: text(at::TABLE_NAME),
            row_key: text(at::ROW_KEY),
            old_row_key: text(12),
            old_values,
            new_values,
            changed_columns: changed.map(|_| self.changed.as_list()),
            session_user_name: text(at::SESSION_USER_NAME).unwrap_or_default(),
            effective_role: text(17).unwrap_or_default(),
            app_user_id: text(18),
            request_id: text(at::REQUEST_ID),
            process_id: text(at::PROCESS_ID),
            session_id: text(at::SESSION_ID),
            tenant_id: text(22),
            reason: text(23),
            application_name: text(24),
            client_addr: row.inet_text(25, &mut self.address),
            action: text(at::ACTION),
            category: text(27),
            severity: text(28),
            entity_type: text(29),
            entity_id: text(30),
            entity_name: text(31),
            description: text(32),
            context,
            payload_hash: text(at::PAYLOAD_HASH).map(|hash| hash.try_into().unwrap_or([0; 32])),
        };
        let leaf = list.and_then(|()| self.encoder.leaf(&event));
        match leaf {
            Ok(data) => Leaf {
                data,
                malformed: None,
            },
            Err(error) => Leaf {
                data: LeafData::new(
                    event.event_id,
                    event.xact_id,
                    event.occurred_at,
                    &[0; 32],
                    &[0; 32],
                ),
                malformed: Some(error),
            },
        }
    }
}

/// Labels of the enum `audit.operation`, each looked up once.
#[derive(Default)]
pub(super) struct Labels(Vec<(pg_sys::Oid, String)>);

impl Labels {
    /// The label of a value; None where it is none of an enum.
    pub fn of(&mut self, value: pg_sys::Oid) -> Option<&str> {
        if !self.0.iter().any(|(oid, _)| *oid == value) {
            self.0.push((value, catalog::enum_label(value)?));
        }
        let found = self.0.iter().find(|(oid, _)| *oid == value);
        found.map(|(_, label)| label.as_str())
    }
}
