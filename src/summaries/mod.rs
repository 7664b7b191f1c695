//! Summaries of the log, made behind the writers: ranges of event ids, and which values the events of each have. Pages of events
//! are found by them (`sql/events.sql`), where indexes would cost every writer.
//!
//! Invariant: a range is made once no transaction can commit another event with an id up to its last one, so whoever sees the range
//! sees all its events. Events that are removed later leave it wrong in one direction alone: it names values that it has no
//! more. What comes into the log in any other way than by sealing, a restore or a partition that is attached, makes all ranges void.
//!
//! When no more events can come: a checkpoint says that transactions from its `next_xid` on have only ids above its `last_event_id`.
//! So once all transactions below that `next_xid` have ended, everything up to that `last_event_id` is there.

mod groups;
mod range;
mod trigrams;

use crate::attach::registry::first;
use crate::capture::guard::Upkeep;
use crate::error::{Result, or_raise};
use crate::ledger;
use crate::ledger::events::Events;
use crate::pg::cell::Backend;
use crate::pg::object_lock::{self, Agreement, Until};
use crate::pg::query::{self, Arg};
use crate::pg::relation::lock;
use crate::pg::role::ActAsSuperuser;
use crate::pg::snapshot::Snapshot;
use crate::pg::{incarnation, xact};
use groups::Large;
use pgrx::prelude::*;
use range::Range;
use serde_json::Value as Json;
use std::cell::Cell;

/// Events of a range. A page reads a few ranges; a range is a row per value.
const RANGE: u32 = 2048;
const TABLES: [&str; 3] = ["event_ranges", "range_values", "range_texts"];
/// Ranges that one round makes: some 20 milliseconds.
const PORTION: i64 = 8;

/// `audit.summarize_events(most)`.
#[pg_extern(sql = false)]
fn summarize_events(most: Option<i32>) -> i64 {
    let _superuser = ActAsSuperuser::new();
    xact::prevent_if_read_only(c"audit.summarize_events()");
    or_raise(in_session(most.map_or(i64::MAX, i64::from)))
}

/// Summarises what is due, in the caller's transaction: at most so many ranges. Returns how many events they have. Superuser.
pub fn in_session(most: i64) -> Result<i64> {
    let mut events = 0;
    let mut left = most;
    while left > 0 {
        let (ranges, summarized) = round(left.min(PORTION), true)?;
        if ranges == 0 {
            break;
        }
        left -= ranges;
        events += summarized;
    }
    Ok(events)
}

/// A short round of the background worker, which comes again; whether it found a full portion. Superuser.
pub fn round_in_worker() -> Result<bool> {
    if incarnation::in_recovery() {
        return Ok(false);
    }
    xact::commit_lazily();
    Ok(round(PORTION, false)?.0 == PORTION)
}

/// Summarises so many ranges, new ones first; gives how many they were, and how many events they have.
fn round(most: i64, wait: bool) -> Result<(i64, i64)> {
    if !exclusively(wait) || !ledger::no_restore_runs() {
        return Ok((0, 0));
    }
    // What this transaction itself wrote before; it may write events by SQL again.
    FORGOTTEN.set((0, 0));
    xact::command_counter_increment();
    let made = make(most)?;
    if made.0 > 0 { Ok(made) } else { again(most) }
}

/// Makes the ranges that come next.
fn make(most: i64) -> Result<(i64, i64)> {
    let before = first(
        "SELECT pg_catalog.max(last_id) FROM audit.event_ranges",
        &[],
    )?;
    let before = before.and_then(|id| id.parse().ok()).unwrap_or(i64::MIN);
    // There are no more events than ids.
    let settled = ledger::settled(&Snapshot::latest())?;
    if settled.saturating_sub(before) < i64::from(RANGE) {
        return Ok((0, 0));
    }
    let Ok(events) = Events::open() else {
        // A restore is not finished.
        return Ok((0, 0));
    };
    let snapshot = Snapshot::latest();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut ranges, mut range) = (Vec::new(), Range::default());
    events.each_by_id(&snapshot, before.saturating_add(1), settled, |row| {
        // A forged event may have the id of the one before: they stand in one range.
        if range.events >= i64::from(RANGE) && !range.ends_with(row) {
            ranges.push(std::mem::take(&mut range));
            if ranges.len() == most {
                return Ok(false);
            }
        }
        range.extend(row);
        Ok(true)
    })?;
    if range.events >= i64::from(RANGE) {
        ranges.push(range);
    }
    write(&ranges)
}

/// Summarises ranges again that events were removed from.
fn again(most: i64) -> Result<(i64, i64)> {
    let stale = query::rows(
        &format!(
            "SELECT first_id, last_id FROM audit.event_ranges WHERE is_stale ORDER BY last_id LIMIT {most}"
        ),
        &[],
    )?;
    if stale.is_empty() {
        return Ok((0, 0));
    }
    let stale: Vec<(i64, i64)> = ends(&stale).collect();
    let Ok(events) = Events::open() else {
        return Ok((0, 0));
    };
    let snapshot = Snapshot::latest();
    let ranges = stale
        .iter()
        .map(|ends| Range::read(&events, &snapshot, *ends))
        .collect::<Result<Vec<_>>>()?;
    let _upkeep = Upkeep::new();
    let last: Vec<i64> = stale.iter().map(|(_, last)| *last).collect();
    for table in TABLES {
        query::run(
            &format!("DELETE FROM audit.{table} WHERE last_id = ANY ($1::pg_catalog.int8[])"),
            &[Arg::Text(&query::array(&last))],
        )?;
    }
    let (_, summarized) = write(&ranges)?;
    Ok((stale.len().try_into().unwrap_or(i64::MAX), summarized))
}

/// The first and last ids of ranges, as queries give them.
fn ends(rows: &[query::Cells]) -> impl Iterator<Item = (i64, i64)> {
    let id = |cell: &Option<String>| cell.as_ref().and_then(|id| id.parse().ok());
    rows.iter()
        .filter_map(move |row| Some((id(&row[0])?, id(&row[1])?)))
}

/// Writes ranges, but for those that have no event left; gives how many they are, and how many events they have.
fn write(ranges: &[Range]) -> Result<(i64, i64)> {
    let _upkeep = Upkeep::new();
    let large = Large::find(ranges)?;
    let ranges = || ranges.iter().filter(|range| range.events > 0);
    insert(
        "INSERT INTO audit.event_ranges (last_id, first_id, events, occurred_from, occurred_to, captured_from, captured_to, xact_from, xact_to) \
         SELECT last_id, first_id, events, \
                coalesce(origin + occurred_from * interval '1 microsecond', '-infinity'), \
                coalesce(origin + occurred_to * interval '1 microsecond', 'infinity'), \
                coalesce(origin + captured_from * interval '1 microsecond', '-infinity'), \
                coalesce(origin + captured_to * interval '1 microsecond', 'infinity'), \
                xact_from, xact_to \
         FROM pg_catalog.jsonb_to_recordset($1::pg_catalog.jsonb) \
              AS r (last_id pg_catalog.int8, first_id pg_catalog.int8, events pg_catalog.int4, \
                    occurred_from pg_catalog.int8, occurred_to pg_catalog.int8, captured_from pg_catalog.int8, captured_to pg_catalog.int8, \
                    xact_from pg_catalog.xid8, xact_to pg_catalog.xid8), \
              (VALUES ('2000-01-01 00:00:00+00'::pg_catalog.timestamptz)) AS o (origin)",
        ranges().map(Range::to_json),
    )?;
    insert(
        "INSERT INTO audit.range_values (last_id, events, filter, value, ids) \
         SELECT last_id, events, filter, value, ids FROM pg_catalog.jsonb_to_recordset($1::pg_catalog.jsonb) \
             AS v (last_id pg_catalog.int8, filter audit.summarized, value pg_catalog.text, events pg_catalog.int4, ids pg_catalog.int8[])",
        ranges().flat_map(|range| range.values_to_json(&large)),
    )?;
    insert(
        "INSERT INTO audit.range_texts (last_id, trigrams) \
         SELECT last_id, pg_catalog.decode(trigrams, 'hex') FROM pg_catalog.jsonb_to_recordset($1::pg_catalog.jsonb) \
             AS t (last_id pg_catalog.int8, trigrams pg_catalog.text)",
        ranges().filter_map(Range::trigrams_to_json),
    )?;
    let events = ranges().map(|range| range.events);
    Ok((
        events.clone().count().try_into().unwrap_or(i64::MAX),
        events.sum(),
    ))
}

/// Rows that are inserted together: values are of 1,000 bytes at most, and each event may have others.
const ROWS: usize = 4_000;

/// Runs a statement that inserts these rows, as often as it takes.
fn insert(sql: &str, mut rows: impl Iterator<Item = Json>) -> Result<()> {
    loop {
        let some: Vec<Json> = rows.by_ref().take(ROWS).collect();
        if some.is_empty() {
            return Ok(());
        }
        query::run(sql, &[Arg::Text(&Json::from(some).to_string())])?;
    }
}

/// One at a time, until the transaction ends; `wait` false: false where somebody else does it.
fn exclusively(wait: bool) -> bool {
    object_lock::extension().is_some_and(|extension| {
        object_lock::lock(
            extension,
            Agreement::Summaries,
            lock::EXCLUSIVE,
            Until::TransactionEnds,
            wait,
        )
    })
}

/// Events with these ids, which ascend, are removed in this transaction: what their ranges say is done again. Superuser.
pub fn removed(ids: &[i64]) -> Result<()> {
    let (Some(lowest), Some(highest)) = (ids.first(), ids.last()) else {
        return Ok(());
    };
    exclusively(true);
    let ranges = query::rows(
        "SELECT first_id, last_id FROM audit.event_ranges WHERE NOT is_stale AND last_id >= $1::pg_catalog.int8 AND first_id <= $2::pg_catalog.int8",
        &[
            Arg::Text(&lowest.to_string()),
            Arg::Text(&highest.to_string()),
        ],
    )?;
    let has_any = |(first, last): &(i64, i64)| {
        let next = ids.partition_point(|id| id < first);
        ids.get(next).is_some_and(|id| id <= last)
    };
    let stale = ends(&ranges).filter(has_any).map(|(_, last)| last);
    let _upkeep = Upkeep::new();
    query::run(
        "UPDATE audit.event_ranges SET is_stale = true WHERE last_id = ANY ($1::pg_catalog.int8[])",
        &[Arg::Text(&query::array(&stale.collect::<Vec<_>>()))],
    )
}

/// The same for all events of a partition.
pub fn removed_all(partition: &str) -> Result<()> {
    exclusively(true);
    let _upkeep = Upkeep::new();
    query::run(
        &format!(
            "UPDATE audit.event_ranges SET is_stale = true FROM ( \
                 SELECT pg_catalog.min(event_id) AS lowest, pg_catalog.max(event_id) AS highest FROM ONLY {partition}) AS gone \
             WHERE NOT is_stale AND last_id >= gone.lowest AND first_id <= gone.highest"
        ),
        &[],
    )
}

/// The subtransaction in which all ranges were forgotten last.
static FORGOTTEN: Backend<Cell<(u32, u32)>> = Backend::cell((0, 0));

/// Somebody writes events by SQL: what was summarised counts no more. Nobody else summarises until his session ends
/// (`ledger::hold_off_seals`).
pub fn forget() -> Result<()> {
    let now = (xact::local_transaction_id(), xact::subtransaction_id());
    if FORGOTTEN.get() == now {
        return Ok(());
    }
    let _superuser = ActAsSuperuser::new();
    forget_all()?;
    FORGOTTEN.set(now);
    Ok(())
}

/// Somebody changes the log's table: a partition may come or go with its events. Superuser.
pub fn forget_for_ddl() -> Result<()> {
    exclusively(true);
    forget_all()
}

fn forget_all() -> Result<()> {
    let _upkeep = Upkeep::new();
    for table in TABLES {
        query::run(&format!("DELETE FROM audit.{table}"), &[])?;
    }
    Ok(())
}
