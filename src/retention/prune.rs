//! `audit.apply_retention` and `audit.prune`: what is due goes.
//!
//! A partition in which (almost) everything is due is emptied by TRUNCATE, which locks that partition alone: no writer of today
//! writes it, and the parent is not locked at all. What has to stay, such as acts of `pg_attest` itself, is put back in the same
//! transaction. `CALL audit.prune()` frees its storage by steps of their own (`emptied`). Of other partitions, due events are deleted
//! in batches. PostgreSQL's DETACH … CONCURRENTLY is no way: it is refused where there is a default partition.

use super::emptied::{self, Left};
use super::failure::{self, Task};
use super::newest::{self, Cuts};
use super::plan::{Partition, Plan, Policy};
use super::step::{Current, Outcome, REST, Row, TRIES, Work};
use super::{archive, exclusively};
use crate::attach::ddl::OwnDdl;
use crate::error::{Result, or_raise};
use crate::ledger::seal;
use crate::pg::cell::Backend;
use crate::pg::query;
use crate::pg::relation::{lock, lock_at_once};
use crate::pg::role::ActAsSuperuser;
use crate::pg::{catalog, progress, wal, xact};
use pgrx::prelude::*;
use std::cell::RefCell;

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
    let mut run = Run::begin(Mode::AtOnce)?;
    while let Some(step) = run.step()? {
        step.tell(&run.failing)?;
        pruned += step.pruned;
    }
    Ok(pruned.cast_signed())
}

fn apply(dry_run: bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut run = Run::begin(if dry_run { Mode::Dry } else { Mode::AtOnce })?;
    while let Some(mut step) = run.step()? {
        if !dry_run {
            step.tell(&run.failing)?;
        }
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
    xact::prevent_if_read_only(c"pruning");
    let mut run = match RUN.take() {
        Some(run) => run,
        None => Run::begin(Mode::InSteps)?,
    };
    if run.frees_storage()? {
        let name = run
            .emptied
            .as_ref()
            .map(|emptied| emptied.partition.name.clone());
        RUN.replace(Some(run));
        return Ok((name.or(Some(emptied::NAME.to_owned())), 0, false));
    }
    if let Some(mut emptied) = run.emptied.take() {
        let name = emptied.partition.name.clone();
        // In a block, its locks would stay: the next prune finds the empty month.
        if !xact::in_block() {
            let task = Task::Prune(&name);
            match task.alone(|| emptied.try_to_drop())? {
                Some(true) => task.succeeded_after(&run.failing)?,
                Some(false) => run.emptied = Some(emptied),
                None => {}
            }
        }
        RUN.replace(Some(run));
        return Ok((Some(name), 0, false));
    }
    let Some(step) = run.step()? else {
        return Ok((None, 0, true));
    };
    let is_over = step.partition.is_over && !step.partition.is_default;
    if step.is_done() && is_over && !xact::in_block() && is_empty(&step.partition)? {
        run.emptied = Some(Emptied {
            partition: step.partition.clone(),
            tries: TRIES,
        });
    } else {
        step.tell(&run.failing)?;
    }
    RUN.replace(Some(run));
    Ok((Some(step.partition.name), step.pruned.cast_signed(), false))
}

/// How a prune goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It only tells what it would do.
    Dry,
    /// In one transaction, with all that it needs.
    AtOnce,
    /// A transaction for each step.
    InSteps,
}

/// A prune.
struct Run {
    mode: Mode,
    policies: Vec<Policy>,
    /// What policies that keep only so many events keep.
    cuts: Cuts,
    /// The partitions that failed the last time.
    failing: Vec<String>,
    /// The partitions to come, the next one last.
    queue: Vec<Partition>,
    current: Option<Current>,
    /// An empty month, to be dropped by the next step.
    emptied: Option<Emptied>,
    /// Whether the storage of emptied months is left to the next prune.
    leaves_storage: bool,
}

/// An empty month that is to be dropped.
struct Emptied {
    partition: Partition,
    /// How often it is tried yet.
    tries: u32,
}

impl Emptied {
    /// Drops the month, if the log is free at this very moment; whether that was the last try. Each is a transaction of its own, before
    /// whose locks it rests: so others get in between.
    fn try_to_drop(&mut self) -> Result<bool> {
        if self.tries < TRIES {
            xact::pause(REST);
        }
        self.tries -= 1;
        Ok(drop_if_empty(&self.partition)? || self.tries == 0)
    }
}

/// A batch, or a partition, is done.
struct Step {
    partition: Partition,
    pruned: u64,
    /// Whether the partition is done; then with what became of it.
    ends: bool,
    /// Whether nothing of the step stays.
    failed: bool,
    rows: Vec<Row>,
}

impl Step {
    /// Whether the partition is done, and did not fail.
    fn is_done(&self) -> bool {
        self.ends && !self.failed
    }

    /// Says that a partition that failed before did not fail this time.
    fn tell(&self, failing: &[String]) -> Result<()> {
        if self.is_done() {
            Task::Prune(&self.partition.name).succeeded_after(failing)
        } else {
            Ok(())
        }
    }
}

impl Run {
    fn begin(mode: Mode) -> Result<Self> {
        let mut queue = Partition::all()?;
        let policies = Policy::all()?;
        let cuts = newest::cuts(&queue, &policies)?;
        queue.reverse();
        Ok(Self {
            mode,
            policies,
            cuts,
            failing: failure::failing(Task::Prune(""))?,
            queue,
            current: None,
            emptied: None,
            leaves_storage: false,
        })
    }

    /// Frees a part of the storage of emptied months; false where there is none, or where it is in use.
    fn frees_storage(&mut self) -> Result<bool> {
        if self.leaves_storage || xact::in_block() {
            return Ok(false);
        }
        let task = Task::Prune(emptied::NAME);
        let left = task.alone(emptied::free)?;
        self.leaves_storage = left.is_none_or(|left| left == Left::InUse);
        if left == Some(Left::Nothing) {
            task.succeeded_after(&self.failing)?;
        }
        Ok(left == Some(Left::Something))
    }

    /// The next batch or partition; None when there is no more to do.
    fn step(&mut self) -> Result<Option<Step>> {
        if self.mode != Mode::Dry {
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
            *self = Self::begin(self.mode)?;
        }
        let partition = match &self.current {
            Some(current) => current.partition.clone(),
            None => match self.queue.pop() {
                Some(partition) if !self.policies.is_empty() => partition,
                _ => return Ok(None),
            },
        };
        progress::show(&format!("pruning audit.{}", partition.name));
        if self.mode == Mode::Dry {
            return self.work_at(&partition).map(Some);
        }
        let before = self.current.as_ref().map(Current::pruned);
        let done = Task::Prune(&partition.name).alone(|| self.work_at(&partition))?;
        Ok(Some(match done {
            Some(step) => step,
            None => self.give_up(partition, &before.unwrap_or_default()),
        }))
    }

    /// The next batch of a partition, or all of it.
    fn work_at(&mut self, partition: &Partition) -> Result<Step> {
        if self.current.is_none() {
            self.current = Some(self.look_at(partition.clone())?);
        }
        let archives = if self.policies.iter().any(|policy| policy.require_archive) {
            archive::archived()?
        } else {
            Vec::new()
        };
        let work = Work {
            dry: self.mode == Mode::Dry,
            in_steps: self.mode == Mode::InSteps,
            policies: &self.policies,
            archives: &archives,
        };
        let current = self.current.as_mut();
        let (pruned, ends) = current.map_or(Ok((0, true)), |current| work.run(current))?;
        let rows = match self.current.take_if(|_| ends) {
            Some(current) => current.rows(&self.policies),
            None => Vec::new(),
        };
        Ok(Step {
            partition: partition.clone(),
            pruned,
            ends,
            failed: false,
            rows,
        })
    }

    /// Leaves a partition that failed to the next run; `before` is what went of each group before the failure.
    fn give_up(&mut self, partition: Partition, before: &[u64]) -> Step {
        let current = self.current.take();
        Step {
            partition,
            pruned: 0,
            ends: true,
            failed: true,
            rows: current.map_or(Vec::new(), |mut current| {
                current.fail(before);
                current.rows(&self.policies)
            }),
        }
    }

    fn look_at(&self, partition: Partition) -> Result<Current> {
        let mut plan = Plan::by_age(&partition, &self.policies)?;
        plan.cut_off(&self.cuts)?;
        let outcomes = vec![Outcome::default(); plan.groups.len()];
        Ok(Current {
            partition,
            plan,
            after: Some(i64::MIN),
            outcomes,
            method: "delete",
        })
    }
}

/// Whether a partition has no events.
fn is_empty(partition: &Partition) -> Result<bool> {
    let name = partition.sql();
    let rest = query::rows(&format!("SELECT FROM ONLY {name} LIMIT 1"), &[])?;
    Ok(rest.is_empty())
}

/// Drops an empty month, if the log is free at this very moment: that needs the parent's lock, behind which writers queue. Hence a
/// transaction of its own, which takes that lock last, has next to nothing to write, and ends next. False where the log was not free.
fn drop_if_empty(partition: &Partition) -> Result<bool> {
    let name = partition.sql();
    // The month's files went a moment ago, which some file systems are busy with for a tenth of a second: no commit of ours waits for
    // that while it shuts the log.
    wal::wait_for_disk()?;
    // All are only tried, so that no order of them is a deadlock.
    for table in [&partition.name, "audit_events_default", "audit_events"] {
        let oid = catalog::audit_relation(table);
        if !oid.is_some_and(|oid| lock_at_once(oid, lock::ACCESS_EXCLUSIVE)) {
            return Ok(false);
        }
    }
    if !is_empty(partition)? {
        return Ok(true);
    }
    query::run(
        &format!("ALTER TABLE audit.audit_events DETACH PARTITION {name}"),
        &[],
    )?;
    query::run(&format!("DROP TABLE {name}"), &[])?;
    Ok(true)
}
