//! Which triggers a relation should have: the table in docs/design-decisions.md, "Which triggers a table gets".

use crate::pg::catalog;
use crate::pg::relation::{OpenRelation, lock};
use crate::table_plan::{OnTruncate, TableSettings};
use pgrx::pg_sys;

/// `pg_trigger.tgtype` (`src/include/catalog/pg_trigger.h`).
mod tgtype {
    pub const ROW: i16 = 1;
    pub const BEFORE: i16 = 2;
    pub const INSERT: i16 = 4;
    pub const DELETE: i16 = 8;
    pub const UPDATE: i16 = 16;
    pub const TRUNCATE: i16 = 32;
}

/// Sorts before an application's own BEFORE STATEMENT triggers: the stamp comes first.
const ORDER: &str = "00_audit_order";

/// A trigger that a relation should have.
pub struct Wanted {
    pub name: &'static str,
    /// `pg_trigger.tgtype`.
    pub type_bits: i16,
    /// The function in schema audit.
    pub function: &'static str,
    /// `pg_trigger.tgenabled`: A(lways) or R(eplica).
    pub enabled: &'static str,
    referencing: &'static str,
}

impl Wanted {
    /// `AFTER UPDATE OR DELETE`, and so on.
    pub fn when(&self) -> String {
        let timing = if self.type_bits & tgtype::BEFORE == 0 {
            "AFTER"
        } else {
            "BEFORE"
        };
        let events = [
            (tgtype::INSERT, "INSERT"),
            (tgtype::UPDATE, "UPDATE"),
            (tgtype::DELETE, "DELETE"),
            (tgtype::TRUNCATE, "TRUNCATE"),
        ];
        let events: Vec<&str> = events
            .iter()
            .filter(|(bit, _)| self.type_bits & bit != 0)
            .map(|(_, name)| *name)
            .collect();
        format!("{timing} {}", events.join(" OR "))
    }

    /// `REFERENCING … FOR EACH STATEMENT`, and so on.
    pub fn scope(&self) -> String {
        let level = if self.type_bits & tgtype::ROW == 0 {
            "STATEMENT"
        } else {
            "ROW"
        };
        format!("{} FOR EACH {level}", self.referencing)
    }
}

/// The triggers that the relation should have.
pub fn of(relation: pg_sys::Oid, settings: &TableSettings) -> Vec<Wanted> {
    let (kind, is_partition) = {
        let opened = OpenRelation::table(relation, lock::ACCESS_SHARE);
        (opened.relation().kind(), opened.relation().is_partition())
    };
    let in_inheritance = kind == 'r'
        && !is_partition
        && (catalog::inheritors(relation, lock::NONE).len() > 1
            || !catalog::inheritance_ancestors(relation).is_empty());

    let mut wanted = Vec::new();
    let mut add = |name, type_bits, function, enabled, referencing| {
        wanted.push(Wanted {
            name,
            type_bits,
            function,
            enabled,
            referencing,
        });
    };
    let statement_triggers = [
        (
            "insert",
            "audit_insert",
            tgtype::INSERT,
            "REFERENCING NEW TABLE AS audit_new",
        ),
        (
            "update",
            "audit_update",
            tgtype::UPDATE,
            "REFERENCING OLD TABLE AS audit_old NEW TABLE AS audit_new",
        ),
        (
            "delete",
            "audit_delete",
            tgtype::DELETE,
            "REFERENCING OLD TABLE AS audit_old",
        ),
    ];
    let recorded = statement_triggers
        .iter()
        .filter(|(operation, ..)| settings.records(operation));
    let events: i16 = recorded.clone().map(|(_, _, bit, _)| bit).sum();
    if events != 0 {
        add(ORDER, tgtype::BEFORE | events, "capture_order", "A", "");
    }
    if events != 0 && in_inheritance {
        add("audit_row", tgtype::ROW | events, "capture_row", "A", "");
        add("audit_close", events, "capture_statement", "A", "");
    } else if events != 0 {
        for (_, name, bit, referencing) in recorded {
            add(name, *bit, "capture_statement", "A", referencing);
        }
        if kind == 'r' {
            add("audit_apply", tgtype::ROW | events, "capture_row", "R", "");
        }
    }
    if settings.records("truncate") || settings.on_truncate == OnTruncate::Forbid {
        add(
            "audit_truncate",
            tgtype::BEFORE | tgtype::TRUNCATE,
            "capture_truncate",
            "A",
            "",
        );
        add(
            "audit_truncate_end",
            tgtype::TRUNCATE,
            "capture_statement",
            "A",
            "",
        );
    }
    wanted
}
