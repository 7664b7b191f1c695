//! Upkeep on a schedule: months ahead, the default partition drained, what is due pruned, old rows of other tables deleted.

pub use super::cleanup::settle;
use super::failure::Task;
use super::{cleanup, policy, prune};
use crate::act::Act;
use crate::attach::ddl::OwnDdl;
use crate::attach::partitions;
use crate::attach::registry::{all, first};
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::object_lock;
use crate::pg::role::ActAsSuperuser;
use crate::pg::{worker, xact};
use crate::settings;
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use serde_json::{Map, Value as Json};
use std::time::{Duration, Instant};

/// Where no upkeep ever ran, the first run comes so long after the start.
const FIRST: Duration = Duration::from_hours(1);
/// Between two looks at whether upkeep is due.
const LOOK: Duration = Duration::from_mins(1);

/// When the sealer starts a keeper.
pub struct Clock {
    started: Instant,
    looked: Option<Instant>,
    keeper: Option<DynamicBackgroundWorker>,
}

impl Clock {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            looked: None,
            keeper: None,
        }
    }

    /// Whether it is time to look: looking costs a query.
    pub fn looks(&mut self) -> bool {
        let schedule = schedule();
        let between = schedule.min(LOOK);
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= between);
        if schedule.is_zero() || !due {
            return false;
        }
        self.looked = Some(Instant::now());
        true
    }

    /// Whether a run is due: none is going on, and the last one began long enough ago.
    pub fn is_due(&mut self) -> Result<bool> {
        let ended = |keeper: &DynamicBackgroundWorker| {
            matches!(
                keeper.pid(),
                Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)
            )
        };
        if self.keeper.as_ref().is_some_and(|keeper| !ended(keeper)) {
            return Ok(false);
        }
        self.keeper = None;
        let _superuser = ActAsSuperuser::new();
        let age = first(
            "SELECT pg_catalog.floor(pg_catalog.extract('epoch', pg_catalog.clock_timestamp() - pg_catalog.max(captured_at)))::pg_catalog.int8 \
             FROM audit.audit_events WHERE operation = 'system' AND action = 'begin upkeep'",
            &[],
        )?;
        let age = age
            .and_then(|age| age.parse().ok())
            .map(Duration::from_secs);
        Ok(match age {
            Some(age) => age >= schedule(),
            None => self.started.elapsed() >= schedule().min(FIRST),
        })
    }

    pub fn start(&mut self) {
        self.keeper = worker::start_keeper("pg_attest_keeper");
        if self.keeper.is_none() {
            AttestError::new(
                SqlState::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                "pg_attest has no room for a background worker",
            )
            .detail("Upkeep that is due was not begun.")
            .hint("Raise max_worker_processes.")
            .log();
        }
    }
}

fn schedule() -> Duration {
    Duration::from_secs(settings::RETENTION_SCHEDULE.get().unsigned_abs().into())
}

/// A run, each step of it in a transaction of its own. That it began and ended are events: a beginning without an end is a run
/// that failed, and the server's log says why.
pub fn run_in_worker() {
    let goes_on = worker::transaction("beginning upkeep", || {
        object_lock::extension().is_some() && {
            or_raise(record("begin upkeep", Map::new()));
            true
        }
    });
    if !goes_on {
        return;
    }
    let (moved, made) = worker::transaction("keeping months ahead", || or_raise(keep_months()));
    let mut pruned = 0;
    loop {
        let (_, count, finished) = worker::transaction("pruning", || {
            let _superuser = ActAsSuperuser::new();
            let _own = OwnDdl::new();
            or_raise(prune::batch())
        });
        pruned += count;
        if finished {
            break;
        }
    }
    let mut deleted = 0;
    let tables = worker::transaction("looking at cleanups", || or_raise(cleanup::all()));
    for table in tables {
        loop {
            let (count, goes_on) = worker::transaction("cleaning up", || {
                or_raise(cleanup::settle());
                or_raise(table.step())
            });
            deleted += count;
            if !goes_on {
                break;
            }
        }
    }
    worker::transaction("ending upkeep", || {
        or_raise(warn_of_months());
        let mut said = Map::new();
        said.insert("partitions_made".into(), Json::from(made));
        said.insert("events_moved".into(), Json::from(moved));
        said.insert("events_pruned".into(), Json::from(pruned));
        said.insert("rows_cleaned_up".into(), Json::from(deleted));
        or_raise(record("end upkeep", said));
    });
}

/// Drains the default partition and makes the months ahead; returns how many events it moved, and how many months it made.
pub fn keep_months() -> Result<(i64, i64)> {
    let done = Task::Months.alone(|| {
        let _superuser = ActAsSuperuser::new();
        let _own = OwnDdl::new();
        partitions::wait_briefly();
        policy::follow_renames()?;
        // What this transaction itself wrote into the default partition.
        xact::command_counter_increment();
        let moved = partitions::drain()?;
        Ok((moved, partitions::ensure()?))
    })?;
    if done.is_some() {
        Task::Months.succeeded()?;
    }
    Ok(done.unwrap_or_default())
}

/// Warns of months that have to be archived before they are due.
pub fn warn_of_months() -> Result<()> {
    let _superuser = ActAsSuperuser::new();
    let months = all(
        "SELECT name FROM audit.months_to_archive ORDER BY name",
        &[],
    )?;
    if !months.is_empty() {
        AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "months have to be archived before they can be pruned",
        )
        .detail(format!(
            "They are due within 30 days, or already, under a policy that asks for archives: {}.",
            months.join(", ")
        ))
        .hint("attest archive writes, reads back and records archives.")
        .warning();
    }
    Ok(())
}

fn record(action: &str, said: Map<String, Json>) -> Result<()> {
    Act {
        said,
        ..Act::new(EventKind::System, action)
    }
    .record()
    .map(drop)
}

/// Prunes in the caller's transaction; returns how many events went. Superuser, with [`crate::attach::ddl::OwnDdl`].
pub fn prune_in_session() -> Result<i64> {
    policy::follow_renames()?;
    if prune::has_policies()? {
        prune::all_at_once()
    } else {
        Ok(0)
    }
}

/// Cleans up in the caller's transaction; returns how many rows went. After [`settle`], and without
/// [`crate::attach::ddl::OwnDdl`]: what tables' triggers do is their owners'.
pub fn clean_up_in_session() -> Result<i64> {
    let mut deleted: u64 = 0;
    for table in cleanup::all()? {
        loop {
            let (count, goes_on) = table.step()?;
            deleted += count;
            if !goes_on {
                break;
            }
        }
    }
    Ok(deleted.cast_signed())
}
