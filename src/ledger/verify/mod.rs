//! Verification: everything that the log claims, computed anew.
//!
//! Reads under one snapshot and writes nothing, so it runs on a standby. What is found is told as rows: first a line per check,
//! then the findings in the order of their leaves.

#![allow(clippy::type_complexity)] // rows of functions have to be spelled out for pgrx

mod chain;
mod events;
mod parallel;
mod report;

use super::checkpoint::{Checkpoints, Epoch};
use super::events::Events;
use super::leaf::LeafMaker;
use super::sealed;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::role::ActAsSuperuser;
use crate::pg::snapshot::Snapshot;
use events::{Job, Scope, Work};
use pgrx::prelude::*;
use report::{Check, LISTED, Report};

/// A row of the result.
type Row = (
    &'static str,
    bool,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

/// `audit.verify_chain()`.
#[pg_extern(sql = false)]
fn verify_chain() -> TableIterator<
    'static,
    (
        name!(check_name, &'static str),
        name!(ok, bool),
        name!(checked, Option<i64>),
        name!(event_id, Option<i64>),
        name!(leaf_index, Option<i64>),
        name!(detail, Option<String>),
    ),
> {
    let _superuser = ActAsSuperuser::new();
    let snapshot = Snapshot::latest();
    let mut report = Report::default();
    or_raise(chain::verify(&snapshot, &mut report));
    TableIterator::new(or_raise(rows(&snapshot, report, false)))
}

/// `audit.verify(from_event, to_event, since_size, sample, workers)`.
#[pg_extern(sql = false)]
fn verify(
    from_event: Option<i64>,
    to_event: Option<i64>,
    since_size: Option<i64>,
    sample: Option<f64>,
    workers: Option<i32>,
) -> TableIterator<
    'static,
    (
        name!(check_name, &'static str),
        name!(ok, bool),
        name!(checked, Option<i64>),
        name!(event_id, Option<i64>),
        name!(leaf_index, Option<i64>),
        name!(detail, Option<String>),
    ),
> {
    let scope = Scope {
        from_event,
        to_event,
        since: since_size.map(|size| size.max(0).cast_unsigned()),
    };
    TableIterator::new(or_raise(run(scope, sample, workers.unwrap_or(0))))
}

fn run(scope: Scope, sample: Option<f64>, workers: i32) -> Result<Vec<Row>> {
    if sample.is_some_and(|sample| !(0.0..=1.0).contains(&sample)) {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "a sample is between 0 and 1",
        )
        .hint("sample => 0.01 verifies about one event in a hundred."));
    }
    let _superuser = ActAsSuperuser::new();
    let events = Events::open()?;
    let snapshot = Snapshot::latest();
    let epochs = Epoch::all(&snapshot)?;
    let last = Checkpoints::open()?.last(&snapshot, None);
    let mut job = Job::new(&snapshot, &epochs, last.as_ref(), scope)?;
    if let Some(sample) = sample {
        job.parts.retain(|_| rand() < sample);
    }
    let work = Work {
        snapshot: &snapshot,
        events,
        maker: LeafMaker::new(),
    };
    let report = parallel::run(&job, work, workers)?;
    rows(&snapshot, report, true)
}

/// A random number from 0 to 1.
fn rand() -> f64 {
    let mut bytes = [0; 4];
    // A failing generator gives zeroes: then all is verified.
    crate::pg::context_source::random_bytes(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

/// `audit.verify_event(event_id)`.
#[pg_extern(sql = false)]
fn verify_event(
    event_id: i64,
) -> TableIterator<
    'static,
    (
        name!(check_name, &'static str),
        name!(ok, bool),
        name!(checked, Option<i64>),
        name!(event_id, Option<i64>),
        name!(leaf_index, Option<i64>),
        name!(detail, Option<String>),
    ),
> {
    TableIterator::new(or_raise(verify_one(event_id)))
}

fn verify_one(event_id: i64) -> Result<Vec<Row>> {
    let _superuser = ActAsSuperuser::new();
    let events = Events::open()?;
    let snapshot = Snapshot::latest();
    let epochs = Epoch::all(&snapshot)?;
    let last = Checkpoints::open()?.last(&snapshot, None);
    let scope = Scope {
        from_event: Some(event_id),
        to_event: Some(event_id),
        since: None,
    };
    let job = Job::new(&snapshot, &epochs, last.as_ref(), scope)?;
    let mut report = Report::default();
    let mut work = Work {
        snapshot: &snapshot,
        events,
        maker: LeafMaker::new(),
    };
    for part in &job.parts {
        job.verify(part, &mut work, &mut report)?;
    }
    for leaf in sealed::find(&snapshot, event_id)? {
        chain::verify_leaf(&snapshot, event_id, &leaf, &mut report)?;
    }
    rows(&snapshot, report, true)
}

/// The lines of a report.
fn rows(snapshot: &Snapshot, mut report: Report, with_events: bool) -> Result<Vec<Row>> {
    let number = |count: u64| Some(count.cast_signed());
    report.sort();
    let mut lines: Vec<Row> = Vec::new();
    let mut line = |name, checked: u64, checks: &[Check], said: &str| {
        let bad = report.count(checks);
        let detail = match bad {
            0 => (!said.is_empty()).then(|| said.to_owned()),
            _ => Some(format!("findings below: {bad}")),
        };
        lines.push((name, bad == 0, number(checked), None, None, detail));
    };
    if with_events {
        let unsealed = match report.unsealed {
            0 => String::new(),
            count => format!("{count} of them not sealed yet"),
        };
        let checks = [
            Check::AlteredEvent,
            Check::MissingEvent,
            Check::ForgedEvent,
            Check::MalformedEvent,
        ];
        line("events", report.events, &checks, &unsealed);
    }
    let checks = [Check::AlteredTile, Check::TwoTrees];
    line("leaves", report.leaves, &checks, "");
    line(
        "checkpoints",
        report.checkpoints,
        &[Check::BrokenCheckpoint],
        "",
    );
    line("signatures", report.signatures, &[Check::BadSignature], "");
    if !report.findings.is_empty() {
        for epoch in Epoch::all(snapshot)? {
            lines.push(last_good(snapshot, &report, &epoch)?);
        }
    }
    for finding in &report.findings {
        let leaf = finding.leaf_index.map(u64::cast_signed);
        let detail = finding.epoch.map_or_else(
            || finding.detail.clone(),
            |epoch| format!("epoch {epoch}: {}", finding.detail),
        );
        lines.push((
            finding.check.name(),
            false,
            None,
            finding.event_id,
            leaf,
            Some(detail),
        ));
    }
    for (check, count) in report.unlisted() {
        let detail = format!("{count} more; {LISTED} are listed");
        lines.push((check.name(), false, number(count), None, None, Some(detail)));
    }
    Ok(lines)
}

/// Up to where an epoch's tree is good, with its events.
fn last_good(snapshot: &Snapshot, report: &Report, epoch: &Epoch) -> Result<Row> {
    let bad = report.first_bad_leaf(epoch.epoch);
    let mut good = None;
    Checkpoints::open()?.each(snapshot, |checkpoint| {
        let before = bad.is_none_or(|bad| checkpoint.tree_size <= bad);
        if checkpoint.epoch == epoch.epoch && before {
            good = Some(checkpoint.tree_size.cast_signed());
        }
        Ok(())
    })?;
    let detail = match (good, bad) {
        (Some(size), _) => format!("epoch {}: the checkpoint of tree size {size}", epoch.epoch),
        (None, _) => format!("epoch {}: none", epoch.epoch),
    };
    Ok((
        "last good checkpoint",
        bad.is_none(),
        good,
        None,
        bad.map(u64::cast_signed),
        Some(detail),
    ))
}
