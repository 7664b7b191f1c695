//! What is to be verified, cut into parts.
//!
//! The work is cut by event ids, not by leaves: a part is the rows of a range of ids and the leaves of the same ids. So each row
//! and each leaf belongs to exactly one part, whatever order they stand in, and parts can be verified side by side.

use super::declared::Covers;
use super::expected::Expected;
use super::extent::Extent;
use super::report::Finding;
use super::rows::{self, Piece};
use crate::error::{AttestError, Result, SqlState};
use crate::ledger::checkpoint::{Checkpoint, Epoch};
use crate::ledger::events::Events;
use crate::ledger::tree::Tree;
use crate::pg::snapshot::Snapshot;
use attest_log::tile::WIDTH;
use serde::{Deserialize, Serialize};

/// Tiles of 256 leaves per part: 16,384 leaves, about 30 ms of work.
const TILES_PER_PART: usize = 64;

/// What is to be verified.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    pub parts: Vec<Part>,
    /// Blocks of the partitions, whose rows are counted: in a whole verification alone.
    pub pieces: Vec<Piece>,
    pub expected: Expected,
    /// What may be gone.
    pub covers: Covers,
    /// Epochs, and the first leaf behind their full tiles.
    pub(super) edges: Vec<(i32, u64)>,
    /// Leaves of the last epoch before this one are not hashed.
    pub since: Option<(i32, u64)>,
    /// Of the tallies.
    pub(super) key: u64,
}

/// A range of event ids, both ends included, and the tiles that may hold leaves of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Part {
    pub from: i64,
    pub to: i64,
    pub(super) tiles: Vec<(i32, u64)>,
}

/// What of a log is to be verified.
#[derive(Clone, Copy, Default)]
pub struct Scope {
    pub from_event: Option<i64>,
    pub to_event: Option<i64>,
    /// Leaves from this tree size of the last epoch on.
    pub since: Option<u64>,
    /// About so many of the parts, from 0 to 1.
    pub sample: Option<f64>,
}

impl Scope {
    /// Refuses what would verify nothing and find nothing.
    pub fn check(&self) -> Result<()> {
        if self
            .sample
            .is_some_and(|sample| !(0.0..=1.0).contains(&sample))
        {
            return Err(AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                "a sample is between 0 and 1",
            )
            .hint("sample => 0.01 verifies about one in a hundred of the parts, of 16,384 events each, that the log is cut into."));
        }
        if let (Some(from), Some(to)) = (self.from_event, self.to_event)
            && from > to
        {
            return Err(AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                "the range of events ends before it begins",
            )
            .detail(format!("It is from {from} to {to}."))
            .hint("Both ends are included: give from_event no higher than to_event."));
        }
        Ok(())
    }

    /// Refuses a tree size that the log has not reached: leaves that are gone would be none of what is verified.
    pub fn check_since(&self, last: Option<&Checkpoint>) -> Result<()> {
        let size = last.map_or(0, |last| last.tree_size);
        if self.since.is_none_or(|since| since <= size) {
            return Ok(());
        }
        Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "since_size is not a size that the tree has had",
        )
        .detail(format!(
            "It is {}, and the last epoch's tree has {size} leaves.",
            self.since.unwrap_or_default().cast_signed()
        ))
        .hint("A log that had more leaves was rolled back, or has begun a new epoch: SELECT * FROM audit.verify(); verifies all of it."))
    }

    fn is_whole(&self) -> bool {
        (self.from_event, self.to_event, self.since).eq(&(None, None, None))
            && self.sample.is_none()
    }
}

impl Job {
    /// Cuts the log into parts.
    pub fn new(
        snapshot: &Snapshot,
        events: &Events,
        epochs: &[Epoch],
        last: Option<&Checkpoint>,
        scope: Scope,
    ) -> Result<Self> {
        let mut tiles = Vec::new();
        let extents = Extent::of_all(snapshot, epochs)?;
        for extent in &extents {
            Tree::open(extent.epoch, snapshot)?.each_bounds(|index, lowest, highest| {
                if index < extent.full_tiles {
                    tiles.push((lowest, highest, extent.epoch, index));
                }
            });
        }
        tiles.sort_unstable();
        let mut starts: Vec<i64> = tiles
            .iter()
            .step_by(TILES_PER_PART)
            .skip(1)
            .map(|tile| tile.0)
            .collect();
        starts.dedup();
        let lowest = scope.from_event.unwrap_or(i64::MIN);
        let highest = scope.to_event.unwrap_or(i64::MAX);
        starts.retain(|start| (lowest..=highest).contains(start) && *start > lowest);
        let since = scope
            .since
            .zip(epochs.last())
            .map(|(size, epoch)| (epoch.epoch, size));
        let mut parts = Vec::new();
        let mut from = lowest;
        for to in starts.iter().map(|start| start - 1).chain([highest]) {
            parts.push(Part {
                from,
                to,
                tiles: Vec::new(),
            });
            from = to.saturating_add(1);
        }
        for (lowest, highest, epoch, index) in tiles {
            let first = parts.partition_point(|part| part.to < lowest);
            for part in parts[first..]
                .iter_mut()
                .take_while(|part| part.from <= highest)
            {
                part.tiles.push((epoch, index));
            }
        }
        if let Some((epoch, size)) = since {
            let first = size / u64::from(WIDTH);
            let last = parts.len().saturating_sub(1);
            let mut position = 0;
            // Rows behind the last tile may be of leaves of the edge, or forged.
            parts.retain(|part| {
                position += 1;
                position > last || part.tiles.iter().any(|tile| *tile >= (epoch, first))
            });
        }
        if let Some(sample) = scope.sample {
            // The upper half is random enough, and a number that f64 has.
            parts.retain(|_| f64::from((random() >> 32) as u32) <= sample * f64::from(u32::MAX));
        }
        let whole = scope.is_whole();
        Ok(Self {
            parts,
            pieces: if whole {
                rows::pieces(events.partitions())
            } else {
                Vec::new()
            },
            expected: Expected::of(snapshot, epochs, last)?,
            covers: Covers::default(),
            edges: extents.iter().map(|e| (e.epoch, e.edge())).collect(),
            since,
            key: random(),
        })
    }

    /// Whether a finding about an event belongs to what is verified.
    pub fn has_in_scope(&self, finding: &Finding, scope: Scope) -> bool {
        let ids = scope.from_event.unwrap_or(i64::MIN)..=scope.to_event.unwrap_or(i64::MAX);
        let leaf = finding.epoch.zip(finding.leaf_index);
        let since = self
            .since
            .zip(leaf)
            .is_none_or(|(since, leaf)| leaf >= since);
        since && finding.event_id.is_none_or(|id| ids.contains(&id))
    }
}

/// A random number; a generator that fails gives 0: then a sample is all.
fn random() -> u64 {
    let mut bytes = [0; 8];
    crate::pg::context_source::random_bytes(&mut bytes);
    u64::from_ne_bytes(bytes)
}
