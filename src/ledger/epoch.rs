//! Epochs: a restored, copied or upgraded database goes on with a tree of its own, bound to the old one by its first leaf.

use super::checkpoint::{Checkpoint, Checkpoints, Epoch};
use super::incarnation::Incarnation;
use crate::act::Act;
use crate::capture::event::EventKind;
use crate::error::{Result, or_raise};
use crate::pg::object_lock::{self, Agreement, Until};
use crate::pg::relation::lock;
use crate::pg::snapshot::Snapshot;
use crate::pg::xact;
use crate::summaries;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};

/// A session that writes the log's rows by SQL, as `pg_restore` does, keeps sealing off until it ends: as long as the events are
/// there but the checkpoints are not, a seal would begin a new tree with all of them. What was summarised counts no more.
pub fn hold_off_seals() {
    // Again for every row: what is held already costs a look into a local table.
    if let Some(oid) = object_lock::extension() {
        object_lock::lock(
            oid,
            Agreement::Restore,
            lock::ROW_EXCLUSIVE,
            Until::SessionEnds,
            true,
        );
        or_raise(summaries::forget());
    }
}

/// Whether no session restores the log; none begins to until this transaction ends. It does not wait: with `pg_restore -j`, one
/// session would wait behind the sealer for another one of the same restore.
pub fn no_restore_runs() -> bool {
    object_lock::extension().is_none_or(|oid| {
        object_lock::lock(
            oid,
            Agreement::Restore,
            lock::SHARE,
            Until::TransactionEnds,
            false,
        )
    })
}

/// Up to which id no event can come any more, as far as this snapshot tells: a checkpoint says that transactions from its
/// `next_xid` on have only ids above its `last_event_id`, and all before have ended. The lowest number before this very database's
/// first seal.
pub fn settled(snapshot: &Snapshot) -> Result<i64> {
    let checkpoints = Checkpoints::open()?;
    let (Some(incarnation), Some(last)) = (
        Incarnation::current(snapshot)?,
        checkpoints.last(snapshot, None),
    ) else {
        return Ok(i64::MIN);
    };
    let epoch = Epoch::find(snapshot, last.epoch)?;
    let epoch = epoch.filter(|epoch| epoch.incarnation == Some(incarnation));
    Ok(epoch.map_or(i64::MIN, |epoch| {
        checkpoints.floor_of(snapshot, epoch.epoch, snapshot.ended().xmin)
    }))
}

/// Writes the row of the next epoch and, where one came before, the event that carries its last checkpoint.
pub fn start(
    current: &Incarnation,
    last: Option<&Checkpoint>,
    before: Option<&Epoch>,
) -> Result<Epoch> {
    let number = last.map_or(1, |last| last.epoch + 1);
    let origin = current.origin(number);
    let event_id = match last {
        None => None,
        Some(last) => {
            let said = json!({
                "epoch": number,
                "origin": origin,
                "previous": {
                    "epoch": last.epoch,
                    "origin": before.map(|before| before.origin.as_str()),
                    "tree_size": last.tree_size,
                    "root": BASE64.encode(last.root),
                    "chain": BASE64.encode(last.chain),
                },
            });
            Some(record(&said)?)
        }
    };
    let epoch = Epoch {
        epoch: number,
        origin,
        incarnation: Some(*current),
        started_at: xact::wall_clock(),
        event_id,
    };
    epoch.write(current)?;
    Ok(epoch)
}

fn record(said: &Json) -> Result<i64> {
    Act {
        said: said.as_object().cloned().unwrap_or_default(),
        ..Act::new(EventKind::System, "epoch")
    }
    .record()
}
