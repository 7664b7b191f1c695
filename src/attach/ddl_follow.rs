//! Following DDL: what is now part of an attached table gets its triggers, settings follow the columns that they name, and what
//! would make a gap in the trail is refused.
//!
//! Triggers that someone disabled, dropped or renamed stay so: that was recorded, `audit.status()` shows it, and
//! `audit.attach()` repairs it. Called as superuser, with an `OwnDdl`.

use super::ddl::{Command, record_command};
use super::{fit, record, registry, schema, triggers};
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::relation::{OpenRelation, lock};
use crate::pg::{catalog, xact};
use crate::summaries;
use crate::table_plan::TableSettings;
use pgrx::pg_sys;
use serde_json::Map;

/// What a relation is; read at once, for ALTER TABLE refuses a relation that is open.
struct Facts {
    namespace: pg_sys::Oid,
    kind: char,
    persistence: char,
    is_partition: bool,
}

impl Facts {
    fn of(relation: pg_sys::Oid) -> Option<Self> {
        let opened = OpenRelation::try_table(relation, lock::ACCESS_SHARE)?;
        let relation = opened.relation();
        Some(Self {
            namespace: relation.namespace(),
            kind: relation.kind(),
            persistence: relation.persistence(),
            is_partition: relation.is_partition(),
        })
    }
}

/// Whether the relation is of this persistence: p, u or t.
pub fn has_persistence(relation: pg_sys::Oid, persistence: char) -> bool {
    Facts::of(relation).is_some_and(|facts| facts.persistence == persistence)
}

/// Records a command on an attached table, and gives everything that is now part of one its triggers.
pub fn follow(command: &Command) -> Result<()> {
    let Some(facts) = Facts::of(command.relation) else {
        return Ok(());
    };
    if Some(command.relation) == catalog::audit_relation("audit_events") {
        return summaries::forget_for_ddl();
    }
    if catalog::namespace_name(facts.namespace) == "audit" {
        return Ok(());
    }
    if facts.is_partition || facts.kind == 'p' {
        follow_partitioned(command, &facts)
    } else {
        follow_table(command, &facts)
    }
}

/// A partitioned table, or a partition at any depth: the root alone is attached.
fn follow_partitioned(command: &Command, facts: &Facts) -> Result<()> {
    let above = catalog::partition_ancestors(command.relation);
    let root = above.last().copied().unwrap_or(command.relation);
    let tree = catalog::inheritors(root, lock::ACCESS_SHARE);
    let attached = registry::attached_among(&tree[1..])?;
    let Some(known) = registry::settings_of(root)? else {
        if let Some(partition) = attached.first() {
            return Err(outside(*partition, root));
        }
        if !facts.is_partition {
            attach_by_schema(command.relation, facts)?;
        }
        return Ok(());
    };
    for member in &tree {
        if has_persistence(*member, 'u')
            && (*member == command.relation || triggers::has_none(*member)?)
        {
            return Err(unlogged(*member));
        }
    }
    record_command(root, command)?;
    resync(root, &known, command.column.as_deref())?;
    merge(&attached, root)?;
    if facts.kind == 'p' {
        attach_detached_partitions()?;
    }
    Ok(())
}

/// An ordinary table, perhaps in an inheritance tree, each member of which is attached for itself.
fn follow_table(command: &Command, facts: &Facts) -> Result<()> {
    let tree = catalog::inheritors(command.relation, lock::ACCESS_SHARE);
    let above = catalog::inheritance_ancestors(command.relation);
    let attached = registry::attached_among(&tree)?;
    let attached_above = registry::attached_among(&above)?;
    if facts.persistence == 'u' && attached.contains(&command.relation) {
        return Err(unlogged(command.relation));
    }
    // The command went on to the children: their columns have changed too.
    for table in &attached {
        if let Some(known) = registry::settings_of(*table)? {
            record_command(*table, command)?;
            resync(*table, &known, command.column.as_deref())?;
        }
    }
    let heir_of = above
        .iter()
        .rev()
        .find(|table| attached_above.contains(table));
    match heir_of {
        _ if attached.contains(&command.relation) || facts.persistence == 't' => {}
        Some(ancestor) if facts.kind == 'f' => return Err(foreign(command.relation, *ancestor)),
        Some(ancestor) => {
            if let Some(known) = registry::settings_of(*ancestor)? {
                record_command(*ancestor, command)?;
                let new: Vec<pg_sys::Oid> = tree
                    .into_iter()
                    .filter(|table| !attached.contains(table))
                    .collect();
                super::attach_each(&new, &known, false)?;
            }
        }
        None => attach_by_schema(command.relation, facts)?,
    }
    // With a child, a table is captured row by row.
    for ancestor in attached_above {
        if let Some(known) = registry::settings_of(ancestor)? {
            resync(ancestor, &known, None)?;
        }
    }
    Ok(())
}

/// A column that went with something else, such as its type.
pub fn follow_dropped_column(command: &Command) -> Result<()> {
    let Some(known) = registry::settings_of(command.relation)? else {
        return Ok(());
    };
    record_command(command.relation, command)?;
    resync(command.relation, &known, None)
}

/// Tables that are captured row by row although they have left their inheritance tree, as when their last child was dropped.
pub fn follow_former_parents() -> Result<()> {
    let alone = registry::oids(
        "SELECT a.relation::pg_catalog.oid FROM audit.attachment a JOIN pg_catalog.pg_class c ON c.oid = a.relation \
         WHERE c.relkind = 'r' AND NOT c.relispartition \
         AND EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname IN ('audit_row', 'audit_close')) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) ORDER BY 1",
        &[],
    )?;
    for table in alone {
        if let Some(known) = registry::settings_of(table)? {
            resync(table, &known, None)?;
        }
    }
    Ok(())
}

fn attach_by_schema(table: pg_sys::Oid, facts: &Facts) -> Result<()> {
    if !matches!(facts.kind, 'r' | 'p') || facts.persistence == 't' {
        return Ok(());
    }
    match registry::schema_settings(facts.namespace)? {
        Some(settings) => schema::attach_where_possible(table, &settings, false),
        None => Ok(()),
    }
}

/// Attached tables that became partitions of an attached one go on as part of it.
pub fn merge(partitions: &[pg_sys::Oid], root: pg_sys::Oid) -> Result<()> {
    let Some(settings) = registry::settings_of(root)? else {
        return Ok(());
    };
    for table in partitions {
        let known = registry::settings_of(*table)?;
        registry::remove(*table)?;
        for member in triggers::members_of(*table) {
            triggers::sync(member, &settings)?;
        }
        let mut said = Map::new();
        said.insert("root".into(), catalog::qualified_name(root).into());
        said.insert("settings".into(), registry::to_json(&settings)?);
        if let Some(known) = known {
            said.insert("old_settings".into(), registry::to_json(&known)?);
        }
        record(*table, EventKind::System, "merge", None, said)?;
    }
    xact::command_counter_increment();
    Ok(())
}

/// A table that carries our triggers without being attached, nor a partition, was detached from an attached one: it goes
/// on as an attachment of its own, with the settings in its triggers.
fn attach_detached_partitions() -> Result<()> {
    let detached = registry::oids(
        "SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         WHERE n.nspname = 'audit' AND p.proname LIKE 'capture%' AND NOT t.tgisinternal AND NOT c.relispartition \
         AND NOT EXISTS (SELECT FROM audit.attachment a WHERE a.relation = c.oid)",
        &[],
    )?;
    for relation in detached {
        if let Some(settings) = triggers::settings_in(relation)? {
            super::attach(relation, &settings, false)?;
        }
    }
    Ok(())
}

/// Makes the settings fit the table's columns, and gives new partitions their triggers.
fn resync(table: pg_sys::Oid, known: &TableSettings, new_name: Option<&str>) -> Result<()> {
    let settings = fit::to(table, known, new_name);
    let is_changed = settings != *known;
    if is_changed {
        registry::put(table, &settings)?;
    }
    let tree = triggers::members_of(table);
    if let Some(found) = catalog::has_foreign_table(&tree) {
        return Err(foreign(found, table));
    }
    for member in tree {
        // Partitions are always captured by statement.
        let is_wrong = if member == table {
            triggers::has_other_shape(member, &settings)?
        } else {
            triggers::has_none(member)?
        };
        if is_wrong {
            triggers::sync(member, &settings)?;
        } else if is_changed {
            triggers::rewrite(member, &settings)?;
        }
    }
    xact::command_counter_increment();
    Ok(())
}

fn foreign(foreign: pg_sys::Oid, table: pg_sys::Oid) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_WRONG_OBJECT_TYPE,
        format!(
            "cannot put foreign table {} beneath an audited table",
            catalog::qualified_name(foreign)
        ),
    )
    .detail("PostgreSQL cannot hand its rows to triggers, so every write to the audited table would fail.")
    .hint(format!(
        "Detach {} from the audit first, or keep the foreign table apart.",
        catalog::qualified_name(table)
    ))
}

fn unlogged(table: pg_sys::Oid) -> AttestError {
    let name = catalog::qualified_name(table);
    let attached = catalog::partition_ancestors(table)
        .last()
        .map_or_else(|| name.clone(), |root| catalog::qualified_name(*root));
    AttestError::new(
        SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("cannot make audited table {name} unlogged"),
    )
    .detail(
        "A crash would empty it without an event, and the trail would claim rows that are gone.",
    )
    .hint(format!(
        "SELECT audit.detach('{attached}', reason => '…'); first."
    ))
}

/// An attached table became a partition of one that is not.
fn outside(partition: pg_sys::Oid, root: pg_sys::Oid) -> AttestError {
    let (partition, root) = (
        catalog::qualified_name(partition),
        catalog::qualified_name(root),
    );
    AttestError::new(
        SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("audited table {partition} cannot be a partition of {root}, which is not audited"),
    )
    .detail(format!(
        "What is written through {root} would change {partition} without an event."
    ))
    .hint(format!(
        "SELECT audit.attach('{root}'); first, or SELECT audit.detach('{partition}', reason => '…');"
    ))
}
