//! Acts: events that no row change makes. What `pg_attest` itself does (`system`), DDL that it saw (`ddl`), and what applications tell
//! (`event`) are written here, natively and as whoever called: no SQL can write an event.

use crate::capture::context::Context;
use crate::capture::event::{Event, EventKind, TableName};
use crate::capture::{statement, writer};
use crate::error::Result;
use crate::pg::datum::Varlena;
use crate::pg::relation::{OpenRelation, lock};
use crate::pg::{catalog, context_source, role, xact};
use pgrx::pg_sys;
use serde_json::{Map, Value as Json};

/// An act that is going to be recorded. What is not said stays NULL; who, when and the request come from the context in force.
pub struct Act<'a> {
    pub kind: EventKind,
    /// What was done: `attach`, `ALTER TABLE`, `login`.
    pub action: &'a str,
    /// The table it is about, if any: it may be gone.
    pub table: Option<&'a TableName>,
    pub row_key: Option<&'a str>,
    pub category: Option<&'a str>,
    pub severity: Option<&'a str>,
    pub entity_type: Option<&'a str>,
    pub entity_id: Option<&'a str>,
    pub entity_name: Option<&'a str>,
    pub description: Option<&'a str>,
    /// Instead of the context's own.
    pub reason: Option<&'a str>,
    /// Instead of the context's own.
    pub process_id: Option<&'a str>,
    /// Instead of the context's own.
    pub request_id: Option<&'a str>,
    /// Joins the session's `context`; its keys win.
    pub said: Map<String, Json>,
}

impl<'a> Act<'a> {
    /// An act with nothing but its name.
    pub fn new(kind: EventKind, action: &'a str) -> Self {
        Self {
            kind,
            action,
            table: None,
            row_key: None,
            category: None,
            severity: None,
            entity_type: None,
            entity_id: None,
            entity_name: None,
            description: None,
            reason: None,
            process_id: None,
            request_id: None,
            said: Map::new(),
        }
    }

    /// Writes the event; returns its id.
    ///
    /// # Errors
    /// Where the log lacks its tables or partitions.
    pub fn record(self) -> Result<i64> {
        // A background worker's transaction has none; what is written may have to go out of line.
        let _snapshot = xact::ActiveSnapshot::ensure();
        let text = |value: Option<&str>| value.map(|value| Varlena::text(value.as_bytes()));
        let mut context = caller_context();
        context.reason = text(self.reason).or(context.reason);
        context.process_id = text(self.process_id).or(context.process_id);
        context.request_id = text(self.request_id).or(context.request_id);
        let said = Context::extra_with(self.said);
        writer::write_one(
            &Event {
                table: self.table,
                row_key: text(self.row_key).as_ref(),
                action: text(Some(self.action)).as_ref(),
                category: text(self.category).as_ref(),
                severity: text(self.severity).as_ref(),
                entity_type: text(self.entity_type).as_ref(),
                entity_id: text(self.entity_id).as_ref(),
                entity_name: text(self.entity_name).as_ref(),
                description: text(self.description).as_ref(),
                context: said.as_ref(),
                ..Event::new(self.kind, statement::current())
            },
            &context,
        )
    }
}

/// The table as it is named now: for acts about it.
pub fn name_of(table: pg_sys::Oid) -> TableName {
    let opened = OpenRelation::table(table, lock::ACCESS_SHARE);
    let relation = opened.relation();
    TableName::new(
        table,
        &catalog::namespace_name(relation.namespace()),
        &relation.name(),
    )
}

/// The context now in force, with the role that called although we act as superuser.
fn caller_context() -> Context {
    let mut context = Context::current();
    if let Some(role) = role::caller() {
        context.effective_role = Varlena::text(&context_source::role_name(role));
    }
    context
}
