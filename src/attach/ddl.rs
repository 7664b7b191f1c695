//! DDL on attached tables: recorded as `ddl` events, and followed.
//!
//! | event trigger | does |
//! | --- | --- |
//! | `ddl_command_start` on DROP … | loads this library, and with it the hook behind `drop_guard` |
//! | `ddl_command_end` | records; gives new partitions, children and tables of attached schemas their triggers; follows renamed columns |
//! | `sql_drop` | records; forgets dropped tables |
//!
//! Under `audit.restore` all three keep still: a dump brings triggers and settings itself.

use super::{record, record_named, registry, request, schema, triggers};
use crate::capture::context::Context;
use crate::capture::event::{EventKind, TableName};
use crate::error::{AttestError, Result, SqlState};
use crate::pg::cell::Backend;
use crate::pg::datum::Varlena;
use crate::pg::relation::OpenRelation;
use crate::pg::relation::lock;
use crate::pg::role::{self, ActAsSuperuser};
use crate::pg::trigger::{DdlFiring, trigger_function};
use crate::pg::{catalog, context_source, xact};
use crate::settings;
use crate::table_plan::TableSettings;
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

/// The context of an act of `pg_attest`'s own: the role that called, although we act as superuser.
pub fn outer_context() -> Context {
    let mut context = Context::current();
    if let Some(role) = role::caller() {
        context.effective_role = Varlena::text(&context_source::role_name(role));
    }
    context
}

fn on_ddl(firing: &DdlFiring<'_>) -> Result<()> {
    if OWN.get() > 0 || settings::RESTORE.get() {
        return Ok(());
    }
    match firing.event() {
        "ddl_command_end" => on_command_end(firing.command_tag()),
        "sql_drop" => on_drop(firing.command_tag()),
        _ => Ok(()),
    }
}

/// One row of `pg_event_trigger_ddl_commands()` that concerns a relation.
struct Command {
    relation: pg_sys::Oid,
    column: i32,
    tag: String,
    object: String,
}

fn on_command_end(tag: &str) -> Result<()> {
    let commands = commands()?;
    if commands.is_empty() {
        return Ok(());
    }
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    for command in commands {
        follow(&command, tag)?;
    }
    Ok(())
}

fn commands() -> Result<Vec<Command>> {
    let _superuser = ActAsSuperuser::new();
    Spi::connect(|client| {
        let rows = client.select(
            "SELECT CASE c.classid WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN c.objid ELSE t.tgrelid END, \
                    c.objsubid, c.command_tag, c.object_identity \
             FROM pg_catalog.pg_event_trigger_ddl_commands() c \
             LEFT JOIN pg_catalog.pg_trigger t ON c.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = c.objid \
             LEFT JOIN pg_catalog.pg_class r ON c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.oid = c.objid \
             WHERE (r.relkind IN ('r', 'p', 'f') OR t.oid IS NOT NULL) AND NOT c.in_extension \
             UNION ALL \
             SELECT a.relation::pg_catalog.oid, 0, c.command_tag, c.object_identity \
             FROM pg_catalog.pg_event_trigger_ddl_commands() c \
             JOIN pg_catalog.pg_class r ON c.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND r.relnamespace = c.objid \
             JOIN audit.attachment a ON a.relation = r.oid \
             WHERE c.command_tag = 'ALTER SCHEMA'",
            None,
            &[],
        )?;
        let mut found = Vec::new();
        for row in rows {
            found.push(Command {
                relation: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                column: row.get(2)?.unwrap_or_default(),
                tag: row.get(3)?.unwrap_or_default(),
                object: row.get(4)?.unwrap_or_default(),
            });
        }
        Ok(found)
    })
}

fn unlogged(table: pg_sys::Oid) -> AttestError {
    let name = catalog::qualified_name(table);
    AttestError::new(
        SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("cannot make audited table {name} unlogged"),
    )
    .detail(
        "A crash would empty it without an event, and the trail would claim rows that are gone.",
    )
    .hint(format!(
        "SELECT audit.detach('{name}', reason => '…'); first."
    ))
}

/// Records a command on an attached table, and gives everything that is now part of one its triggers.
fn follow(command: &Command, tag: &str) -> Result<()> {
    let Some(opened) = OpenRelation::try_table(command.relation, lock::ACCESS_SHARE) else {
        return Ok(());
    };
    let relation = opened.relation();
    let (namespace, kind, is_partition) = (
        relation.namespace(),
        relation.kind(),
        relation.is_partition(),
    );
    let persistence = relation.persistence();
    let is_ours = catalog::namespace_name(namespace) == "audit" || persistence == 't';
    // ALTER TABLE refuses a relation that is open.
    drop(opened);
    if is_ours {
        return Ok(());
    }
    if let Some(known) = registry::settings_of(command.relation)? {
        if persistence == 'u' {
            return Err(unlogged(command.relation));
        }
        record_command(command.relation, command, tag)?;
        resync(command.relation, known, command.column)?;
        return if kind == 'p' {
            attach_detached_partitions()
        } else {
            Ok(())
        };
    }
    let above = if is_partition {
        catalog::partition_ancestors(command.relation)
    } else {
        catalog::inheritance_ancestors(command.relation)
    };
    for ancestor in above.iter().rev() {
        if let Some(known) = registry::settings_of(*ancestor)? {
            record_command(*ancestor, command, tag)?;
            if is_partition {
                return resync(*ancestor, known, 0);
            }
            // An inheritance child is attached for itself; its parent's triggers change shape.
            super::attach(command.relation, &known, false)?;
            return resync(*ancestor, known, 0);
        }
    }
    if matches!(kind, 'r' | 'p')
        && !is_partition
        && let Some(settings) = registry::schema_settings(namespace)?
    {
        return schema::attach_where_possible(command.relation, &settings, false);
    }
    Ok(())
}

/// A table that carries our triggers without being attached, nor a partition, was detached from an attached one: it goes
/// on as an attachment of its own, with the settings in its triggers.
fn attach_detached_partitions() -> Result<()> {
    let detached: Vec<pg_sys::Oid> = registry::all(
        "SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         WHERE n.nspname = 'audit' AND p.proname LIKE 'capture%' AND NOT t.tgisinternal AND NOT c.relispartition \
         AND NOT EXISTS (SELECT FROM audit.attachment a WHERE a.relation = c.oid)",
        &[],
    )?;
    for relation in detached {
        let argument: Option<Vec<u8>> = registry::first(
            "SELECT t.tgargs FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
             WHERE t.tgrelid = $1 AND n.nspname = 'audit' AND p.proname LIKE 'capture%' LIMIT 1",
            &[relation.into()],
        )?;
        let argument = argument
            .as_deref()
            .and_then(|bytes| std::ffi::CStr::from_bytes_until_nul(bytes).ok());
        let settings = TableSettings::from_argument(argument, &catalog::qualified_name(relation))?;
        super::attach(relation, &settings, false)?;
    }
    Ok(())
}

/// Follows renamed and added columns, new and detached partitions. Triggers that someone disabled or dropped stay so: they
/// were recorded, `audit.status()` shows them, and `audit.attach()` repairs them.
fn resync(table: pg_sys::Oid, mut settings: TableSettings, renamed: i32) -> Result<()> {
    let before = settings.clone();
    let (names, key_columns) = {
        let opened = OpenRelation::table(table, lock::ACCESS_SHARE);
        (
            opened.relation().column_names(),
            opened.relation().key_columns(),
        )
    };
    let columns: Vec<String> = names
        .iter()
        .filter(|name| !name.is_empty())
        .cloned()
        .collect();
    let renamed = usize::try_from(renamed)
        .ok()
        .and_then(|number| names.get(number.checked_sub(1)?));
    if let Some(new_name) = renamed {
        let lists = [
            Some(&mut settings.exclude),
            Some(&mut settings.mask),
            settings.key_columns.as_mut(),
        ];
        for name in lists
            .into_iter()
            .flatten()
            .flatten()
            .filter(|name| !columns.contains(name))
        {
            name.clone_from(new_name);
        }
    }
    for list in [
        Some(&mut settings.exclude),
        Some(&mut settings.mask),
        settings.key_columns.as_mut(),
    ]
    .into_iter()
    .flatten()
    {
        list.retain(|name| columns.contains(name));
    }
    if settings.mask_secrets {
        let key: Vec<String> = key_columns
            .into_iter()
            .filter_map(|index| names.get(index).cloned())
            .collect();
        let is_exempt = |name: &String| {
            settings.exclude.contains(name) || key.contains(name) || before.mask.contains(name)
        };
        let added = request::secrets(&columns, is_exempt);
        if let Some(name) = added.first() {
            AttestError::new(
                SqlState::ERRCODE_SUCCESSFUL_COMPLETION,
                format!("masking column \"{name}\" in the audit log: its name looks secret"),
            )
            .hint("Call audit.attach() with mask => '{…}' to choose yourself.")
            .notice();
        }
        settings.mask.extend(
            added
                .into_iter()
                .filter(|name| !settings.mask.contains(name))
                .collect::<Vec<_>>(),
        );
    }
    if settings != before {
        registry::put(table, &settings)?;
    }
    let tree = triggers::members_of(table);
    if let Some(foreign) = catalog::has_foreign_table(&tree) {
        return Err(AttestError::new(
            SqlState::ERRCODE_WRONG_OBJECT_TYPE,
            format!("cannot put foreign table {} beneath an audited table", catalog::qualified_name(foreign)),
        )
        .detail("PostgreSQL cannot hand its rows to triggers, so every write to the audited table would fail.")
        .hint(format!("Detach {} from the audit first, or keep the foreign table apart.", catalog::qualified_name(table))));
    }
    for member in tree {
        let (missing, _) = triggers::health(member, &settings)?;
        let is_new = member != table
            && missing
                .iter()
                .any(|name| name == "00_audit_order" || name == "audit_truncate");
        if settings != before || is_new || triggers::has_wrong_shape(member, &settings)? {
            triggers::sync(member, &settings)?;
        }
    }
    xact::command_counter_increment();
    Ok(())
}

fn record_command(table: pg_sys::Oid, command: &Command, tag: &str) -> Result<()> {
    let mut said = statement_text();
    said.insert("object".into(), command.object.clone().into());
    let opened = OpenRelation::table(table, lock::ACCESS_SHARE);
    let columns = opened
        .relation()
        .column_names()
        .into_iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty());
    let columns: Map<String, Json> = columns
        .map(|(index, name)| ((index + 1).to_string(), name.into()))
        .collect();
    // Which number had which name from now on: what lets history follow a renamed column.
    said.insert("columns".into(), Json::Object(columns));
    let action = if command.tag.is_empty() {
        tag
    } else {
        &command.tag
    };
    record(table, EventKind::Ddl, action, None, said)
}

fn statement_text() -> Map<String, Json> {
    let mut said = Map::new();
    if let Some(text) = context_source::client_statement() {
        let mut text = context_source::to_utf8(text);
        if text.len() > MAX_COMMAND {
            let end = (0..=MAX_COMMAND)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        said.insert("command".into(), text.into());
    }
    said
}

fn on_drop(tag: &str) -> Result<()> {
    struct Dropped {
        table: pg_sys::Oid,
        schema: String,
        name: String,
        object: String,
        is_table: bool,
    }
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    if catalog::namespace_oid(c"audit")
        .and_then(|audit| catalog::relation_oid(audit, "attachment"))
        .is_none()
    {
        // The extension itself is going.
        return Ok(());
    }
    let dropped: Vec<Dropped> = Spi::connect(|client| {
        let rows = client.select(
            "SELECT a.relation::pg_catalog.oid, d.schema_name, d.object_name, d.object_identity, true \
             FROM pg_catalog.pg_event_trigger_dropped_objects() d JOIN audit.attachment a ON a.relation = d.objid \
             WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 \
             UNION ALL \
             SELECT c.oid, n.nspname::text, c.relname::text, d.object_identity, false \
             FROM pg_catalog.pg_event_trigger_dropped_objects() d \
             JOIN pg_catalog.pg_namespace n ON n.nspname = d.address_names[1] \
             JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = d.address_names[2] \
             WHERE d.object_type = 'trigger' AND d.original AND d.address_names[3] ~ '^(00_)?audit_' \
             AND EXISTS (SELECT FROM audit.attachment a WHERE a.relation = c.oid \
                         OR a.relation IN (SELECT pg_catalog.pg_partition_ancestors(c.oid)))",
            None,
            &[],
        )?;
        let mut found = Vec::new();
        for row in rows {
            found.push(Dropped {
                table: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                schema: row.get(2)?.unwrap_or_default(),
                name: row.get(3)?.unwrap_or_default(),
                object: row.get(4)?.unwrap_or_default(),
                is_table: row.get(5)?.unwrap_or_default(),
            });
        }
        Ok::<_, pgrx::spi::Error>(found)
    })?;
    for gone in dropped {
        let table = TableName::new(gone.table, &gone.schema, &gone.name);
        let mut said = statement_text();
        said.insert("object".into(), gone.object.clone().into());
        record_named(
            Some(&table),
            EventKind::Ddl,
            tag,
            None,
            Some(&gone.object),
            said,
        )?;
        if gone.is_table {
            registry::remove(gone.table)?;
        }
    }
    registry::forget_dropped_schemas()
}
