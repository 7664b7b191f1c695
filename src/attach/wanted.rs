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

/// Sorts after an application's own BEFORE TRUNCATE triggers, which may still change rows.
const TRUNCATE: &str = "~audit_truncate";

/// How row changes are recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Per statement, from transition tables.
    Statement,
    /// Per row: members of an inheritance tree.
    Row,
}

/// The shape of these triggers; None when their names do not tell.
pub fn shape<'a>(names: impl Iterator<Item = &'a str>) -> Option<Shape> {
    let (mut by_statement, mut by_row) = (false, false);
    for name in names {
        by_statement |= matches!(name, "audit_insert" | "audit_update" | "audit_delete");
        by_row |= matches!(name, "audit_row" | "audit_close");
    }
    match (by_statement, by_row) {
        (true, false) => Some(Shape::Statement),
        (false, true) => Some(Shape::Row),
        _ => None,
    }
}

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
        let when = if self.name == ROUTE {
            " WHEN (false)"
        } else {
            ""
        };
        format!("{} FOR EACH {level}{when}", self.referencing)
    }
}

/// Never fires: it is there to be there. Without a BEFORE INSERT ROW trigger on the partition, PostgreSQL remembers the row that was
/// routed to it last, and a MERGE that inserts and then updates puts that row into the NEW table in place of the updated one
/// (`tcs_original_insert_tuple`, `src/backend/executor/nodeModifyTable.c`, 15 to 18).
const ROUTE: &str = "audit_route";

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
        if is_partition && kind == 'r' {
            add(
                ROUTE,
                tgtype::ROW | tgtype::BEFORE | tgtype::INSERT,
                "capture_row",
                "R",
                "",
            );
        }
        if kind == 'r' {
            add("audit_apply", tgtype::ROW | events, "capture_row", "R", "");
        }
    }
    if settings.records("truncate") || settings.on_truncate == OnTruncate::Forbid {
        add(
            TRUNCATE,
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
