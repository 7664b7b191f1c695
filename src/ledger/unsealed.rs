//! `audit.unsealed()`: what is committed and stands in no tree yet.

use super::checkpoint::{Checkpoints, Epoch};
use super::events::{Events, HIGHEST_ID};
use super::leaf::at;
use crate::error::{Result, or_raise};
use crate::pg::snapshot::Snapshot;
use pgrx::prelude::*;

/// `audit.unsealed()`.
#[pg_extern(sql = false)]
fn unsealed() -> TableIterator<
    'static,
    (
        name!(events, i64),
        name!(oldest, Option<TimestampWithTimeZone>),
    ),
> {
    let (count, oldest) = or_raise(count_unsealed());
    let oldest = oldest.and_then(|oldest| TimestampWithTimeZone::try_from(oldest).ok());
    TableIterator::once((count, oldest))
}

/// How many committed events stand in no tree, and when the first of them was captured (microseconds since 2000-01-01).
fn count_unsealed() -> Result<(i64, Option<i64>)> {
    let events = Events::open()?;
    let snapshot = Snapshot::committed();
    let checkpoints = Checkpoints::open()?;
    let last = checkpoints.last(&snapshot, None);
    let since = last.as_ref().map(|last| &last.horizon);
    let from = last.as_ref().map_or(i64::MIN, |last| {
        checkpoints
            .floor(&snapshot, last.epoch, &last.horizon, snapshot.ended())
            .0
    });
    let epoch = match &last {
        Some(last) => Epoch::find(&snapshot, last.epoch)?,
        None => None,
    };
    let first_leaf = Some(epoch.and_then(|epoch| epoch.event_id).unwrap_or(i64::MIN));
    let (mut count, mut oldest) = (0, None);
    events.each(&snapshot, from.saturating_add(1), HIGHEST_ID, |row| {
        let xact_id = row.int8(at::XACT_ID).unwrap_or_default().cast_unsigned();
        let is_first_leaf = row.int8(at::EVENT_ID) == first_leaf;
        if !is_first_leaf && since.is_none_or(|since| !since.ended.has_ended(xact_id)) {
            count += 1;
            oldest = oldest.into_iter().chain(row.int8(at::CAPTURED_AT)).min();
        }
        Ok(())
    })?;
    Ok((count, oldest))
}
