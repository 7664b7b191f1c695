//! `audit.attach` and `audit.detach`: which tables are audited, and how.
//!
//! What was asked for is kept in `audit.attachment`; what capture reads is the argument of the table's triggers. Both change
//! together, here and nowhere else.

pub mod ddl;
mod ddl_follow;
pub mod drop_guard;
mod fit;
pub mod partitions;
pub mod registry;
pub mod request;
pub mod schema;
mod shape;
pub mod target;
pub mod triggers;
pub mod wanted;

use crate::act::{self, Act};
use crate::capture::baseline;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise, required};
use crate::pg::relation::OpenRelation;
use crate::pg::relation::lock;
use crate::pg::role::ActAsSuperuser;
use crate::pg::{catalog, xact};
use crate::table_plan::{self, TableSettings};
use pgrx::prelude::*;
use serde_json::{Map, Value as Json};

/// Keeps writers out, as CREATE TRIGGER does, so that a baseline and the first captured change leave no gap.
const LOCK: pg_sys::LOCKMODE = lock::SHARE_ROW_EXCLUSIVE;

/// `audit.attach_with(target regclass, settings jsonb, baseline boolean)`: what `audit.attach` calls.
#[pg_extern(sql = false)]
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn attach_with(target: Option<pg_sys::Oid>, settings: Option<pgrx::JsonB>, baseline: Option<bool>) {
    let settings = or_raise(required(settings, "settings")).0;
    or_raise(attach_by_owner(
        target,
        &settings,
        baseline.unwrap_or(false),
    ));
}

/// `audit.detach(target regclass, reason text)`.
#[pg_extern(sql = false)]
fn detach(target: Option<pg_sys::Oid>, reason: Option<&str>) {
    or_raise(detach_by_owner(target, reason));
}

fn attach_by_owner(target: Option<pg_sys::Oid>, settings: &Json, baseline: bool) -> Result<()> {
    let target = required(target, "target")?;
    let opened = target::open(target)?;
    target::check_owner(target)?;
    target::check(opened.relation())?;
    let settings = request::parse(opened.relation(), settings, request::Strictness::Exact)?;
    // ALTER TABLE refuses a relation that is open; the lock stays.
    drop(opened);
    attach(target, &settings, baseline)
}

/// Attaches a table that was checked. Takes members of its inheritance tree along.
pub fn attach(target: pg_sys::Oid, settings: &TableSettings, baseline: bool) -> Result<()> {
    let _superuser = ActAsSuperuser::new();
    let _own = ddl::OwnDdl::new();
    partitions::ensure()?;
    let tree = catalog::inheritors(target, LOCK);
    let is_partitioned = OpenRelation::table(target, LOCK).relation().kind() == 'p';
    if is_partitioned {
        // Partitions are recorded as their root.
        attach_one(target, &fit::to(target, settings, None), &tree, baseline)?;
        ddl_follow::merge(&registry::attached_among(&tree[1..])?, target)
    } else {
        attach_each(&tree, settings, baseline)
    }
}

/// Attaches ordinary tables, the members of an inheritance tree: each is recorded as itself. Temporary ones end with their
/// session, and stay as they are.
fn attach_each(tables: &[pg_sys::Oid], settings: &TableSettings, baseline: bool) -> Result<()> {
    for table in tables {
        if !ddl_follow::has_persistence(*table, 't') {
            attach_one(*table, &fit::to(*table, settings, None), &[], baseline)?;
        }
    }
    Ok(())
}

fn attach_one(
    table: pg_sys::Oid,
    settings: &TableSettings,
    members: &[pg_sys::Oid],
    baseline: bool,
) -> Result<()> {
    let known = registry::settings_of(table)?;
    let name = catalog::qualified_name(table);
    let is_new = known.is_none();
    if known.as_ref() == Some(settings) && !baseline && triggers::are_healthy(table, settings)? {
        AttestError::new(
            SqlState::ERRCODE_SUCCESSFUL_COMPLETION,
            format!("{name} is already attached with these settings"),
        )
        .notice();
        return Ok(());
    }
    registry::put(table, settings)?;
    let only_itself = [table];
    for member in if members.is_empty() {
        &only_itself
    } else {
        members
    } {
        triggers::sync(*member, settings)?;
    }
    xact::command_counter_increment();

    let mut said = Map::new();
    said.insert("settings".into(), registry::to_json(settings)?);
    if let Some(known) = &known {
        said.insert("old_settings".into(), registry::to_json(known)?);
    }
    said.insert("baseline".into(), Json::Bool(baseline));
    if is_new {
        said.insert("empty".into(), Json::Bool(shape::is_empty(table, &name)?));
    }
    said.extend(shape::describe(table)?);
    let action = match &known {
        None => "attach",
        Some(known) if known == settings && baseline => "baseline",
        Some(known) if known == settings => "repair",
        Some(_) => "change settings",
    };
    record(table, EventKind::System, action, None, said)?;

    if baseline {
        for member in if members.is_empty() {
            &only_itself
        } else {
            members
        } {
            record_baseline(*member, settings)?;
        }
    }
    Ok(())
}

fn record_baseline(member: pg_sys::Oid, settings: &TableSettings) -> Result<()> {
    let opened = OpenRelation::table(member, LOCK);
    if opened.relation().kind() != 'r' {
        return Ok(());
    }
    let argument = triggers::argument(settings)?;
    let plan = table_plan::of_relation(opened.relation(), Some(&argument))?;
    baseline::record(member, &plan)?;
    Ok(())
}

fn detach_by_owner(target: Option<pg_sys::Oid>, reason: Option<&str>) -> Result<()> {
    let target = required(target, "target")?;
    let reason = required_reason(reason)?;
    drop(target::open(target)?);
    target::check_owner(target)?;
    detach_table(target, reason)
}

/// The reason of a detach: switching the audit off is itself recorded, and says why.
pub fn required_reason(reason: Option<&str>) -> Result<&str> {
    reason
        .filter(|reason| !reason.trim().is_empty())
        .ok_or_else(|| {
            AttestError::new(
                SqlState::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "a reason is needed to detach",
            )
            .detail("Detaching ends the audit of the table, and the log keeps why.")
            .hint("SELECT audit.detach('…', reason => 'why');")
        })
}

/// Detaches a table whose owner asked for it.
pub fn detach_table(target: pg_sys::Oid, reason: &str) -> Result<()> {
    let _superuser = ActAsSuperuser::new();
    let _own = ddl::OwnDdl::new();
    if registry::settings_of(target)?.is_none() {
        return Err(AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{} is not attached", catalog::qualified_name(target)),
        )
        .detail("Only an attached table can be detached; a partition is detached with its root.")
        .hint("SELECT * FROM audit.attachments; shows what is."));
    }
    let is_partitioned = OpenRelation::table(target, LOCK).relation().kind() == 'p';
    let members = if is_partitioned {
        catalog::inheritors(target, LOCK)
    } else {
        vec![target]
    };
    for member in members {
        triggers::remove(member)?;
    }
    registry::remove(target)?;
    record(
        target,
        EventKind::System,
        "detach",
        Some(reason),
        Map::new(),
    )
}

/// Records an act on a table.
pub fn record(
    table: pg_sys::Oid,
    kind: EventKind,
    action: &str,
    reason: Option<&str>,
    said: Map<String, Json>,
) -> Result<()> {
    Act {
        table: Some(&act::name_of(table)),
        reason,
        said,
        ..Act::new(kind, action)
    }
    .record()
    .map(drop)
}
