//! One step of a prune: the next batch of a partition's events, or all of a partition that can be emptied.

use super::count::Count;
use super::declaration::{Place, Runs};
use super::plan::{Found, Partition, Plan, Policy};
use super::removal;
use super::{emptied, locked};
use crate::act::Act;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::relation::{lock, lock_at_once};
use crate::pg::xact;
use attest_log::Hash;
use pgrx::pg_sys;
use pgrx::prelude::TimestampWithTimeZone;
use serde_json::{Map, Value as Json, json};
use std::str::FromStr;
use std::time::Duration;

/// Events of one declaration, and of one batch.
const BATCH: usize = 50_000;
/// A partition is emptied at once where no more events than this have to be put back.
const PUT_BACK: u64 = 10_000;
/// How often a lock is tried, and the rest between two tries: nobody ever queues behind us.
pub const TRIES: u32 = 300;
pub const REST: Duration = Duration::from_millis(10);

/// What became of the events of one group.
#[derive(Default, Clone)]
pub struct Outcome {
    due: u64,
    held: u64,
    not_archived: u64,
    not_sealed: u64,
    pruned: u64,
}

/// A row of `audit.apply_retention`.
pub type Row = (
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

/// The partition that a prune is at.
pub struct Current {
    pub partition: Partition,
    pub plan: Plan,
    /// The events up to this id are done; None: all are.
    pub after: Option<i64>,
    /// One for each group of the plan.
    pub outcomes: Vec<Outcome>,
    pub method: &'static str,
}

impl Current {
    /// How many events of each group went.
    pub fn pruned(&self) -> Vec<u64> {
        let outcomes = self.outcomes.iter();
        outcomes.map(|outcome| outcome.pruned).collect()
    }

    /// Only these went, and then something failed.
    pub fn fail(&mut self, pruned: &[u64]) {
        self.method = "failed";
        let before = pruned.iter().copied().chain(std::iter::repeat(0));
        for (outcome, pruned) in self.outcomes.iter_mut().zip(before) {
            outcome.pruned = pruned;
        }
    }

    pub fn rows(&self, policies: &[Policy]) -> Vec<Row> {
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
pub struct Work<'a> {
    pub dry: bool,
    /// Whether the storage of an emptied month is freed by later steps.
    pub in_steps: bool,
    pub policies: &'a [Policy],
    pub archives: &'a [Runs],
}

impl Work<'_> {
    /// Does the next batch, or all of a partition that can be emptied. Returns how many events went, and whether the partition is
    /// done.
    pub fn run(&self, current: &mut Current) -> Result<(u64, bool)> {
        if current.after == Some(i64::MIN) {
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
            .next_due(&current.partition, &mut current.after, BATCH)?;
        let (ids, _) = self.batch(current, &found)?;
        if !self.dry {
            removal::delete(&current.partition, &ids)?;
        }
        Ok((ids.len() as u64, current.after.is_none()))
    }

    /// Empties a partition but for what has to stay.
    fn whole(&self, current: &mut Current) -> Result<u64> {
        current.method = "empty partition";
        let oid = crate::attach::registry::oid(&current.partition.oid);
        // Nothing comes in from here on; readers go on.
        if !self.dry {
            wait_for(oid, &current.partition, lock::SHARE)?;
        }
        let (mut gone, mut stays) = (Vec::new(), Vec::new());
        while current.after.is_some() {
            let found = current
                .plan
                .next(&current.partition, &mut current.after, BATCH)?;
            let (mut removed, mut kept) = self.batch(current, &found)?;
            gone.append(&mut removed);
            stays.append(&mut kept);
        }
        if self.dry || gone.is_empty() {
            return Ok(gone.len() as u64);
        }
        if stays.len() as u64 <= PUT_BACK {
            removal::check_complete(&current.partition, &mut gone, &mut stays)?;
            emptied::keep_vacuum_out(&current.partition)?;
            wait_for(oid, &current.partition, lock::ACCESS_EXCLUSIVE)?;
            removal::empty(&current.partition, &stays, self.in_steps)?;
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
        let due: Vec<i64> = found
            .iter()
            .filter(|event| event.group.is_some() && !event.held)
            .map(|event| event.event_id)
            .collect();
        let leaves = removal::leaves(&due)?;
        let (mut gone, mut stays) = (Vec::with_capacity(due.len()), Vec::new());
        let mut declared = Vec::with_capacity(due.len());
        let mut went = vec![Count::default(); current.outcomes.len()];
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
                    went[group].add(1, event.occurred_at, event.occurred_at);
                    declared.push(*leaf);
                    gone.push(event.event_id);
                    continue;
                }
            }
            stays.push(event.event_id);
        }
        if !self.dry && !declared.is_empty() {
            locked::check(&current.partition, &gone)?;
            self.declare(current, &went, declared)?;
        }
        Ok((gone, stays))
    }

    fn is_archived(&self, place: Place) -> bool {
        self.archives.iter().any(|archive| archive.contains(place))
    }

    fn declare(&self, current: &Current, went: &[Count], leaves: Vec<(Place, Hash)>) -> Result<()> {
        let groups = || {
            current
                .plan
                .groups
                .iter()
                .zip(went)
                .filter(|(_, went)| went.events > 0)
        };
        let events: Json = groups()
            .map(|(group, went)| {
                json!({
                    "policy": self.policies[group.policy].name,
                    "subject": group.subject,
                    "events": went.events,
                    "oldest": went.oldest(),
                    "newest": went.newest(),
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
pub fn wait_for(oid: pg_sys::Oid, partition: &Partition, mode: pg_sys::LOCKMODE) -> Result<()> {
    for _ in 0..TRIES {
        if lock_at_once(oid, mode) {
            return Ok(());
        }
        pgrx::check_for_interrupts!();
        xact::pause(REST);
    }
    Err(AttestError::new(
        SqlState::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("audit.{} is in use", partition.name),
    )
    .detail("Emptying it needs it for itself, and nobody is made to wait for that.")
    .hint(
        "Prune again once they are done who write, vacuum or read it: pg_locks shows who they are.",
    ))
}
