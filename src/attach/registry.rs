//! The tables `audit.attachment` and `audit.attached_schema`: what was asked for.
//!
//! Every function here runs as superuser: the caller holds an `ActAsSuperuser`.

use crate::error::{AttestError, Result, SqlState};
use crate::table_plan::TableSettings;
use pgrx::JsonB;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::Value as Json;

/// The settings with which the table is attached.
pub fn settings_of(table: pg_sys::Oid) -> Result<Option<TableSettings>> {
    let found = first::<JsonB>(
        "SELECT settings FROM audit.attachment WHERE relation = $1",
        &[table.into()],
    )?;
    found.map(|JsonB(json)| from_json(json)).transpose()
}

/// Keeps the settings of a table.
pub fn put(table: pg_sys::Oid, settings: &TableSettings) -> Result<()> {
    let json = JsonB(to_json(settings)?);
    Spi::run_with_args(
        "INSERT INTO audit.attachment AS a (relation, settings) VALUES ($1, $2) \
         ON CONFLICT (relation) DO UPDATE SET settings = excluded.settings",
        &[table.into(), json.into()],
    )?;
    Ok(())
}

/// Forgets a table.
pub fn remove(table: pg_sys::Oid) -> Result<()> {
    Spi::run_with_args(
        "DELETE FROM audit.attachment WHERE relation = $1",
        &[table.into()],
    )?;
    Ok(())
}

/// The attached tables of a schema.
pub fn tables_in(schema: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>> {
    all(
        "SELECT a.relation::oid FROM audit.attachment a JOIN pg_catalog.pg_class c ON c.oid = a.relation \
         WHERE c.relnamespace = $1 ORDER BY c.relname",
        &[schema.into()],
    )
}

/// The settings of an attached schema, as they were given.
pub fn schema_settings(schema: pg_sys::Oid) -> Result<Option<Json>> {
    let found = first::<JsonB>(
        "SELECT settings FROM audit.attached_schema WHERE schema = $1",
        &[schema.into()],
    )?;
    Ok(found.map(|JsonB(json)| json))
}

/// Keeps the settings of a schema.
pub fn put_schema(schema: pg_sys::Oid, settings: &Json) -> Result<()> {
    Spi::run_with_args(
        "INSERT INTO audit.attached_schema (schema, settings) VALUES ($1, $2) \
         ON CONFLICT (schema) DO UPDATE SET settings = excluded.settings",
        &[schema.into(), JsonB(settings.clone()).into()],
    )?;
    Ok(())
}

/// Forgets a schema.
pub fn remove_schema(schema: pg_sys::Oid) -> Result<()> {
    Spi::run_with_args(
        "DELETE FROM audit.attached_schema WHERE schema = $1",
        &[schema.into()],
    )?;
    Ok(())
}

/// Forgets schemas that are gone.
pub fn forget_dropped_schemas() -> Result<()> {
    Spi::run(
        "DELETE FROM audit.attached_schema s \
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid = s.schema)",
    )?;
    Ok(())
}

/// The first column of the first row; None without a row.
pub fn first<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid<'_>]) -> Result<Option<T>> {
    Spi::connect(|client| {
        let rows = client.select(sql, Some(1), args)?;
        if rows.is_empty() {
            Ok(None)
        } else {
            Ok(rows.first().get_one::<T>()?)
        }
    })
}

/// The first column of all rows.
pub fn all<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid<'_>]) -> Result<Vec<T>> {
    Spi::connect(|client| {
        let mut found = Vec::new();
        for row in client.select(sql, None, args)? {
            if let Some(value) = row.get::<T>(1)? {
                found.push(value);
            }
        }
        Ok(found)
    })
}

pub fn to_json(settings: &TableSettings) -> Result<Json> {
    serde_json::to_value(settings).map_err(|error| damaged(&error))
}

fn from_json(json: Json) -> Result<TableSettings> {
    serde_json::from_value(json).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_DATA_CORRUPTED,
        "the settings in audit.attachment are damaged",
    )
    .detail(format!("{error}."))
    .hint("Detach the table, and attach it again.")
}
