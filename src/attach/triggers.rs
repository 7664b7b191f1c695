//! The triggers of an attached table: which there should be, which there are, making the difference.

use super::registry;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::catalog;
use crate::pg::relation::OpenRelation;
use crate::table_plan::{OnTruncate, TableSettings};
use pgrx::prelude::*;
use std::ffi::CString;

/// `pg_trigger.tgtype` (`src/include/catalog/pg_trigger.h`).
mod tgtype {
    pub const ROW: i16 = 1;
    pub const BEFORE: i16 = 2;
    pub const INSERT: i16 = 4;
    pub const DELETE: i16 = 8;
    pub const UPDATE: i16 = 16;
    pub const TRUNCATE: i16 = 32;
}

/// The prefix that sorts before an application's own BEFORE STATEMENT triggers: the stamp comes first.
const ORDER: &str = "00_audit_order";

/// A trigger that a relation should have.
struct Wanted {
    name: &'static str,
    type_bits: i16,
    events: String,
    /// BEFORE or AFTER, and FOR EACH what.
    timing: &'static str,
    level: &'static str,
    referencing: &'static str,
    function: &'static str,
    /// `pg_trigger.tgenabled`: A(lways) or R(eplica).
    enabled: &'static str,
}

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

fn wanted(relation: pg_sys::Oid, settings: &TableSettings) -> Vec<Wanted> {
    let (kind, is_partition) = {
        let opened = OpenRelation::table(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        (opened.relation().kind(), opened.relation().is_partition())
    };
    let in_inheritance = kind == 'r'
        && !is_partition
        && (catalog::inheritors(relation, pg_sys::NoLock as pg_sys::LOCKMODE).len() > 1
            || !catalog::inheritance_ancestors(relation).is_empty());

    let dml: Vec<(&str, i16)> = [
        ("insert", tgtype::INSERT),
        ("update", tgtype::UPDATE),
        ("delete", tgtype::DELETE),
    ]
    .into_iter()
    .filter(|(name, _)| settings.records(name))
    .collect();
    let events = dml
        .iter()
        .map(|(name, _)| name.to_uppercase())
        .collect::<Vec<_>>()
        .join(" OR ");
    let bits: i16 = dml.iter().map(|(_, bit)| bit).sum();
    let mut wanted = Vec::new();
    let mut add = |name, type_bits, events: &str, timing, level, referencing, function, enabled| {
        let events = events.to_owned();
        wanted.push(Wanted {
            name,
            type_bits,
            events,
            timing,
            level,
            referencing,
            function,
            enabled,
        });
    };
    if !dml.is_empty() {
        add(
            ORDER,
            tgtype::BEFORE | bits,
            &events,
            "BEFORE",
            "STATEMENT",
            "",
            "capture_order",
            "A",
        );
        if in_inheritance {
            add(
                "audit_row",
                tgtype::ROW | bits,
                &events,
                "AFTER",
                "ROW",
                "",
                "capture_row",
                "A",
            );
            add(
                "audit_close",
                bits,
                &events,
                "AFTER",
                "STATEMENT",
                "",
                "capture_statement",
                "A",
            );
        } else {
            for (operation, bit) in &dml {
                let (name, referencing) = match *operation {
                    "insert" => ("audit_insert", "REFERENCING NEW TABLE AS audit_new"),
                    "update" => (
                        "audit_update",
                        "REFERENCING OLD TABLE AS audit_old NEW TABLE AS audit_new",
                    ),
                    _ => ("audit_delete", "REFERENCING OLD TABLE AS audit_old"),
                };
                let event = operation.to_uppercase();
                add(
                    name,
                    *bit,
                    &event,
                    "AFTER",
                    "STATEMENT",
                    referencing,
                    "capture_statement",
                    "A",
                );
            }
            if kind == 'r' {
                add(
                    "audit_apply",
                    tgtype::ROW | bits,
                    &events,
                    "AFTER",
                    "ROW",
                    "",
                    "capture_row",
                    "R",
                );
            }
        }
    }
    if settings.records("truncate") || settings.on_truncate == OnTruncate::Forbid {
        let before = tgtype::BEFORE | tgtype::TRUNCATE;
        add(
            "audit_truncate",
            before,
            "TRUNCATE",
            "BEFORE",
            "STATEMENT",
            "",
            "capture_truncate",
            "A",
        );
        add(
            "audit_truncate_end",
            tgtype::TRUNCATE,
            "TRUNCATE",
            "AFTER",
            "STATEMENT",
            "",
            "capture_statement",
            "A",
        );
    }
    wanted
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
    let wanted = wanted(relation, settings);
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
                "CREATE TRIGGER {name} {timing} {events} ON {table} {referencing} FOR EACH {level} \
                 EXECUTE FUNCTION audit.{function}({quoted})",
                timing = trigger.timing,
                events = trigger.events,
                referencing = trigger.referencing,
                level = trigger.level,
                function = trigger.function,
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
    for trigger in wanted(relation, settings) {
        match present.iter().find(|present| present.name == trigger.name) {
            Some(found) if !found.is(&trigger, &argument) => missing.push(trigger.name.to_owned()),
            Some(found) if found.enabled != trigger.enabled => {
                disabled.push(trigger.name.to_owned())
            }
            Some(_) => {}
            None => missing.push(trigger.name.to_owned()),
        }
    }
    Ok((missing, disabled))
}

/// Whether a relation has triggers of the other kind: it joined or left an inheritance tree since they were made.
pub fn has_wrong_shape(relation: pg_sys::Oid, settings: &TableSettings) -> Result<bool> {
    let wanted = wanted(relation, settings);
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
    let is_partitioned =
        OpenRelation::try_table(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE)
            .is_some_and(|opened| opened.relation().kind() == 'p');
    if is_partitioned {
        catalog::inheritors(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE)
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

fn health_rows(target: pg_sys::Oid) -> Result<Vec<(pg_sys::Oid, Vec<String>, Vec<String>)>> {
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
