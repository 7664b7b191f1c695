//! How far each epoch's tree goes in its tables, and the rows of these tables that are no part of it.

use super::chain::finding;
use super::report::{Check, Report};
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Checkpoints, Epoch};
use crate::ledger::events::is_event_id;
use crate::ledger::tree::{self, Tree};
use crate::pg::snapshot::Snapshot;
use attest_log::tile::{HEIGHT, WIDTH};

/// How far an epoch's tree goes.
pub struct Extent {
    pub epoch: i32,
    /// Full tiles of level 0: as many as its last checkpoint says, or as follow each other, if those are more.
    pub full_tiles: u64,
}

impl Extent {
    /// Those of all epochs.
    pub fn of_all(snapshot: &Snapshot, epochs: &[Epoch]) -> Result<Vec<Self>> {
        let checkpoints = Checkpoints::open()?;
        let of = |epoch: &Epoch| {
            let last = checkpoints.last(snapshot, Some(epoch.epoch));
            let claimed = last.filter(Checkpoint::is_of_a_tree);
            let claimed = claimed.map_or(0, |last| last.tree_size / u64::from(WIDTH));
            let stored = Tree::open(epoch.epoch, snapshot)?.contiguous();
            Ok(Self {
                epoch: epoch.epoch,
                full_tiles: claimed.max(stored),
            })
        };
        epochs.iter().map(of).collect()
    }

    /// The first leaf behind the full tiles.
    pub fn edge(&self) -> u64 {
        self.full_tiles * u64::from(WIDTH)
    }

    /// Whether a tree that goes so far has this full tile.
    fn has_tile(&self, level: i32, index: i64) -> bool {
        let Ok(level) = u32::try_from(level) else {
            return false;
        };
        let tiles = self.full_tiles.unbounded_shr(HEIGHT.saturating_mul(level));
        u64::try_from(index).is_ok_and(|index| index < tiles)
    }
}

/// Looks for rows of the tree's tables that are no part of a tree: no root speaks for them, and what they say would be believed.
pub fn check_strays(snapshot: &Snapshot, extents: &[Extent], report: &mut Report) -> Result<()> {
    let of = |epoch: i32| extents.iter().find(|extent| extent.epoch == epoch);
    tree::each_tile_key(snapshot, |epoch, level, index| {
        if !of(epoch).is_some_and(|extent| extent.has_tile(level, index)) {
            let detail =
                format!("tile {index} of level {level} is no part of the tree: somebody added it");
            report.add(finding(Check::AlteredTile, epoch, None, detail));
        }
    })?;
    // The epoch of the row before, and the leaf that the next one begins with.
    let mut next: (Option<i32>, u64) = (None, 0);
    tree::each_edge_key(snapshot, |epoch, first, hashes, event_ids| {
        let leaf = match next {
            (Some(before), leaf) if before == epoch => leaf,
            _ => of(epoch).map_or(u64::MAX, Extent::edge),
        };
        let mut wrong = |what: &str| {
            let detail = format!("the row of audit.tree_edge at leaf {first} {what}");
            // Before the edge, the tree's own leaves stand in tiles: this row says nothing of them.
            let of_edge = u64::try_from(first).ok().filter(|first| *first >= leaf);
            report.add(finding(Check::AlteredTile, epoch, of_edge, detail));
        };
        if u64::try_from(first) != Ok(leaf) {
            wrong(
                "does not continue the tree: it, or one before it, was changed, added or removed",
            );
        } else if hashes != event_ids.len() {
            wrong("has not an event id for each hash");
        } else if !event_ids.iter().all(|id| is_event_id(*id)) {
            wrong("names an id that no event gets");
        }
        let fits = u64::try_from(first) == Ok(leaf);
        next = (Some(epoch), if fits { leaf + hashes as u64 } else { leaf });
    })
}
