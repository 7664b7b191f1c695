//! The triggers of an attached table: which there should be, which there are, making the difference.

use super::fit;
use super::registry;
use super::wanted::{self, Wanted};
use crate::error::{AttestError, Result, SqlState};
use crate::pg::catalog;
use crate::pg::query::{self, Arg};
use crate::pg::relation::OpenRelation;
use crate::pg::relation::lock;
use crate::table_plan::TableSettings;
use pgrx::prelude::*;
use std::ffi::CString;

/// The settings as a trigger argument.
pub fn argument(settings: &TableSettings) -> Result<CString> {
    CString::new(text_of(settings)?).map_err(|_| {
        AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "settings hold a NUL byte",
        )
    })
}

fn text_of(settings: &TableSettings) -> Result<String> {
    let json = serde_json::to_string(settings).map_err(|error| {
        AttestError::new(
            SqlState::ERRCODE_INTERNAL_ERROR,
            format!("cannot write the settings: {error}"),
        )
    })?;
    Ok(json)
}

/// A trigger of ours that a relation has.
struct Present {
    name: String,
    type_bits: i16,
    enabled: String,
    function: String,
    /// None when it has not the one argument that we give.
    argument: Option<String>,
}

impl Present {
    /// Whether it fires when the wanted one does, and runs the same function.
    fn does(&self, wanted: &Wanted) -> bool {
        self.type_bits == wanted.type_bits && self.function == wanted.function
    }

    fn is(&self, wanted: &Wanted, argument: &str) -> bool {
        self.does(wanted) && self.argument.as_deref() == Some(argument)
    }
}

fn present(relation: pg_sys::Oid) -> Result<Vec<Present>> {
    // tgargs keeps a NUL after each argument.
    let rows = query::rows(
        "SELECT t.tgname, t.tgtype, t.tgenabled, p.proname, \
                CASE t.tgnargs WHEN 1 THEN pg_catalog.convert_from( \
                  pg_catalog.substr(t.tgargs, 1, pg_catalog.length(t.tgargs) - 1), 'UTF8') END \
         FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND n.nspname = 'audit' ORDER BY t.tgname",
        &[Arg::Oid(relation)],
    )?;
    let mut found = Vec::new();
    for row in rows {
        if let Ok([name, type_bits, enabled, function, argument]) = <[_; 5]>::try_from(row) {
            found.push(Present {
                name: name.unwrap_or_default(),
                type_bits: type_bits
                    .and_then(|bits| bits.parse().ok())
                    .unwrap_or_default(),
                enabled: enabled.unwrap_or_default(),
                function: function.unwrap_or_default(),
                argument,
            });
        }
    }
    Ok(found)
}

/// The settings in the triggers that a relation has; None without one of ours.
pub fn settings_in(relation: pg_sys::Oid) -> Result<Option<TableSettings>> {
    let argument = present(relation)?
        .into_iter()
        .find_map(|found| found.argument);
    argument
        .map(|text| {
            let argument = CString::new(text).unwrap_or_default();
            TableSettings::from_argument(Some(&argument), &catalog::qualified_name(relation))
        })
        .transpose()
}

/// Whether a relation has none of our triggers.
pub fn has_none(relation: pg_sys::Oid) -> Result<bool> {
    Ok(present(relation)?.is_empty())
}

/// Gives the relation the triggers that the settings ask for. Superuser; leaves alone what is right already.
pub fn sync(relation: pg_sys::Oid, settings: &TableSettings) -> Result<()> {
    let argument = text_of(settings)?;
    let table = catalog::qualified_name(relation);
    let wanted = wanted::of(relation, settings);
    let present = present(relation)?;
    for trigger in &present {
        let keep = wanted
            .iter()
            .any(|wanted| wanted.name == trigger.name && trigger.is(wanted, &argument));
        if !keep {
            Spi::run(&format!(
                "DROP TRIGGER {} ON {table}",
                catalog::quote_identifier(&trigger.name)
            ))?;
        }
    }
    let quoted = quote_literal(&argument);
    for trigger in &wanted {
        let existing = present
            .iter()
            .find(|present| present.name == trigger.name && present.is(trigger, &argument));
        if existing.is_none() {
            Spi::run(&create(
                "CREATE TRIGGER",
                trigger.name,
                &table,
                trigger,
                &quoted,
            ))?;
        }
        if existing.is_none_or(|existing| existing.enabled != trigger.enabled) {
            enable(&table, trigger.name, trigger.enabled)?;
        }
    }
    Ok(())
}

/// Gives the triggers that the relation has the settings, and leaves them as they are otherwise: what was disabled, dropped or
/// renamed stays so until `audit.attach()` repairs it. Superuser.
pub fn rewrite(relation: pg_sys::Oid, settings: &TableSettings) -> Result<()> {
    let argument = text_of(settings)?;
    let table = catalog::qualified_name(relation);
    let wanted = wanted::of(relation, settings);
    let quoted = quote_literal(&argument);
    for found in present(relation)? {
        let Some(same) = wanted.iter().find(|wanted| found.does(wanted)) else {
            continue;
        };
        if found.is(same, &argument) {
            continue;
        }
        Spi::run(&create(
            "CREATE OR REPLACE TRIGGER",
            &found.name,
            &table,
            same,
            &quoted,
        ))?;
        enable(&table, &found.name, &found.enabled)?;
    }
    Ok(())
}

fn create(create: &str, name: &str, table: &str, wanted: &Wanted, argument: &str) -> String {
    format!(
        "{create} {} {} ON {table} {} EXECUTE FUNCTION audit.{}({argument})",
        catalog::quote_identifier(name),
        wanted.when(),
        wanted.scope(),
        wanted.function,
    )
}

/// Makes a trigger fire as `pg_trigger.tgenabled` says.
fn enable(table: &str, name: &str, enabled: &str) -> Result<()> {
    let how = match enabled {
        "A" => "ENABLE ALWAYS",
        "R" => "ENABLE REPLICA",
        "D" => "DISABLE",
        _ => "ENABLE",
    };
    Spi::run(&format!(
        "ALTER TABLE ONLY {table} {how} TRIGGER {}",
        catalog::quote_identifier(name)
    ))?;
    Ok(())
}

/// Takes all of our triggers off the relation. Superuser.
pub fn remove(relation: pg_sys::Oid) -> Result<()> {
    let table = catalog::qualified_name(relation);
    for trigger in present(relation)? {
        Spi::run(&format!(
            "DROP TRIGGER {} ON {table}",
            catalog::quote_identifier(&trigger.name)
        ))?;
    }
    Ok(())
}

/// What is wrong with a relation's triggers: (missing or altered, disabled).
pub fn health(
    relation: pg_sys::Oid,
    settings: &TableSettings,
) -> Result<(Vec<String>, Vec<String>)> {
    let argument = text_of(settings)?;
    let present = present(relation)?;
    let mut missing = Vec::new();
    let mut disabled = Vec::new();
    for trigger in wanted::of(relation, settings) {
        match present.iter().find(|present| present.name == trigger.name) {
            Some(found) if !found.is(&trigger, &argument) => missing.push(trigger.name.to_owned()),
            Some(found) if found.enabled != trigger.enabled => {
                disabled.push(trigger.name.to_owned());
            }
            Some(_) => {}
            None => missing.push(trigger.name.to_owned()),
        }
    }
    Ok((missing, disabled))
}

/// Whether a relation has triggers of the other kind: it joined or left an inheritance tree since they were made.
pub fn has_other_shape(relation: pg_sys::Oid, settings: &TableSettings) -> Result<bool> {
    let present = present(relation)?;
    let shape = wanted::shape(present.iter().map(|present| present.name.as_str()));
    let wanted = wanted::of(relation, settings);
    let needed = wanted::shape(wanted.iter().map(|wanted| wanted.name));
    Ok(matches!((shape, needed), (Some(is), Some(should)) if is != should))
}

/// Whether a table and everything beneath it has the triggers it should have.
pub fn are_healthy(table: pg_sys::Oid, settings: &TableSettings) -> Result<bool> {
    for member in members_of(table) {
        let (missing, disabled) = health(member, settings)?;
        if !missing.is_empty() || !disabled.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The relations that carry an attached table's triggers: itself and its partitions.
pub fn members_of(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let is_partitioned = OpenRelation::try_table(table, lock::ACCESS_SHARE)
        .is_some_and(|opened| opened.relation().kind() == 'p');
    if is_partitioned {
        catalog::inheritors(table, lock::ACCESS_SHARE)
    } else {
        vec![table]
    }
}

/// `audit.trigger_health(relation regclass)`: a row per attached table or partition with a trigger that is not as it should be,
/// or with settings that name a column it does not have.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // pgrx reads the columns' names from it
fn trigger_health(
    target: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(relation, pg_sys::Oid),
        name!(missing, Vec<String>),
        name!(disabled, Vec<String>),
        name!(unknown_columns, Vec<String>),
    ),
> {
    let rows = crate::error::or_raise(health_rows(target));
    TableIterator::new(rows)
}

type HealthRow = (pg_sys::Oid, Vec<String>, Vec<String>, Vec<String>);

fn health_rows(target: pg_sys::Oid) -> Result<Vec<HealthRow>> {
    let _superuser = crate::pg::role::ActAsSuperuser::new();
    let Some(settings) = registry::settings_of(target)? else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for member in members_of(target) {
        let (missing, disabled) = health(member, &settings)?;
        // The root's columns are its partitions'.
        let unknown = if member == target {
            fit::unknown_names(member, &settings)
        } else {
            Vec::new()
        };
        if !missing.is_empty() || !disabled.is_empty() || !unknown.is_empty() {
            rows.push((member, missing, disabled, unknown));
        }
    }
    Ok(rows)
}

/// Quotes a string literal for SQL.
fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}
