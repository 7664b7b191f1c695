//! DDL on attached tables: recorded as `ddl` events, and followed.
//!
//! | event trigger | does |
//! | --- | --- |
//! | `ddl_command_start` on DROP … | loads this library, and with it the hook behind `drop_guard` |
//! | `ddl_command_end` | records; gives new partitions, children and tables of attached schemas their triggers; follows renamed columns |
//! | `sql_drop` | records; forgets dropped tables |
//!
//! What following means stands in `ddl_follow`. Under `audit.restore` all three keep still: a dump brings triggers and settings
//! itself.

use super::{ddl_follow, record, registry, shape};
use crate::act::Act;
use crate::capture::context::cut;
use crate::capture::event::{EventKind, TableName};
use crate::error::Result;
use crate::pg::cell::Backend;
use crate::pg::query;
use crate::pg::role::ActAsSuperuser;
use crate::pg::trigger::{DdlFiring, trigger_function};
use crate::pg::xact;
use crate::pg::{catalog, context_source};
use crate::settings;
use pgrx::prelude::*;
use serde_json::{Map, Value as Json};
use std::cell::Cell;

trigger_function!(pg_attest_ddl, pg_finfo_pg_attest_ddl, DdlFiring, on_ddl);

/// The longest statement text that a ddl event keeps.
const MAX_COMMAND: usize = 10_000;

static OWN: Backend<Cell<u32>> = Backend::cell(0);

/// While it lives, DDL is `pg_attest`'s own and is not recorded as somebody's.
///
/// An ERROR unwinds through `Drop`, so the count is right afterwards.
pub struct OwnDdl(());

impl OwnDdl {
    pub fn new() -> Self {
        OWN.set(OWN.get() + 1);
        Self(())
    }
}

impl Drop for OwnDdl {
    fn drop(&mut self) {
        OWN.set(OWN.get().saturating_sub(1));
    }
}

fn on_ddl(firing: &DdlFiring<'_>) -> Result<()> {
    if OWN.get() > 0 || settings::RESTORE.get() {
        return Ok(());
    }
    let _snapshot = xact::ActiveSnapshot::ensure();
    match firing.event() {
        "ddl_command_end" => on_command_end(firing.command_tag()),
        "sql_drop" => on_drop(firing.command_tag()),
        _ => Ok(()),
    }
}

/// One row of `pg_event_trigger_ddl_commands()` that concerns a relation.
pub struct Command {
    pub relation: pg_sys::Oid,
    /// The name of the column that it is about, as it is now: a renamed column's new name.
    pub column: Option<String>,
    pub tag: String,
    pub object: String,
}

fn on_command_end(tag: &str) -> Result<()> {
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    if tag == "ALTER SCHEMA" {
        registry::follow_renamed_schema()?;
    }
    let commands = commands(tag)?;
    if commands.is_empty() {
        return Ok(());
    }
    for command in commands {
        ddl_follow::follow(&command)?;
    }
    ddl_follow::follow_former_parents()
}

/// The relations that the command was about. A composite type stands for the typed tables that its attributes cascade to.
fn commands(tag: &str) -> Result<Vec<Command>> {
    let rows = query::rows(
        "SELECT CASE c.classid WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN c.objid ELSE t.tgrelid END, \
                a.attname, c.command_tag, c.object_identity \
         FROM pg_catalog.pg_event_trigger_ddl_commands() c \
         LEFT JOIN pg_catalog.pg_trigger t ON c.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = c.objid \
         LEFT JOIN pg_catalog.pg_class r ON c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.oid = c.objid \
         LEFT JOIN pg_catalog.pg_attribute a ON c.objsubid > 0 AND a.attrelid = r.oid AND a.attnum = c.objsubid \
         WHERE (r.relkind IN ('r', 'p', 'f') OR t.oid IS NOT NULL) AND NOT c.in_extension \
         UNION ALL \
         SELECT o.oid, a.attname, c.command_tag, c.object_identity \
         FROM pg_catalog.pg_event_trigger_ddl_commands() c \
         JOIN pg_catalog.pg_class r ON c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.oid = c.objid \
         JOIN pg_catalog.pg_class o ON o.reloftype = r.reltype \
         LEFT JOIN pg_catalog.pg_attribute a ON c.objsubid > 0 AND a.attrelid = r.oid AND a.attnum = c.objsubid \
         WHERE r.relkind = 'c' AND NOT c.in_extension \
         UNION ALL \
         SELECT r.oid, NULL, c.command_tag, c.object_identity \
         FROM pg_catalog.pg_event_trigger_ddl_commands() c \
         JOIN pg_catalog.pg_class r ON c.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND r.relnamespace = c.objid \
         JOIN audit.attachment a ON a.relation = r.oid \
         WHERE c.command_tag = 'ALTER SCHEMA'",
        &[],
    )?;
    let mut found = Vec::new();
    for row in rows {
        if let Ok([Some(relation), column, said, object]) = <[_; 4]>::try_from(row) {
            found.push(Command {
                relation: registry::oid(&relation),
                column,
                tag: said.unwrap_or_else(|| tag.to_owned()),
                object: object.unwrap_or_default(),
            });
        }
    }
    Ok(found)
}

/// Records a command as an event of an attached table.
pub fn record_command(table: pg_sys::Oid, command: &Command) -> Result<()> {
    let mut said = statement_text();
    said.insert("object".into(), command.object.clone().into());
    said.extend(shape::describe(table)?);
    record(table, EventKind::Ddl, &command.tag, None, said)
}

fn statement_text() -> Map<String, Json> {
    let mut said = Map::new();
    if let Some(text) = context_source::client_statement() {
        let text = cut(context_source::to_utf8(text), MAX_COMMAND);
        said.insert("command".into(), text.into());
    }
    said
}

/// Something that was dropped, of an attached table.
struct Dropped {
    kind: String,
    table: pg_sys::Oid,
    schema: String,
    name: String,
    object: String,
}

fn on_drop(tag: &str) -> Result<()> {
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    if catalog::namespace_oid(c"audit")
        .and_then(|audit| catalog::relation_oid(audit, "attachment"))
        .is_none()
    {
        // The extension itself is going.
        return Ok(());
    }
    for gone in dropped()? {
        if gone.kind == "column" {
            // ALTER … is recorded at its end.
            if tag.starts_with("DROP") {
                ddl_follow::follow_dropped_column(&Command {
                    relation: gone.table,
                    column: None,
                    tag: tag.to_owned(),
                    object: gone.object,
                })?;
            }
            continue;
        }
        let table = TableName::new(gone.table, &gone.schema, &gone.name);
        let mut said = statement_text();
        said.insert("object".into(), gone.object.clone().into());
        Act {
            table: Some(&table),
            description: Some(&gone.object),
            said,
            ..Act::new(EventKind::Ddl, tag)
        }
        .record()?;
        if gone.kind == "table" {
            registry::remove(gone.table)?;
        }
    }
    registry::forget_dropped_schemas()?;
    ddl_follow::follow_former_parents()
}

fn dropped() -> Result<Vec<Dropped>> {
    let rows = query::rows(
        "SELECT 'table', a.relation::pg_catalog.oid, d.schema_name, d.object_name, d.object_identity \
         FROM pg_catalog.pg_event_trigger_dropped_objects() d JOIN audit.attachment a ON a.relation = d.objid \
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 \
         UNION ALL \
         SELECT 'column', a.relation::pg_catalog.oid, n.nspname, c.relname, d.object_identity \
         FROM pg_catalog.pg_event_trigger_dropped_objects() d JOIN audit.attachment a ON a.relation = d.objid \
         JOIN pg_catalog.pg_class c ON c.oid = d.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid > 0 \
         UNION ALL \
         SELECT 'trigger', c.oid, n.nspname, c.relname, d.object_identity \
         FROM pg_catalog.pg_event_trigger_dropped_objects() d \
         JOIN pg_catalog.pg_namespace n ON n.nspname = d.address_names[1] \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = d.address_names[2] \
         WHERE d.object_type = 'trigger' AND d.original \
         AND EXISTS (SELECT FROM audit.attachment a WHERE a.relation = c.oid \
                     OR a.relation IN (SELECT pg_catalog.pg_partition_ancestors(c.oid)))",
        &[],
    )?;
    let mut found = Vec::new();
    for row in rows {
        if let Ok([Some(kind), Some(table), schema, name, object]) = <[_; 5]>::try_from(row) {
            found.push(Dropped {
                kind,
                table: registry::oid(&table),
                schema: schema.unwrap_or_default(),
                name: name.unwrap_or_default(),
                object: object.unwrap_or_default(),
            });
        }
    }
    Ok(found)
}
