//! What can be attached, and why the rest cannot.

use crate::error::{AttestError, Result, SqlState};
use crate::pg::catalog;
use crate::pg::relation::{OpenRelation, RelationRef};
use pgrx::pg_sys;

/// Opens what the caller named; it may be gone.
pub fn open(table: pg_sys::Oid) -> Result<OpenRelation> {
    OpenRelation::try_table(table, super::LOCK).ok_or_else(|| {
        AttestError::new(
            SqlState::ERRCODE_UNDEFINED_TABLE,
            format!("relation with OID {} does not exist", table.to_u32()),
        )
        .detail("It was dropped, or the number was never a table's.")
        .hint("Give the table's name; \\dt lists the tables.")
    })
}

/// Refuses a role that does not own the table.
pub fn check_owner(table: pg_sys::Oid) -> Result<()> {
    if catalog::owns_relation(table) {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("must be owner of {}", catalog::qualified_name(table)),
    )
    .detail("The current role does not own it.")
    .hint("Only a table's owner or a superuser decides whether and how it is audited."))
}

/// Refuses what cannot be audited.
pub fn check(relation: RelationRef<'_>) -> Result<()> {
    use SqlState as S;
    let name = catalog::qualified_name(relation.oid());
    let schema = catalog::namespace_name(relation.namespace());
    let refuse = |state: S, why: &str, hint: &str| {
        Err(AttestError::new(state, format!("cannot attach {name}"))
            .detail(why)
            .hint(hint))
    };
    if schema == "pg_catalog" || schema == "information_schema" || schema == "pg_toast" {
        return refuse(
            S::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "It is a system catalog: PostgreSQL fires no triggers there.",
            "DDL on attached tables is recorded anyway.",
        );
    }
    if schema == "audit" {
        return refuse(
            S::ERRCODE_INVALID_OBJECT_DEFINITION,
            "It belongs to pg_attest: the log does not audit itself.",
            "What changes the log's settings is recorded as an event.",
        );
    }
    match relation.kind() {
        'r' | 'p' => {}
        'f' => {
            return refuse(
                S::ERRCODE_WRONG_OBJECT_TYPE,
                "It is a foreign table: what changes on the remote side fires nothing here, so its trail would have gaps.",
                "Attach the table where it lives.",
            );
        }
        'v' => {
            return refuse(
                S::ERRCODE_WRONG_OBJECT_TYPE,
                "It is a view: it has no rows of its own.",
                "Attach the tables beneath it; changes made through the view are recorded there.",
            );
        }
        'm' => {
            return refuse(
                S::ERRCODE_WRONG_OBJECT_TYPE,
                "It is a materialized view: it is only ever recomputed.",
                "Attach the tables that it is computed from.",
            );
        }
        _ => {
            return refuse(
                S::ERRCODE_WRONG_OBJECT_TYPE,
                "It is not a table.",
                "Attach ordinary and partitioned tables.",
            );
        }
    }
    match relation.persistence() {
        't' => {
            return refuse(
                S::ERRCODE_INVALID_TABLE_DEFINITION,
                "It is a temporary table: it ends with the session.",
                "Attach permanent tables.",
            );
        }
        'u' => {
            return refuse(
                S::ERRCODE_INVALID_TABLE_DEFINITION,
                "It is unlogged: a crash empties it without an event, and the trail would claim rows that are gone.",
                "ALTER TABLE … SET LOGGED first.",
            );
        }
        _ => {}
    }
    if relation.is_partition() {
        let root = catalog::partition_ancestors(relation.oid())
            .last()
            .copied()
            .unwrap_or(relation.oid());
        return refuse(
            S::ERRCODE_WRONG_OBJECT_TYPE,
            &format!(
                "It is a partition of {}; rows reach it through the root as well.",
                catalog::qualified_name(root)
            ),
            &format!("SELECT audit.attach('{}');", catalog::qualified_name(root)),
        );
    }
    check_beneath(relation.oid())
}

/// Refuses a table because of what is beneath it.
fn check_beneath(table: pg_sys::Oid) -> Result<()> {
    let tree = catalog::inheritors(table, super::LOCK);
    let refuse = |state: SqlState, why: String, hint: &str| {
        let name = catalog::qualified_name(table);
        Err(AttestError::new(state, format!("cannot attach {name}"))
            .detail(why)
            .hint(hint))
    };
    if let Some(foreign) = catalog::has_foreign_table(&tree) {
        let foreign = catalog::qualified_name(foreign);
        return refuse(
            SqlState::ERRCODE_WRONG_OBJECT_TYPE,
            format!(
                "{foreign} beneath it is a foreign table, whose rows PostgreSQL cannot hand to triggers."
            ),
            "Detach the foreign table from it first.",
        );
    }
    if let Some(unlogged) = tree.into_iter().find(|oid| catalog::is_unlogged(*oid)) {
        let unlogged = catalog::qualified_name(unlogged);
        return refuse(
            SqlState::ERRCODE_INVALID_TABLE_DEFINITION,
            format!("{unlogged} beneath it is unlogged: a crash empties it without an event."),
            "ALTER TABLE … SET LOGGED first.",
        );
    }
    Ok(())
}
