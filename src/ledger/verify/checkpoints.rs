//! Checkpoints against each other, from epoch to epoch, and against the state of the database.

use super::chain::finding;
use super::report::{Check, Report};
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Epoch};
use crate::ledger::events::Events;
use crate::ledger::incarnation::Incarnation;
use crate::ledger::leaf::at;
use crate::ledger::seal;
use crate::ledger::tree::Tree;
use crate::pg::catalog;
use crate::pg::snapshot::{Snapshot, next_xid};
use attest_log::Hash;
use attest_log::epoch::EpochEnd;
use std::collections::HashMap;

/// After a crash, the ids of transactions that left no trace are given out again: the next id can be behind what a seal saw.
const LOST_XIDS: u64 = 1 << 20;

/// A checkpoint against its predecessor: `previous` is the chain before it, `before` are those of its epoch.
pub fn check_links(
    checkpoint: &Checkpoint,
    epoch: Option<&Epoch>,
    previous: &Hash,
    before: Option<&Checkpoint>,
    report: &mut Report,
) {
    report.checkpoints += 1;
    let mut wrong = |detail: &str| broken(checkpoint, detail, report);
    if !checkpoint.is_of_a_tree() {
        wrong("no tree has this size");
    }
    let Some(epoch) = epoch else {
        wrong("its epoch is missing from audit.epochs");
        return;
    };
    match checkpoint.chain_after(previous, &epoch.origin) {
        Ok(chain) if chain == checkpoint.chain => {}
        _ => wrong(
            "its chain does not follow from the checkpoint before, its time, its horizon and its root: one of them was changed or removed",
        ),
    }
    if let Some(before) = before
        && (before.tree_size >= checkpoint.tree_size
            || before.sealed_at > checkpoint.sealed_at
            || before.horizon.next_xid > checkpoint.horizon.next_xid
            || before.horizon.last_event_id > checkpoint.horizon.last_event_id)
    {
        wrong("its size, time, transaction id or event id is before that of the checkpoint before");
    }
}

fn broken(checkpoint: &Checkpoint, detail: &str, report: &mut Report) {
    let size = checkpoint.tree_size;
    let leaf = checkpoint.is_of_a_tree().then(|| size - 1);
    let detail = format!("checkpoint of tree size {}: {detail}", size.cast_signed());
    let check = Check::BrokenCheckpoint;
    report.add(finding(check, checkpoint.epoch, leaf, detail));
}

/// Epochs against each other.
pub fn check_epochs(
    epochs: &[Epoch],
    checkpoints: &HashMap<i32, Vec<Checkpoint>>,
    report: &mut Report,
) {
    for (position, epoch) in epochs.iter().enumerate() {
        if !checkpoints.contains_key(&epoch.epoch) {
            let detail = format!("epoch {} has no checkpoint left", epoch.epoch);
            let check = Check::BrokenCheckpoint;
            report.add(finding(check, epoch.epoch, Some(0), detail));
        }
        if epochs[..position]
            .iter()
            .any(|other| other.origin == epoch.origin)
        {
            let detail = format!("two epochs have the origin {}", epoch.origin);
            report.add(finding(Check::TwoTrees, epoch.epoch, None, detail));
        }
    }
}

/// Whether transaction ids and event ids are still those that the last epoch's seals saw; a standby's are its primary's.
pub fn goes_on(current: Option<&Incarnation>, epoch: &Epoch) -> bool {
    match (current, &epoch.incarnation) {
        (Some(current), Some(known)) => current.continues(known),
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// The newest checkpoint, which is the sealer's state, against the database: what it puts behind it will never be sealed.
pub fn check_horizon(
    snapshot: &Snapshot,
    last: &Checkpoint,
    epoch: &Epoch,
    report: &mut Report,
) -> Result<()> {
    if !goes_on(Incarnation::current(snapshot)?.as_ref(), epoch) {
        return Ok(());
    }
    let (seen, now) = (last.horizon.last_event_id, seal::last_event_id());
    if seen > now {
        let detail = format!(
            "it says that event ids up to {seen} had been handed out, but the sequence stands at {now}: one of them was moved, and events between would never be sealed"
        );
        broken(last, &detail, report);
    }
    let (seen, now) = (
        last.horizon.next_xid.max(last.horizon.ended.xmax),
        next_xid(),
    );
    if seen > now.saturating_add(LOST_XIDS) {
        let detail = format!(
            "it says that transaction ids up to {seen} had been given, but the next one is {now}: events of those between would never be sealed"
        );
        broken(last, &detail, report);
    }
    Ok(())
}

/// An epoch's first leaf is an event that names the end of the epoch before.
pub fn check_binding(
    snapshot: &Snapshot,
    events: &Events,
    before: (&Epoch, &Checkpoint),
    epoch: &Epoch,
    report: &mut Report,
) -> Result<()> {
    let (number, end) = before;
    let mut wrong = |detail: String| {
        let check = Check::BrokenCheckpoint;
        report.add(finding(check, epoch.epoch, Some(0), detail));
    };
    let tree = Tree::open(epoch.epoch, snapshot)?;
    let first = match tree.full_tile(0, 0)? {
        Some(tile) => tile.event_ids.first().copied(),
        None => tree.edge(0).event_ids.first().copied(),
    };
    if epoch.event_id.is_none() || first != epoch.event_id {
        wrong("its first leaf is not the event that audit.epochs names".to_owned());
        return Ok(());
    }
    let end = EpochEnd {
        epoch: number.epoch.cast_unsigned(),
        checkpoint: end.text(&number.origin)?,
        chain: end.chain,
    };
    let named = events.find(snapshot, first.unwrap_or_default(), |row| {
        let operation = row.oid(at::OPERATION).and_then(catalog::enum_label);
        let mut context = Vec::new();
        row.json_text(at::CONTEXT, &mut context);
        let operation = operation.unwrap_or_default();
        end.is_named_by(operation.as_bytes(), row.bytes(at::ACTION), &context)
    });
    match named {
        Some(true) => {}
        Some(false) => wrong(format!(
            "its first event does not name the last checkpoint of epoch {}, which has {} leaves",
            end.epoch,
            end.checkpoint.size()
        )),
        None => wrong("its first event, which binds it to the epoch before, is missing".to_owned()),
    }
    Ok(())
}
