//! Leaves, tiles, roots, the chain of checkpoints and their signatures, each computed anew from the leaves up. Of events, those alone
//! are read that bind an epoch to the one before.

use super::checkpoints::{check_binding, check_epochs, check_horizon, check_links};
use super::extent::{Extent, check_strays};
use super::report::{Check, Finding, Report};
use super::signatures;
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Checkpoints, Epoch};
use crate::ledger::events::{Events, is_event_id};
use crate::ledger::proof::At;
use crate::ledger::sealed;
use crate::ledger::tree::{StoredTile, Tree};
use crate::pg::snapshot::Snapshot;
use attest_log::Hash;
use attest_log::tile::{HEIGHT, Tile, WIDTH};
use attest_log::tree::Frontier;
use std::collections::HashMap;

const WIDTH_U64: u64 = WIDTH as u64;

/// Verifies all epochs; of leaves, those of `since` on: of an epoch from a tree size on, which was verified before, and of later ones.
pub fn verify(
    snapshot: &Snapshot,
    events: &Events,
    epochs: &[Epoch],
    since: Option<(i32, u64)>,
    report: &mut Report,
) -> Result<()> {
    let mut of_epoch: HashMap<i32, Vec<Checkpoint>> = HashMap::new();
    let mut previous = [0; 32];
    Checkpoints::open()?.each(snapshot, |checkpoint| {
        let epoch = epochs.iter().find(|epoch| epoch.epoch == checkpoint.epoch);
        let of_same = of_epoch.entry(checkpoint.epoch).or_default();
        check_links(&checkpoint, epoch, &previous, of_same.last(), report);
        previous = checkpoint.chain;
        if checkpoint.is_of_a_tree() {
            of_same.push(checkpoint);
        }
        Ok(())
    })?;
    check_epochs(epochs, &of_epoch, report);
    let last = |epoch: &Epoch| of_epoch.get(&epoch.epoch).and_then(|known| known.last());
    if let Some(epoch) = epochs.last()
        && let Some(last) = last(epoch)
    {
        check_horizon(snapshot, last, epoch, report)?;
    }
    for pair in epochs.windows(2) {
        if let [before, epoch] = pair
            && let Some(end) = last(before)
        {
            check_binding(snapshot, events, (before, end), epoch, report)?;
        }
    }
    check_strays(snapshot, &Extent::of_all(snapshot, epochs)?, report)?;
    let of_epoch: Vec<_> = epochs
        .iter()
        .map(|epoch| (epoch, of_epoch.remove(&epoch.epoch).unwrap_or_default()))
        .collect();
    for (epoch, checkpoints) in &of_epoch {
        let from = match since {
            Some((first, _)) if epoch.epoch < first => continue,
            Some((first, size)) if epoch.epoch == first => size,
            _ => 0,
        };
        let tree = Tree::open(epoch.epoch, snapshot)?;
        EpochWalk::new(epoch, checkpoints, &tree, report).run(from)?;
    }
    let of_epoch: Vec<_> = of_epoch
        .iter()
        .map(|(epoch, checkpoints)| (*epoch, checkpoints.as_slice()))
        .collect();
    signatures::check(snapshot, &of_epoch, report)
}

/// Verifies the way from one leaf to the last checkpoint of its epoch.
pub fn verify_leaf(
    snapshot: &Snapshot,
    event_id: i64,
    leaf: &sealed::Leaf,
    report: &mut Report,
) -> Result<()> {
    let Some(at) = At::find(snapshot, None, Some(leaf.epoch))? else {
        let detail = "its epoch has no checkpoint".to_owned();
        report.add(finding(
            Check::BrokenCheckpoint,
            leaf.epoch,
            Some(leaf.index),
            detail,
        ));
        return Ok(());
    };
    report.leaves += 1;
    report.checkpoints += 1;
    let Checkpoint {
        tree_size, root, ..
    } = at.checkpoint;
    let mut tree = Tree::open(leaf.epoch, snapshot)?;
    let proof = attest_log::tree::inclusion_proof(&mut tree, leaf.index, tree_size)?;
    if attest_log::tree::verify_inclusion(&leaf.hash, leaf.index, tree_size, &proof, &root).is_err()
    {
        report.add(Finding {
            event_id: Some(event_id),
            ..finding(
                Check::AlteredTile,
                leaf.epoch,
                Some(leaf.index),
                format!(
                    "the leaf does not lead to the root of the checkpoint of tree size {tree_size}"
                ),
            )
        });
    }
    Ok(())
}

/// Something that is wrong, not with one event.
pub fn finding(check: Check, epoch: i32, leaf_index: Option<u64>, detail: String) -> Finding {
    Finding {
        check,
        epoch: Some(epoch),
        event_id: None,
        leaf_index,
        detail,
    }
}

/// The way through one epoch's leaves.
struct EpochWalk<'a> {
    epoch: i32,
    checkpoints: &'a [Checkpoint],
    tree: &'a Tree<'a>,
    report: &'a mut Report,
    frontier: Frontier,
    /// By level, the computed hashes of the tile that is not yet full.
    levels: Vec<Vec<Hash>>,
    /// The next checkpoint to be compared.
    next: usize,
}

impl<'a> EpochWalk<'a> {
    fn new(
        epoch: &Epoch,
        checkpoints: &'a [Checkpoint],
        tree: &'a Tree<'a>,
        report: &'a mut Report,
    ) -> Self {
        Self {
            epoch: epoch.epoch,
            checkpoints,
            tree,
            report,
            frontier: Frontier::new(),
            levels: Vec::new(),
            next: 0,
        }
    }

    fn run(mut self, since: u64) -> Result<()> {
        self.resume(since)?;
        let start = self.size();
        let tree = self.tree;
        let mut hole = false;
        tree.each_tile(0, start / WIDTH_U64, |tile| {
            if tile.index != self.size() / WIDTH_U64 {
                self.lost_leaves(tile.index * WIDTH_U64);
                hole = true;
                return Ok(false);
            }
            self.report.tiles += 1;
            self.check_shape(&tile);
            let known = self.known();
            for hash in tile.hashes.iter().skip(known) {
                self.push(*hash)?;
            }
            if tile.hashes.len() != usize::from(WIDTH) {
                hole = true;
                return Ok(false);
            }
            self.check_root(0, &tile);
            Ok(true)
        })?;
        if !hole {
            let known = self.known();
            let edge = tree.edge(self.size() - known as u64);
            for hash in edge.hashes.into_iter().skip(known) {
                self.push(hash)?;
            }
        }
        self.check_end();
        self.report.leaves += self.size() - start;
        Ok(())
    }

    /// Begins with the tree of the last checkpoint up to this size, as the stored tiles have it: its root has to be the checkpoint's.
    fn resume(&mut self, since: u64) -> Result<()> {
        let before = |known: &&Checkpoint| known.tree_size <= since;
        let sizes = self.checkpoints.iter().take_while(before);
        let size = sizes.last().map_or(0, |last| last.tree_size);
        let mut levels = Vec::new();
        for level in 0u8..8 {
            let hashes = size.unbounded_shr(HEIGHT * u32::from(level));
            if hashes == 0 {
                break;
            }
            // below 256
            let width = u16::try_from(hashes % WIDTH_U64).unwrap_or_default();
            let mut found = Vec::new();
            if width > 0 {
                let index = hashes / WIDTH_U64;
                found = self.tree.tile(Tile {
                    level,
                    index,
                    width,
                })?;
                found.truncate(usize::from(width));
            }
            levels.push(found);
        }
        // Where hashes are gone, from the first leaf on: then it is seen which.
        if let Ok(frontier) = Frontier::from_edge(size, &levels) {
            self.frontier = frontier;
            self.levels = levels;
            let behind = |known: &Checkpoint| known.tree_size < size;
            self.next = self.checkpoints.partition_point(behind);
            self.check_checkpoints();
        }
        Ok(())
    }

    /// How many leaves of the tile that is not yet full are in the tree already.
    fn known(&self) -> usize {
        usize::try_from(self.size() % WIDTH_U64).unwrap_or_default()
    }

    fn size(&self) -> u64 {
        self.frontier.size()
    }

    fn push(&mut self, leaf: Hash) -> Result<()> {
        let mut full: Vec<(u8, u64, Hash)> = Vec::new();
        let levels = &mut self.levels;
        self.frontier.push_with(leaf, |height, index, hash| {
            if height.is_multiple_of(HEIGHT) {
                let level = (height / HEIGHT) as usize;
                if level == levels.len() {
                    levels.push(Vec::new());
                }
                levels[level].push(*hash);
                if level > 0 {
                    full.push((u8::try_from(level - 1).unwrap_or_default(), index, *hash));
                }
            }
        });
        for (level, index, root) in full {
            let hashes = std::mem::take(&mut self.levels[usize::from(level)]);
            if level > 0 {
                self.check_upper(level, index, &hashes, &root)?;
            } else {
                self.levels[0] = Vec::with_capacity(usize::from(WIDTH));
            }
        }
        self.check_checkpoints();
        Ok(())
    }

    /// The checkpoints of the size that the tree has now.
    fn check_checkpoints(&mut self) {
        while let Some(checkpoint) = self.checkpoints.get(self.next)
            && checkpoint.tree_size <= self.size()
        {
            self.next += 1;
            let size = checkpoint.tree_size;
            if size == self.size() && checkpoint.root != self.frontier.root() {
                let detail = format!(
                    "checkpoint of tree size {size}: its root is not that of its leaves: the checkpoint or a leaf before was changed"
                );
                let last = Some(size.saturating_sub(1));
                self.report
                    .add(finding(Check::BrokenCheckpoint, self.epoch, last, detail));
            }
        }
    }

    fn altered(&mut self, level: u8, index: u64, what: &str) {
        let first = index.saturating_mul(WIDTH_U64.saturating_pow(u32::from(level) + 1));
        let detail = format!("tile {index} of level {level}: {what}");
        self.report
            .add(finding(Check::AlteredTile, self.epoch, Some(first), detail));
    }

    fn check_shape(&mut self, tile: &StoredTile) {
        if tile.hashes.len() != usize::from(WIDTH) || tile.event_ids.len() != tile.hashes.len() {
            self.altered(0, tile.index, "it has not 256 hashes and 256 event ids");
        }
        if !tile.event_ids.iter().all(|id| is_event_id(*id)) {
            self.altered(0, tile.index, "it names an id that no event gets");
        }
        let (lowest, highest) = (tile.event_ids.iter().min(), tile.event_ids.iter().max());
        if tile.bounds != lowest.copied().zip(highest.copied()) {
            self.altered(
                0,
                tile.index,
                "its lowest and highest event id are not those of its leaves",
            );
        }
    }

    /// The root that is stored with a tile; the computed one was pushed to the level above.
    fn check_root(&mut self, level: u8, tile: &StoredTile) {
        let computed = attest_log::tree::root_of(&tile.hashes);
        if computed != tile.root {
            self.altered(
                level,
                tile.index,
                "its hashes do not lead to its root: one of its leaves was changed",
            );
        }
    }

    fn check_upper(&mut self, level: u8, index: u64, hashes: &[Hash], root: &Hash) -> Result<()> {
        self.report.tiles += 1;
        match self.tree.full_tile(level, index)? {
            None => self.altered(level, index, "it is missing"),
            Some(tile) if tile.hashes != hashes || tile.root != *root => {
                self.altered(
                    level,
                    index,
                    "its hashes are not the roots of the tiles below it",
                );
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn lost_leaves(&mut self, before: u64) {
        let first = self.size();
        let detail = format!(
            "leaves {first} to {} have no tile",
            before.saturating_sub(1)
        );
        self.report
            .add(finding(Check::AlteredTile, self.epoch, Some(first), detail));
    }

    /// What the last checkpoint says of the tree's size.
    fn check_end(&mut self) {
        let claimed = self.checkpoints.last().map_or(0, |last| last.tree_size);
        let size = self.size();
        if size < claimed {
            let detail = format!("of {claimed} leaves {size} are left: the tree's end was removed");
            self.report
                .add(finding(Check::AlteredTile, self.epoch, Some(size), detail));
        }
        if size > claimed {
            let detail = format!(
                "the tree has {size} leaves, the last checkpoint {claimed}: checkpoints after it were removed"
            );
            self.report.add(finding(
                Check::BrokenCheckpoint,
                self.epoch,
                Some(claimed),
                detail,
            ));
        }
    }
}
