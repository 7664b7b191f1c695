//! The tables `audit.attachment` and `audit.attached_schema`: what was asked for.
//!
//! Every function here runs as superuser: the caller holds an `ActAsSuperuser`. What is read is what is committed now, also in a
//! REPEATABLE READ transaction (`pg::query`).

use crate::error::{AttestError, Result, SqlState};
use crate::pg::query::{self, Arg};
use crate::table_plan::TableSettings;
use pgrx::pg_sys;
use serde_json::Value as Json;

/// The settings with which the table is attached.
pub fn settings_of(table: pg_sys::Oid) -> Result<Option<TableSettings>> {
    let found = first(
        "SELECT settings FROM audit.attachment WHERE relation = $1",
        &[Arg::Oid(table)],
    )?;
    found.map(|json| from_json(&json)).transpose()
}

/// Keeps the settings of a table.
pub fn put(table: pg_sys::Oid, settings: &TableSettings) -> Result<()> {
    query::run(
        "INSERT INTO audit.attachment AS a (relation, settings) VALUES ($1, $2::pg_catalog.jsonb) \
         ON CONFLICT (relation) DO UPDATE SET settings = excluded.settings",
        &[Arg::Oid(table), Arg::Text(&to_json(settings)?.to_string())],
    )
}

/// Forgets a table.
pub fn remove(table: pg_sys::Oid) -> Result<()> {
    query::run(
        "DELETE FROM audit.attachment WHERE relation = $1",
        &[Arg::Oid(table)],
    )
}

/// The attached tables of a schema.
pub fn tables_in(schema: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>> {
    oids(
        "SELECT a.relation::pg_catalog.oid FROM audit.attachment a JOIN pg_catalog.pg_class c ON c.oid = a.relation \
         WHERE c.relnamespace = $1 ORDER BY c.relname",
        &[Arg::Oid(schema)],
    )
}

/// Those of the tables that are attached.
pub fn attached_among(tables: &[pg_sys::Oid]) -> Result<Vec<pg_sys::Oid>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let listed: Vec<String> = tables
        .iter()
        .map(|table| table.to_u32().to_string())
        .collect();
    oids(
        "SELECT relation::pg_catalog.oid FROM audit.attachment WHERE relation = ANY ($1::pg_catalog.oid[]) ORDER BY 1",
        &[Arg::Text(&format!("{{{}}}", listed.join(",")))],
    )
}

/// The settings of an attached schema, as they were given.
pub fn schema_settings(schema: pg_sys::Oid) -> Result<Option<Json>> {
    let found = first(
        "SELECT s.settings FROM audit.attached_schema s JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema \
         WHERE n.oid = $1",
        &[Arg::Oid(schema)],
    )?;
    found
        .map(|json| serde_json::from_str(&json).map_err(|error| damaged(&error)))
        .transpose()
}

/// Keeps the settings of a schema.
pub fn put_schema(schema: pg_sys::Oid, settings: &Json) -> Result<()> {
    query::run(
        "INSERT INTO audit.attached_schema (schema, settings) \
         SELECT nspname, $2::pg_catalog.jsonb FROM pg_catalog.pg_namespace WHERE oid = $1 \
         ON CONFLICT (schema) DO UPDATE SET settings = excluded.settings",
        &[Arg::Oid(schema), Arg::Text(&settings.to_string())],
    )
}

/// Forgets a schema.
pub fn remove_schema(schema: pg_sys::Oid) -> Result<()> {
    query::run(
        "DELETE FROM audit.attached_schema s USING pg_catalog.pg_namespace n \
         WHERE n.nspname = s.schema AND n.oid = $1",
        &[Arg::Oid(schema)],
    )
}

/// Forgets schemas that are gone.
pub fn forget_dropped_schemas() -> Result<()> {
    query::run(
        "DELETE FROM audit.attached_schema s \
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = s.schema)",
        &[],
    )
}

/// Follows ALTER SCHEMA … RENAME, within the event trigger at its end: the one attached schema that is gone, for dropped ones are
/// forgotten at once, is the one that was renamed.
pub fn follow_renamed_schema() -> Result<()> {
    query::run(
        "WITH gone AS (SELECT s.schema FROM audit.attached_schema s \
           WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = s.schema)) \
         UPDATE audit.attached_schema s SET schema = n.nspname \
         FROM gone, pg_catalog.pg_event_trigger_ddl_commands() c, pg_catalog.pg_namespace n \
         WHERE s.schema = gone.schema AND (SELECT pg_catalog.count(*) FROM gone) = 1 AND c.command_tag = 'ALTER SCHEMA' \
           AND c.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND n.oid = c.objid",
        &[],
    )
}

/// The first column of the first row; None without a row.
pub fn first(sql: &str, args: &[Arg<'_>]) -> Result<Option<String>> {
    Ok(all(sql, args)?.into_iter().next())
}

/// The first column of all rows, NULLs left out.
pub fn all(sql: &str, args: &[Arg<'_>]) -> Result<Vec<String>> {
    let rows = query::rows(sql, args)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect())
}

/// The first column of all rows, of type oid.
pub fn oids(sql: &str, args: &[Arg<'_>]) -> Result<Vec<pg_sys::Oid>> {
    let found = all(sql, args)?;
    Ok(found.iter().map(|text| oid(text)).collect())
}

/// An OID as PostgreSQL prints it.
pub fn oid(text: &str) -> pg_sys::Oid {
    pg_sys::Oid::from(text.parse::<u32>().unwrap_or_default())
}

pub fn to_json(settings: &TableSettings) -> Result<Json> {
    serde_json::to_value(settings).map_err(|error| damaged(&error))
}

fn from_json(json: &str) -> Result<TableSettings> {
    serde_json::from_str(json).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_DATA_CORRUPTED,
        "the settings in audit.attachment are damaged",
    )
    .detail(format!("{error}."))
    .hint("Detach the table, and attach it again.")
}
