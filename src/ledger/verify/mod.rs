//! Verification: everything that the log claims, computed anew.
//!
//! Reads under one snapshot and writes nothing, so it runs on a standby. What is found is told as rows: first a line per check,
//! then the findings in the order of their leaves.

#![allow(clippy::type_complexity)] // rows of functions have to be spelled out for pgrx

mod chain;
mod checkpoints;
mod declared;
mod events;
mod expected;
mod extent;
mod job;
mod parallel;
mod report;
mod rows;
mod signatures;

use super::checkpoint::{Checkpoints, Epoch};
use super::sealed;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::role::ActAsSuperuser;
use crate::pg::snapshot::Snapshot;
use attest_log::declaration::Kind;
use declared::Declared;
use events::Work;
use job::{Job, Scope};
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
    TableIterator::new(or_raise(run_chain()))
}

fn run_chain() -> Result<Vec<Row>> {
    let _superuser = ActAsSuperuser::new();
    let work = Work::open()?;
    let epochs = Epoch::all(&work.snapshot)?;
    let mut report = Report::default();
    chain::verify(&work.snapshot, &work.events, &epochs, None, &mut report)?;
    rows(&work.snapshot, report, false)
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
        since: since_size.map(i64::cast_unsigned),
        sample,
    };
    TableIterator::new(or_raise(run(scope, workers.unwrap_or(0))))
}

fn run(scope: Scope, workers: i32) -> Result<Vec<Row>> {
    scope.check()?;
    if workers < 0 {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "the number of workers is negative",
        )
        .detail(format!("It is {workers}."))
        .hint("workers => 0 verifies in this session alone."));
    }
    let _superuser = ActAsSuperuser::new();
    let (epochs, mut job, mut work) = open(scope)?;
    let declared = Declared::read(&work.snapshot, &work.events, &epochs, &job.expected, None)?;
    job.covers = declared.covers.clone();
    let mut report = parallel::run(&job, &epochs, &mut work, workers)?;
    declared.tell(&mut report, |finding| job.has_in_scope(finding, scope));
    rows(&work.snapshot, report, true)
}

/// Opens the log and cuts it up.
fn open(scope: Scope) -> Result<(Vec<Epoch>, Job, Work)> {
    let work = Work::open()?;
    let epochs = Epoch::all(&work.snapshot)?;
    let last = Checkpoints::open()?.last(&work.snapshot, None);
    scope.check_since(last.as_ref())?;
    let job = Job::new(&work.snapshot, &work.events, &epochs, last.as_ref(), scope)?;
    Ok((epochs, job, work))
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
    let (epochs, mut job, mut work) = open(Scope {
        from_event: Some(event_id),
        to_event: Some(event_id),
        ..Scope::default()
    })?;
    let leaves = sealed::find(&work.snapshot, event_id)?;
    let about = Some((event_id, leaves.as_slice()));
    let declared = Declared::read(&work.snapshot, &work.events, &epochs, &job.expected, about)?;
    job.covers = declared.covers.clone();
    let mut report = Report::default();
    for number in 0..job.count() {
        job.verify(number, &mut work, &mut report)?;
    }
    declared.tell(&mut report, |finding| finding.event_id == Some(event_id));
    for leaf in &leaves {
        chain::verify_leaf(&work.snapshot, event_id, leaf, &mut report)?;
    }
    let told = (report.pruned > 0, report.erased > 0);
    let is_nothing = leaves.is_empty() && report.events == 0;
    let mut lines = rows(&work.snapshot, report, true)?;
    if let Some(line) = lines.first_mut().filter(|_| is_nothing) {
        line.5 = Some("neither an event nor a leaf has this id".to_owned());
    }
    for leaf in &leaves {
        let (name, kind) = match told {
            (true, _) => ("pruned event", Kind::Pruned),
            (_, true) => ("erased event", Kind::Erased),
            _ => break,
        };
        if let Some(by_what) = declared.by_what(leaf, kind) {
            let (index, detail) = (
                leaf.index.cast_signed(),
                format!("epoch {}: {by_what}", leaf.epoch),
            );
            lines.push((name, true, None, Some(event_id), Some(index), Some(detail)));
        }
    }
    Ok(lines)
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
        let checks = [
            Check::AlteredEvent,
            Check::MissingEvent,
            Check::ForgedEvent,
            Check::MalformedEvent,
            Check::FalseDeclaration,
        ];
        line("events", report.events, &checks, &report.said_of_events());
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
