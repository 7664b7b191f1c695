//! Parts shared out among parallel workers. The leader verifies the chain meanwhile, then takes parts itself.

use super::chain;
use super::events::Work;
use super::job::Job;
use super::report::Report;
use super::rows;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::ledger::checkpoint::Epoch;
use crate::ledger::events::Events;
use crate::pg::parallel::{Shared, Team, entry_point};
use crate::pg::progress;
use crate::pg::snapshot::Snapshot;

entry_point!(pg_attest_verify_worker, work_in_worker);

/// Verifies everything with up to `workers` other processes.
pub fn run(job: &Job, epochs: &[Epoch], work: &mut Work, workers: i32) -> Result<Report> {
    let mut report = Report::default();
    let workers = workers.clamp(0, i32::try_from(job.count()).unwrap_or(i32::MAX));
    let team = if workers == 0 {
        None
    } else {
        let text = serde_json::to_vec(job).map_err(|error| damaged(&error))?;
        Some(Team::start(c"pg_attest_verify_worker", &text, workers))
    };
    progress::show("audit.verify(): tiles, checkpoints and signatures");
    chain::verify(&work.snapshot, &work.events, epochs, job.since, &mut report)?;
    let alone = Shared::alone();
    let shared = team.as_ref().map_or(&alone, Team::shared);
    take_parts(job, shared, work, &mut report)?;
    for text in team.map(Team::finish).unwrap_or_default() {
        report.merge(serde_json::from_slice(&text).map_err(|error| damaged(&error))?);
    }
    rows::find_hidden(job, work, &mut report);
    Ok(report)
}

fn take_parts(job: &Job, shared: &Shared, work: &mut Work, report: &mut Report) -> Result<()> {
    let count = job.count();
    loop {
        let number = shared.next();
        if number >= count {
            return Ok(());
        }
        job.verify(number, work, report)?;
        progress::show(&format!(
            "audit.verify(): {} of {count} parts of the events",
            shared.taken().min(count)
        ));
    }
}

fn work_in_worker(text: &[u8], shared: &Shared) -> Vec<u8> {
    or_raise(verify_parts(text, shared))
}

fn verify_parts(text: &[u8], shared: &Shared) -> Result<Vec<u8>> {
    let job: Job = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
    let events = Events::open()?;
    let mut work = Work::with(Snapshot::active(), events);
    let mut report = Report::default();
    take_parts(&job, shared, &mut work, &mut report)?;
    serde_json::to_vec(&report).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_INTERNAL_ERROR,
        format!("parallel verification failed: {error}"),
    )
}
