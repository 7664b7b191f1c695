//! The background workers, with `shared_preload_libraries = 'pg_attest'`: a launcher, and in each database with the extension a
//! sealer, which starts a keeper when upkeep is due.
//!
//! Invariant: nothing waits for a worker. A sealer holds locks for the length of one seal; commands that need a database for
//! themselves (DROP DATABASE and its like) end its sealer first, and the launcher leaves it alone for a while.

use crate::error::{AttestError, SqlState, or_raise};
use crate::ledger::{mark, seal};
use crate::pg::object_lock::{self, Agreement, Until, lock};
use crate::pg::query::{self, Arg};
use crate::pg::relation::lock::EXCLUSIVE;
use crate::pg::role::ActAsSuperuser;
use crate::pg::worker;
use crate::retention::upkeep;
use crate::settings;
use crate::summaries;
use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::{pg_extern, pg_guard, pg_sys};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two looks of the launcher at what runs.
const LOOK: Duration = Duration::from_secs(10);
/// A sealer that ended is started again after this long: whoever ended it may need the database for himself.
const REST: Duration = Duration::from_secs(10);
/// A sealer that ended at once, twice in a row, is tried again after this long: its database has no extension, or an error that
/// stays. CREATE EXTENSION wakes the launcher at once.
const LONG_REST: Duration = Duration::from_mins(1);
/// A mark is set so long before a seal where much is written: longer than a short transaction.
const LEAD: Duration = Duration::from_millis(10);
/// What "at once" is.
const BRIEF: Duration = Duration::from_secs(2);

/// Called once, when the library is loaded.
pub fn init() {
    if worker::is_preloading() {
        worker::register_launcher("pg_attest_launcher");
        crate::pg::utility_hook::mind_workers();
    }
}

/// `audit.sealer_state()`.
#[pg_extern(sql = false)]
fn sealer_state() -> &'static str {
    let _superuser = ActAsSuperuser::new();
    let running = query::rows(
        "SELECT backend_type FROM pg_catalog.pg_stat_activity \
         WHERE backend_type OPERATOR(pg_catalog.=) $1 \
            OR (backend_type OPERATOR(pg_catalog.=) $2 AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        &[Arg::Text(worker::LAUNCHER), Arg::Text(worker::SEALER)],
    );
    let running: Vec<_> = or_raise(running).into_iter().flatten().flatten().collect();
    let is_running = |name: &str| running.iter().any(|running| running == name);
    if is_running(worker::SEALER) {
        "running"
    } else if is_running(worker::LAUNCHER) {
        "stopped"
    } else {
        "by hand"
    }
}

/// What the launcher knows of a database.
struct Sealer {
    running: Option<DynamicBackgroundWorker>,
    started: Instant,
    /// How often it ended at once, in a row.
    brief: u32,
    not_before: Instant,
}

/// The launcher: starts sealers and keeps them going.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_attest_launcher(_argument: pg_sys::Datum) {
    worker::connect(None);
    let mut sealers: HashMap<pg_sys::Oid, Sealer> = HashMap::new();
    loop {
        let databases = worker::transaction("looking at databases", worker::databases);
        sealers.retain(|database, _| databases.contains(database));
        let now = Instant::now();
        for database in databases {
            look_after(database, &mut sealers, now);
        }
        let next = sealers.values().filter(|sealer| sealer.running.is_none());
        let next = next
            .map(|sealer| sealer.not_before.saturating_duration_since(now))
            .min();
        // A moment longer, so that it is due then.
        let pause = next.map_or(LOOK, |next| (next + Duration::from_millis(20)).min(LOOK));
        if worker::wait(pause) {
            for sealer in sealers.values_mut() {
                sealer.not_before = Instant::now();
            }
        }
    }
}

fn look_after(database: pg_sys::Oid, sealers: &mut HashMap<pg_sys::Oid, Sealer>, now: Instant) {
    let sealer = sealers.entry(database).or_insert(Sealer {
        running: None,
        started: now,
        brief: 0,
        not_before: now,
    });
    if sealer.running.as_ref().is_some_and(has_ended) {
        sealer.running = None;
        let was_brief = now.duration_since(sealer.started) < BRIEF;
        sealer.brief = if was_brief { sealer.brief + 1 } else { 0 };
        sealer.not_before = now + if sealer.brief > 1 { LONG_REST } else { REST };
    }
    if sealer.running.is_none() && sealer.not_before <= now {
        sealer.started = now;
        sealer.not_before = now + LONG_REST;
        sealer.running = worker::start_sealer("pg_attest_sealer", database);
        if sealer.running.is_none() {
            AttestError::new(
                SqlState::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                "pg_attest has no room for a background worker",
            )
            .detail("Events of one database are not sealed by themselves.")
            .hint("Raise max_worker_processes.")
            .log();
        }
    }
}

fn has_ended(sealer: &DynamicBackgroundWorker) -> bool {
    use pgrx::bgworkers::BackgroundWorkerStatus as Status;
    matches!(sealer.pid(), Err(Status::Stopped | Status::PostmasterDied))
}

/// A keeper: one run of upkeep in one database, in a process of its own, so that sealing goes on.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_attest_keeper(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(u32::try_from(argument.value()).unwrap_or_default());
    worker::connect(Some(database));
    upkeep::run_in_worker();
    worker::exit();
}

/// Summarises what is sealed, round by round, but not for long: sealing comes first. Whether there is more.
fn summarize() -> bool {
    const LONGEST: Duration = Duration::from_millis(250);
    let started = Instant::now();
    loop {
        let more = worker::transaction("summarising", || {
            object_lock::extension().is_some() && {
                let _superuser = ActAsSuperuser::new();
                or_raise(summaries::round_in_worker())
            }
        });
        if !more || started.elapsed() >= LONGEST {
            return more;
        }
    }
}

/// The sealer of one database: seals, waits, and seals again.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_attest_sealer(argument: pg_sys::Datum) {
    let database = pg_sys::Oid::from(u32::try_from(argument.value()).unwrap_or_default());
    worker::connect(Some(database));
    let extension = worker::transaction("looking for the extension", || {
        object_lock::extension().filter(|oid| {
            lock(
                *oid,
                Agreement::Sealer,
                EXCLUSIVE,
                Until::SessionEnds,
                false,
            )
        })
    });
    let Some(extension) = extension else {
        worker::exit();
    };
    let mut upkeep = upkeep::Clock::new();
    let mut summarized: Option<Instant> = None;
    loop {
        let interval = settings::SEAL_INTERVAL.get();
        let mut sealed = false;
        let goes_on = worker::transaction("sealing", || {
            let goes_on = object_lock::extension() == Some(extension);
            if goes_on && interval > 0 {
                sealed = or_raise(seal::pass_in_worker());
            }
            goes_on
        });
        if !goes_on {
            worker::exit();
        }
        // Where nothing was sealed, there is more to do only since transactions have ended.
        if sealed || summarized.is_none_or(|last| last.elapsed() >= LOOK) {
            summarized = (!summarize()).then(Instant::now);
        }
        if upkeep.looks()
            && worker::transaction("looking at the upkeep", || or_raise(upkeep.is_due()))
        {
            upkeep.start();
        }
        worker::wait(match u64::try_from(interval) {
            Ok(milliseconds) if milliseconds > 0 => Duration::from_millis(milliseconds),
            _ => LOOK,
        });
        // Most transactions that the next seal finds under way will have begun after this.
        if sealed {
            worker::transaction("setting a mark", || {
                if object_lock::extension() == Some(extension) {
                    mark::set();
                }
            });
            worker::wait(LEAD);
        }
    }
}
