//! `audit.clear`: a category of application events is emptied.

use super::count::Count;
use super::plan::{Found, Partition, Plan, Policy};
use super::removal;
use super::{exclusively, locked, needed};
use crate::act::Act;
use crate::attach::ddl::OwnDdl;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::ledger::seal;
use crate::pg::query::{self, Arg};
use crate::pg::role::ActAsSuperuser;
use crate::pg::{progress, xact};
use pgrx::prelude::*;
use serde_json::Map;

/// Events of one declaration.
const BATCH: usize = 50_000;

/// `audit.clear(category, reason)`; returns how many events it removed.
#[pg_extern(sql = false)]
fn clear(category: Option<&str>, reason: Option<&str>) -> i64 {
    or_raise(clear_category(category, reason))
}

fn clear_category(category: Option<&str>, reason: Option<&str>) -> Result<i64> {
    let hint = "SELECT audit.clear('category', 'why');";
    let category = needed(category, "a category", hint)?;
    let reason = needed(reason, "a reason", hint)?;
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    xact::prevent_if_read_only(c"audit.clear()");
    exclusively();
    seal::now()?;
    xact::command_counter_increment();
    check_policy(category)?;
    let mut cleared = 0;
    for partition in Partition::all()? {
        progress::show(&format!("clearing audit.{}", partition.name));
        let plan = Plan::of_category(&partition, category)?;
        let mut after = (!plan.groups.is_empty()).then_some(i64::MIN);
        while after.is_some() {
            let found = plan.next_due(&partition, &mut after, BATCH)?;
            if let Some(held) = found.iter().find(|event| event.held) {
                return Err(under_hold(category, held));
            }
            cleared += remove(&partition, category, reason, &found)?;
        }
    }
    Ok(cleared)
}

fn remove(partition: &Partition, category: &str, reason: &str, found: &[Found]) -> Result<i64> {
    let ids: Vec<i64> = found.iter().map(|event| event.event_id).collect();
    let leaves = removal::leaves(&ids)?;
    // What is not sealed yet stays: nobody could tell later that it was there.
    let mut went = Count::default();
    let mut gone = Vec::with_capacity(ids.len());
    for event in found {
        if leaves.contains_key(&event.event_id) {
            went.add(1, event.occurred_at, event.occurred_at);
            gone.push(event.event_id);
        }
    }
    if gone.is_empty() {
        return Ok(0);
    }
    locked::check(partition, &gone)?;
    let mut said = Map::new();
    said.insert("partition".into(), partition.name.clone().into());
    said.insert("category".into(), category.into());
    said.insert("oldest".into(), went.oldest().into());
    said.insert("newest".into(), went.newest().into());
    let act = Act {
        reason: Some(reason),
        ..Act::new(EventKind::System, "clear")
    };
    removal::declare(leaves.into_values().collect(), said, act)?;
    removal::delete(partition, &gone)?;
    Ok(i64::try_from(gone.len()).unwrap_or(i64::MAX))
}

/// Refuses where a locked policy covers the category: its own, or the default one where it has none.
fn check_policy(category: &str) -> Result<()> {
    let rows = query::rows(
        "SELECT policy FROM audit.retention_policies \
         WHERE locked AND (category = $1 OR (policy = 'default' AND NOT EXISTS ( \
             SELECT FROM audit.retention_policies own WHERE own.category = $1)))",
        &[Arg::Text(category)],
    )?;
    let Some(policy) = rows.into_iter().flatten().flatten().next() else {
        return Ok(());
    };
    let locked: Vec<Policy> = Policy::all()?;
    let keep = locked.into_iter().find(|known| known.name == policy);
    let keep = keep
        .and_then(|policy| policy.keep)
        .unwrap_or_else(|| "ever".to_owned());
    Err(AttestError::new(
        SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("cannot clear category \"{category}\": a locked retention policy covers it"),
    )
    .detail(format!(
        "The policy \"{policy}\" keeps its events for {keep}."
    ))
    .hint("They are pruned when they are due."))
}

fn under_hold(category: &str, held: &Found) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_OBJECT_IN_USE,
        format!("cannot clear category \"{category}\": a hold covers events of it"),
    )
    .detail(format!("Event {} is one of them.", held.event_id))
    .hint("SELECT * FROM audit.holds WHERE active; shows the holds.")
}
