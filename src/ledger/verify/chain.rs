//! Leaves, tiles, roots, the chain of checkpoints and their signatures, each computed anew from the leaves up. No event is read.

use super::report::{Check, Finding, Report};
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Checkpoints, Epoch};
use crate::ledger::proof::At;
use crate::ledger::sealed;
use crate::ledger::signing::{self, Signatures};
use crate::ledger::tree::{StoredTile, Tree};
use crate::pg::snapshot::Snapshot;
use attest_log::Hash;
use attest_log::note::VerifierKey;
use attest_log::tile::{HEIGHT, WIDTH};
use attest_log::tree::Frontier;
use std::collections::HashMap;

const WIDTH_U64: u64 = WIDTH as u64;

/// Verifies all epochs.
pub fn verify(snapshot: &Snapshot, report: &mut Report) -> Result<()> {
    let epochs = Epoch::all(snapshot)?;
    let mut of_epoch: HashMap<i32, Vec<Checkpoint>> = HashMap::new();
    let mut previous = [0; 32];
    Checkpoints::open()?.each(snapshot, |checkpoint| {
        let epoch = epochs.iter().find(|epoch| epoch.epoch == checkpoint.epoch);
        check_links(
            &checkpoint,
            epoch,
            &previous,
            of_epoch.get(&checkpoint.epoch),
            report,
        );
        previous = checkpoint.chain;
        of_epoch
            .entry(checkpoint.epoch)
            .or_default()
            .push(checkpoint);
        Ok(())
    })?;
    check_epochs(&epochs, &of_epoch, report);
    let trusted = signing::trusted_keys()?;
    for epoch in &epochs {
        let checkpoints = of_epoch.remove(&epoch.epoch).unwrap_or_default();
        let tree = Tree::open(epoch.epoch, snapshot)?;
        EpochWalk::new(epoch, &checkpoints, &tree, report).run()?;
        check_signatures(snapshot, epoch, &checkpoints, &trusted, report)?;
    }
    Ok(())
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

fn finding(check: Check, epoch: i32, leaf_index: Option<u64>, detail: String) -> Finding {
    Finding {
        check,
        epoch: Some(epoch),
        event_id: None,
        leaf_index,
        detail,
    }
}

/// A checkpoint against its predecessor.
fn check_links(
    checkpoint: &Checkpoint,
    epoch: Option<&Epoch>,
    previous: &Hash,
    before: Option<&Vec<Checkpoint>>,
    report: &mut Report,
) {
    report.checkpoints += 1;
    let mut wrong = |detail: String| {
        let size = checkpoint.tree_size;
        report.add(finding(
            Check::BrokenCheckpoint,
            checkpoint.epoch,
            Some(size.saturating_sub(1)),
            format!("checkpoint of tree size {size}: {detail}"),
        ));
    };
    let Some(epoch) = epoch else {
        wrong("its epoch is missing from audit.epochs".to_owned());
        return;
    };
    match checkpoint.chain_after(previous, &epoch.origin) {
        Ok(chain) if chain == checkpoint.chain => {}
        _ => wrong("its chain does not follow from the checkpoint before, its time and its root: one of them was changed or removed".to_owned()),
    }
    if let Some(before) = before.and_then(|before| before.last())
        && (before.sealed_at > checkpoint.sealed_at
            || before.horizon.next_xid > checkpoint.horizon.next_xid
            || before.horizon.last_event_id > checkpoint.horizon.last_event_id)
    {
        wrong(
            "its time, transaction id or event id is before that of the checkpoint before"
                .to_owned(),
        );
    }
}

fn check_epochs(
    epochs: &[Epoch],
    checkpoints: &HashMap<i32, Vec<Checkpoint>>,
    report: &mut Report,
) {
    for (position, epoch) in epochs.iter().enumerate() {
        if !checkpoints.contains_key(&epoch.epoch) {
            let detail = format!("epoch {} has no checkpoint left", epoch.epoch);
            report.add(finding(
                Check::BrokenCheckpoint,
                epoch.epoch,
                Some(0),
                detail,
            ));
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

    fn run(mut self) -> Result<()> {
        let tree = self.tree;
        let mut hole = false;
        tree.each_tile(0, 0, |tile| {
            if tile.index != self.size() / WIDTH_U64 {
                self.lost_leaves(tile.index * WIDTH_U64);
                hole = true;
                return Ok(false);
            }
            self.report.tiles += 1;
            self.check_shape(&tile);
            for hash in &tile.hashes {
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
            for hash in tree.edge(self.size()).hashes {
                self.push(hash)?;
            }
        }
        self.check_end();
        self.report.leaves += self.size();
        Ok(())
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

fn check_signatures(
    snapshot: &Snapshot,
    epoch: &Epoch,
    checkpoints: &[Checkpoint],
    trusted: &[VerifierKey],
    report: &mut Report,
) -> Result<()> {
    Signatures::open()?.each(snapshot, epoch.epoch, |tree_size, line| {
        report.signatures += 1;
        let position =
            checkpoints.binary_search_by_key(&tree_size, |checkpoint| checkpoint.tree_size);
        let wrong = match position {
            Err(_) => Some("there is no checkpoint of this size".to_owned()),
            Ok(position) => {
                signing::check(&checkpoints[position], &epoch.origin, line, trusted).err()
            }
        };
        if let Some(wrong) = wrong {
            let detail = format!("signature of the checkpoint of tree size {tree_size}: {wrong}");
            let leaf = Some(tree_size.saturating_sub(1));
            report.add(finding(Check::BadSignature, epoch.epoch, leaf, detail));
        }
    });
    Ok(())
}
