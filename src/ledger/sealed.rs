//! Which events are sealed, and where: from event ids to leaves.

use super::checkpoint::Epoch;
use super::tree::{self, Tree};
use crate::error::Result;
use crate::pg::snapshot::Snapshot;
use crate::pg::xact;
use attest_log::Hash;
use attest_log::tile::WIDTH;
use std::collections::{HashMap, HashSet};

/// A leaf of some epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    pub epoch: i32,
    pub index: u64,
    pub hash: Hash,
}

/// Where the event of this id stands: nowhere when it is not sealed, and never twice unless the log was tampered with. Superuser.
pub fn find(snapshot: &Snapshot, event_id: i64) -> Result<Vec<Leaf>> {
    let mut leaves = Leaves::of_range(snapshot, event_id, event_id)?;
    Ok(leaves.0.remove(&event_id).unwrap_or_default())
}

/// The leaves of a range of event ids.
pub struct Leaves(HashMap<i64, Vec<Leaf>>);

impl Leaves {
    /// Those of the ids from `from` to `to`, both included.
    pub fn of_range(snapshot: &Snapshot, from: i64, to: i64) -> Result<Self> {
        let mut found: HashMap<i64, Vec<Leaf>> = HashMap::new();
        let mut add = |epoch, first: u64, hashes: &[Hash], ids: &[i64]| {
            for ((id, hash), index) in ids.iter().zip(hashes).zip(first..) {
                if (from..=to).contains(id) {
                    let leaf = Leaf {
                        epoch,
                        index,
                        hash: *hash,
                    };
                    found.entry(*id).or_default().push(leaf);
                }
            }
        };
        for (epoch, index) in tree::tiles_of(from, to)? {
            let tree = Tree::open(epoch, snapshot)?;
            if let Some(tile) = tree.full_tile(0, index)? {
                add(
                    epoch,
                    index * u64::from(WIDTH),
                    &tile.hashes,
                    &tile.event_ids,
                );
            }
        }
        for epoch in Epoch::all(snapshot)? {
            let tree = Tree::open(epoch.epoch, snapshot)?;
            tree.each_edge_row(|row| add(epoch.epoch, row.first, &row.hashes, &row.event_ids));
        }
        Ok(Self(found))
    }

    pub fn contains(&self, event_id: i64) -> bool {
        self.0.contains_key(&event_id)
    }
}

/// A gap between ids from which on their tiles are looked for apart.
const GAP: i64 = 1 << 14;

/// The leaves of these events, whose ids ascend; of an event that has none, or more than one, nothing. Reads the tiles of these
/// events alone. Superuser.
pub fn find_all(snapshot: &Snapshot, ids: &[i64]) -> Result<HashMap<i64, Leaf>> {
    let mut found: HashMap<i64, Option<Leaf>> = HashMap::with_capacity(ids.len());
    let mut add = |epoch, first: u64, hashes: &[Hash], event_ids: &[i64]| {
        for ((id, hash), index) in event_ids.iter().zip(hashes).zip(first..) {
            if ids.binary_search(id).is_ok() {
                let leaf = Leaf {
                    epoch,
                    index,
                    hash: *hash,
                };
                let twice = found.insert(*id, Some(leaf)).is_some();
                if twice {
                    found.insert(*id, None);
                }
            }
        }
    };
    let mut seen = HashSet::new();
    for near in ids.chunk_by(|id, next| next.saturating_sub(*id) < GAP) {
        let (Some(from), Some(to)) = (near.first(), near.last()) else {
            continue;
        };
        for (epoch, index) in tree::tiles_of(*from, *to)? {
            pgrx::check_for_interrupts!();
            xact::give_way();
            if !seen.insert((epoch, index)) {
                continue;
            }
            if let Some(tile) = Tree::open(epoch, snapshot)?.full_tile(0, index)? {
                add(
                    epoch,
                    index * u64::from(WIDTH),
                    &tile.hashes,
                    &tile.event_ids,
                );
            }
        }
    }
    for epoch in Epoch::all(snapshot)? {
        let tree = Tree::open(epoch.epoch, snapshot)?;
        tree.each_edge_row(|row| add(epoch.epoch, row.first, &row.hashes, &row.event_ids));
    }
    let found = found.into_iter();
    Ok(found
        .filter_map(|(id, leaf)| leaf.map(|leaf| (id, leaf)))
        .collect())
}

/// Calls `f` with the event ids and hashes of an epoch's leaves from `first` to `last` in order, as far as there are any.
pub fn each_leaf(
    snapshot: &Snapshot,
    epoch: i32,
    first: u64,
    last: u64,
    mut f: impl FnMut(i64, Hash) -> Result<()>,
) -> Result<()> {
    let width = u64::from(WIDTH);
    let tree = Tree::open(epoch, snapshot)?;
    let mut next = first;
    let mut add = |from: u64, ids: Vec<i64>, hashes: Vec<Hash>| -> Result<()> {
        for ((id, hash), index) in ids.into_iter().zip(hashes).zip(from..) {
            if index == next && index <= last {
                f(id, hash)?;
                next += 1;
            }
        }
        Ok(())
    };
    tree.each_tile(0, first / width, |tile| {
        pgrx::check_for_interrupts!();
        add(tile.index * width, tile.event_ids, tile.hashes)?;
        Ok((tile.index + 1) * width <= last)
    })?;
    let mut added = Ok(());
    tree.each_edge_row(|row| {
        if added.is_ok() {
            added = add(row.first, row.event_ids, row.hashes);
        }
    });
    added
}
