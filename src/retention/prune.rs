//! `audit.apply_retention` and `audit.prune`: what is due goes.
//!
//! A partition in which (almost) everything is due is emptied by TRUNCATE, which locks that partition alone: no writer of today
//! writes it, and the parent is not locked at all. What has to stay, such as acts of `pg_attest` itself, is put back in the same
//! transaction. Of other partitions, due events are deleted in batches. PostgreSQL's DETACH … CONCURRENTLY is no way: it is refused
//! where there is a default partition.

use super::archive;
use super::declaration::{Place, Runs};
use super::plan::{Found, Partition, Plan, Policy};
use super::{exclusively, removal};
use crate::act::Act;
use crate::attach::ddl::OwnDdl;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::ledger::seal;
use crate::pg::cell::Backend;
use crate::pg::query;
use crate::pg::relation::{lock, lock_at_once};
use crate::pg::role::ActAsSuperuser;
use crate::pg::{catalog, progress, xact};
use attest_log::Hash;
use pgrx::prelude::*;
use serde_json::{Map, Value as Json, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::str::FromStr;

/// Events of one declaration, and of one batch.
const BATCH: usize = 50_000;
/// A partition is emptied at once where no more events than this have to be put back.
const PUT_BACK: u64 = 10_000;
/// How often a partition's lock is tried, a hundredth of a second apart: nobody ever queues behind us.
const TRIES: u32 = 300;

/// What became of the events of one group.
#[derive(Default, Clone)]
struct Outcome {
    due: u64,
    held: u64,
    not_archived: u64,
    not_sealed: u64,
    pruned: u64,
}

/// A row of `audit.apply_retention`.
type Row = (
    String,
    String,
    String,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<String>,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
);

/// `audit.apply_retention(dry_run)`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // rows of functions have to be spelled out for pgrx
fn apply_retention(
    dry_run: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(partition, String),
        name!(policy, String),
        name!(subject, String),
        name!(due, i64),
        name!(held, i64),
        name!(not_archived, i64),
        name!(not_sealed, i64),
        name!(pruned, i64),
        name!(method, Option<String>),
        name!(oldest, Option<TimestampWithTimeZone>),
        name!(newest, Option<TimestampWithTimeZone>),
    ),
> {
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    TableIterator::new(or_raise(apply(dry_run.unwrap_or(true))))
}

/// Whether there is any policy.
pub fn has_policies() -> Result<bool> {
    Ok(!Policy::all()?.is_empty())
}

/// Prunes all that is due in the running transaction; returns how many events. Superuser.
pub fn all_at_once() -> Result<i64> {
    let mut pruned = 0;
    let mut run = Run::begin(false)?;
    while let Some(step) = run.step()? {
        pruned += step.pruned;
    }
    Ok(pruned.cast_signed())
}

fn apply(dry_run: bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut run = Run::begin(dry_run)?;
    while let Some(mut step) = run.step()? {
        rows.append(&mut step.rows);
    }
    Ok(rows)
}

/// `audit.prune_batch()`: the session's prune goes on.
#[pg_extern(sql = false)]
fn prune_batch() -> TableIterator<
    'static,
    (
        name!(partition, Option<String>),
        name!(pruned, i64),
        name!(finished, bool),
    ),
> {
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    TableIterator::once(or_raise(batch()))
}

/// The prune that this session is at: where it stopped, nothing more. Lost with the session, and begun anew by the next one.
static RUN: Backend<RefCell<Option<Run>>> = Backend::refcell(None);

/// One step of a prune: in a transaction of its own, it is whole or not at all. Superuser.
pub fn batch() -> Result<(Option<String>, i64, bool)> {
    let mut run = match RUN.take() {
        Some(run) => run,
        None => Run::begin(false)?,
    };
    let Some(step) = run.step()? else {
        return Ok((None, 0, true));
    };
    if step.ends && step.partition.is_over && !xact::in_block() {
        drop_if_empty(&step.partition)?;
    }
    RUN.replace(Some(run));
    Ok((Some(step.partition.name), step.pruned.cast_signed(), false))
}

/// A prune.
struct Run {
    dry: bool,
    policies: Vec<Policy>,
    /// What newer partitions have of policies that keep only so many events.
    seen: HashMap<usize, u64>,
    /// The partitions to come, the next one last.
    queue: Vec<Partition>,
    current: Option<Current>,
}

/// A batch, or a partition, is done.
struct Step {
    partition: Partition,
    pruned: u64,
    /// Whether the partition is done; then with what became of it.
    ends: bool,
    rows: Vec<Row>,
}

impl Run {
    fn begin(dry: bool) -> Result<Self> {
        let mut queue = Partition::all()?;
        queue.reverse();
        Ok(Self {
            dry,
            policies: Policy::all()?,
            seen: HashMap::new(),
            queue,
            current: None,
        })
    }

    /// The next batch or partition; None when there is no more to do.
    fn step(&mut self) -> Result<Option<Step>> {
        if !self.dry {
            xact::prevent_if_read_only(c"pruning");
            exclusively();
            seal::now()?;
            xact::command_counter_increment();
        }
        let known = |policies: &[Policy]| -> Vec<String> {
            policies
                .iter()
                .map(|policy| policy.event_id.clone())
                .collect()
        };
        if known(&Policy::all()?) != known(&self.policies) {
            // Somebody changed a policy meanwhile: what is due is another question now.
            *self = Self::begin(self.dry)?;
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => match self.queue.pop() {
                Some(partition) if !self.policies.is_empty() => self.look_at(partition)?,
                _ => return Ok(None),
            },
        };
        progress::show(&format!("pruning audit.{}", current.partition.name));
        let archives = if self.policies.iter().any(|policy| policy.require_archive) {
            archive::archived()?
        } else {
            Vec::new()
        };
        let work = Work {
            dry: self.dry,
            policies: &self.policies,
            archives: &archives,
        };
        let (pruned, ends) = work.run(&mut current)?;
        let partition = current.partition.clone();
        let rows = if ends {
            current.rows(&self.policies)
        } else {
            self.current = Some(current);
            Vec::new()
        };
        Ok(Some(Step {
            partition,
            pruned,
            ends,
            rows,
        }))
    }

    fn look_at(&mut self, partition: Partition) -> Result<Current> {
        let mut plan = Plan::by_age(&partition, &self.policies)?;
        plan.count(&partition, &self.policies, &mut self.seen)?;
        let outcomes = vec![Outcome::default(); plan.groups.len()];
        Ok(Current {
            partition,
            plan,
            after: i64::MIN,
            outcomes,
            method: "delete",
        })
    }
}

/// The partition that a prune is at.
struct Current {
    partition: Partition,
    plan: Plan,
    /// The events up to this id are done.
    after: i64,
    /// One for each group of the plan.
    outcomes: Vec<Outcome>,
    method: &'static str,
}

impl Current {
    fn rows(&self, policies: &[Policy]) -> Vec<Row> {
        let time = |text: &str| TimestampWithTimeZone::from_str(text).ok();
        let groups = self.plan.groups.iter().zip(&self.outcomes);
        groups
            .filter(|(_, outcome)| outcome.due > 0)
            .map(|(group, outcome)| {
                (
                    self.partition.name.clone(),
                    policies[group.policy].name.clone(),
                    group.subject.clone(),
                    outcome.due.cast_signed(),
                    outcome.held.cast_signed(),
                    outcome.not_archived.cast_signed(),
                    outcome.not_sealed.cast_signed(),
                    outcome.pruned.cast_signed(),
                    Some(self.method.to_owned()),
                    time(&group.oldest),
                    time(&group.newest),
                )
            })
            .collect()
    }
}

/// What a step works with.
struct Work<'a> {
    dry: bool,
    policies: &'a [Policy],
    archives: &'a [Runs],
}

impl Work<'_> {
    /// Does the next batch, or all of a partition that can be emptied. Returns how many events went, and whether the partition is
    /// done.
    fn run(&self, current: &mut Current) -> Result<(u64, bool)> {
        if current.after == i64::MIN {
            let (any, kept) = current.plan.outlook()?;
            if !any {
                return Ok((0, true));
            }
            let partition = &current.partition;
            let few = kept <= PUT_BACK && kept <= current.plan.events / 2;
            if partition.is_over && !partition.is_default && few {
                return self.whole(current).map(|pruned| (pruned, true));
            }
        }
        let found = current
            .plan
            .next(&current.partition, current.after, BATCH, false)?;
        let (ids, _) = self.batch(current, &found)?;
        if !self.dry {
            removal::delete(&current.partition, &ids)?;
        }
        Ok((ids.len() as u64, found.len() < BATCH))
    }

    /// Empties a partition but for what has to stay.
    fn whole(&self, current: &mut Current) -> Result<u64> {
        current.method = "empty partition";
        let oid = crate::attach::registry::oid(&current.partition.oid);
        // Nothing comes in from here on; readers go on.
        if !self.dry && !lock_at_once(oid, lock::SHARE) {
            current.method = "busy";
            return Ok(0);
        }
        let (mut gone, mut stays) = (Vec::new(), Vec::new());
        loop {
            let found = current
                .plan
                .next(&current.partition, current.after, BATCH, true)?;
            let (mut removed, mut kept) = self.batch(current, &found)?;
            gone.append(&mut removed);
            stays.append(&mut kept);
            if found.len() < BATCH {
                break;
            }
        }
        if self.dry || gone.is_empty() {
            return Ok(gone.len() as u64);
        }
        if stays.len() as u64 <= PUT_BACK {
            wait_for(oid, &current.partition)?;
            removal::empty(&current.partition, &stays)?;
        } else {
            current.method = "delete";
            for ids in gone.chunks(BATCH) {
                removal::delete(&current.partition, ids)?;
            }
        }
        Ok(gone.len() as u64)
    }

    /// Declares those of the events that may go; returns their ids, and those of the others.
    fn batch(&self, current: &mut Current, found: &[Found]) -> Result<(Vec<i64>, Vec<i64>)> {
        pgrx::check_for_interrupts!();
        let Some(last) = found.last() else {
            return Ok((Vec::new(), Vec::new()));
        };
        current.after = last.event_id;
        let due: Vec<i64> = found
            .iter()
            .filter(|event| event.group.is_some() && !event.held)
            .map(|event| event.event_id)
            .collect();
        let leaves = removal::leaves(&due)?;
        let (mut gone, mut stays) = (Vec::with_capacity(due.len()), Vec::new());
        let mut declared = Vec::with_capacity(due.len());
        let mut pruned = vec![0u64; current.outcomes.len()];
        for event in found {
            let Some(group) = event.group else {
                stays.push(event.event_id);
                continue;
            };
            let outcome = &mut current.outcomes[group];
            outcome.due += 1;
            let asks = self.policies[current.plan.groups[group].policy].require_archive;
            match leaves.get(&event.event_id) {
                _ if event.held => outcome.held += 1,
                None => outcome.not_sealed += 1,
                Some((place, _)) if asks && !self.is_archived(*place) => outcome.not_archived += 1,
                Some(leaf) => {
                    if !self.dry {
                        outcome.pruned += 1;
                    }
                    pruned[group] += 1;
                    declared.push(*leaf);
                    gone.push(event.event_id);
                    continue;
                }
            }
            stays.push(event.event_id);
        }
        if !self.dry && !declared.is_empty() {
            self.declare(current, &pruned, declared)?;
        }
        Ok((gone, stays))
    }

    fn is_archived(&self, place: Place) -> bool {
        self.archives.iter().any(|archive| archive.contains(place))
    }

    fn declare(&self, current: &Current, pruned: &[u64], leaves: Vec<(Place, Hash)>) -> Result<()> {
        let groups = || {
            current
                .plan
                .groups
                .iter()
                .zip(pruned)
                .filter(|(_, count)| **count > 0)
        };
        let events: Json = groups()
            .map(|(group, count)| {
                json!({
                    "policy": self.policies[group.policy].name,
                    "subject": group.subject,
                    "events": count,
                    "oldest": group.oldest,
                    "newest": group.newest,
                })
            })
            .collect();
        let policies: Json = self
            .policies
            .iter()
            .enumerate()
            .filter(|(number, _)| groups().any(|(group, _)| group.policy == *number))
            .map(|(_, policy)| policy.to_json())
            .collect();
        let mut said = Map::new();
        said.insert("partition".into(), current.partition.name.clone().into());
        said.insert("policies".into(), policies);
        said.insert("events".into(), events);
        removal::declare(leaves, said, Act::new(EventKind::System, "prune")).map(drop)
    }
}

/// Waits for a partition without being waited for.
fn wait_for(oid: pg_sys::Oid, partition: &Partition) -> Result<()> {
    for _ in 0..TRIES {
        if lock_at_once(oid, lock::ACCESS_EXCLUSIVE) {
            return Ok(());
        }
        pgrx::check_for_interrupts!();
        xact::pause(std::time::Duration::from_millis(10));
    }
    Err(AttestError::new(
        SqlState::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("audit.{} is being read", partition.name),
    )
    .detail("Emptying it needs it for a moment, and nobody is made to wait for that moment.")
    .hint("Prune again once the readers are done: pg_locks shows who they are."))
}

/// Drops an empty partition whose time is over, if the log is free at this very moment: that needs the parent's lock, behind which
/// writers would queue. The transaction ends next.
fn drop_if_empty(partition: &Partition) -> Result<()> {
    if partition.is_default {
        return Ok(());
    }
    let name = partition.sql();
    let rest = query::rows(&format!("SELECT FROM ONLY {name} LIMIT 1"), &[])?;
    if !rest.is_empty() {
        return Ok(());
    }
    let tables = ["audit_events", "audit_events_default", &partition.name];
    for table in tables {
        let oid = catalog::audit_relation(table);
        if !oid.is_some_and(|oid| lock_at_once(oid, lock::ACCESS_EXCLUSIVE)) {
            return Ok(());
        }
    }
    query::run(
        &format!("ALTER TABLE audit.audit_events DETACH PARTITION {name}"),
        &[],
    )?;
    query::run(&format!("DROP TABLE {name}"), &[])
}
