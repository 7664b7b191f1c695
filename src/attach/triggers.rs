//! The triggers of an attached table: which there should be, which there are, making the difference.

use super::registry;
use super::wanted::{self, Wanted};
use crate::error::{AttestError, Result, SqlState};
use crate::pg::catalog;
use crate::pg::relation::OpenRelation;
use crate::pg::relation::lock;
use crate::table_plan::TableSettings;
use pgrx::prelude::*;
use std::ffi::CString;

/// The settings as a trigger argument.
pub fn argument(settings: &TableSettings) -> Result<CString> {
    let json = serde_json::to_string(settings).map_err(|error| {
        AttestError::new(
            SqlState::ERRCODE_INTERNAL_ERROR,
            format!("cannot write the settings: {error}"),
        )
    })?;
    CString::new(json).map_err(|_| {
        AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "settings hold a NUL byte",
        )
    })
}

/// A trigger of ours that a relation has.
struct Present {
    name: String,
    type_bits: i16,
    enabled: String,
    function: String,
    argument: Vec<u8>,
}

impl Present {
    fn is(&self, wanted: &Wanted, argument: &CString) -> bool {
        self.type_bits == wanted.type_bits
            && self.function == wanted.function
            && self.argument == argument.as_bytes_with_nul()
    }
}

fn present(relation: pg_sys::Oid) -> Result<Vec<Present>> {
    Spi::connect(|client| {
        let rows = client.select(
            "SELECT t.tgname::text, t.tgtype, t.tgenabled::text, p.proname::text, t.tgargs \
             FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
             WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND n.nspname = 'audit' ORDER BY t.tgname",
            None,
            &[relation.into()],
        )?;
        let mut found = Vec::new();
        for row in rows {
            found.push(Present {
                name: row.get(1)?.unwrap_or_default(),
                type_bits: row.get(2)?.unwrap_or_default(),
                enabled: row.get(3)?.unwrap_or_default(),
                function: row.get(4)?.unwrap_or_default(),
                argument: row.get(5)?.unwrap_or_default(),
            });
        }
        Ok(found)
    })
}

/// Gives the relation the triggers that the settings ask for. Superuser; leaves alone what is right already.
pub fn sync(relation: pg_sys::Oid, settings: &TableSettings) -> Result<()> {
    let argument = argument(settings)?;
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
    let quoted = quote_literal(&argument.to_string_lossy());
    for trigger in &wanted {
        let existing = present
            .iter()
            .find(|present| present.name == trigger.name && present.is(trigger, &argument));
        let name = catalog::quote_identifier(trigger.name);
        if existing.is_none() {
            Spi::run(&format!(
                "CREATE TRIGGER {name} {} ON {table} {} EXECUTE FUNCTION audit.{}({quoted})",
                trigger.when(),
                trigger.scope(),
                trigger.function,
            ))?;
        }
        if existing.is_none_or(|existing| existing.enabled != trigger.enabled) {
            let how = if trigger.enabled == "A" {
                "ALWAYS"
            } else {
                "REPLICA"
            };
            Spi::run(&format!(
                "ALTER TABLE ONLY {table} ENABLE {how} TRIGGER {name}"
            ))?;
        }
    }
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
    let argument = argument(settings)?;
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
pub fn has_wrong_shape(relation: pg_sys::Oid, settings: &TableSettings) -> Result<bool> {
    let wanted = wanted::of(relation, settings);
    Ok(present(relation)?
        .iter()
        .any(|present| !wanted.iter().any(|wanted| wanted.name == present.name)))
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

/// `audit.trigger_health(relation regclass)`: a row per attached table or partition with a trigger that is not as it should be.
#[pg_extern(sql = false)]
fn trigger_health(
    target: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(relation, pg_sys::Oid),
        name!(missing, Vec<String>),
        name!(disabled, Vec<String>),
    ),
> {
    let rows = crate::error::or_raise(health_rows(target));
    TableIterator::new(rows)
}

type HealthRow = (pg_sys::Oid, Vec<String>, Vec<String>);

fn health_rows(target: pg_sys::Oid) -> Result<Vec<HealthRow>> {
    let _superuser = crate::pg::role::ActAsSuperuser::new();
    let Some(settings) = registry::settings_of(target)? else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for member in members_of(target) {
        let (missing, disabled) = health(member, &settings)?;
        if !missing.is_empty() || !disabled.is_empty() {
            rows.push((member, missing, disabled));
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
