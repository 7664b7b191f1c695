//! One epoch of an archive: its checkpoint, the signatures on it, and the tiles that lead there.

use super::manifest::Epoch;
use super::tiles::{self, Runs, TileFile};
use crate::verify::{Check, EpochReport, Finding, Options, Report, Signed};
use anyhow::{Result, ensure};
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use attest_log::note::{Note, VerifierKey};
use attest_log::tile::Tile;
use attest_log::tree::{Frontier, root_of};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::BTreeSet;

/// The tiles of an epoch, each of which was followed up to the checkpoint.
pub struct Tree<'a> {
    pub said: &'a Epoch,
    pub runs: Runs,
    tiles: Option<TileFile>,
    /// Tiles of level 0 whose hashes do not lead to the tile above.
    bad: BTreeSet<u64>,
}

/// Something that is wrong in an epoch.
pub fn finding(check: Check, epoch: u32, leaf_index: Option<u64>, detail: String) -> Finding {
    Finding {
        check,
        epoch,
        event_id: None,
        leaf_index,
        detail,
    }
}

/// Reads an epoch's checkpoint and verifies what is signed. None where it cannot be read.
pub fn checkpoint(
    said: &Epoch,
    note: Option<Vec<u8>>,
    options: &Options,
    report: &mut Report,
) -> Result<Option<Checkpoint>> {
    let broken = |detail: String| finding(Check::BrokenCheckpoint, said.epoch, None, detail);
    let path = &said.checkpoint.path;
    let Some(note) = note else { return Ok(None) };
    let read = || -> Result<(Note, Checkpoint)> {
        let note = Note::parse(std::str::from_utf8(&note)?)?;
        let checkpoint = note.text().parse()?;
        Ok((note, checkpoint))
    };
    let (note, checkpoint) = match read() {
        Ok(read) => read,
        Err(error) => {
            report.add(broken(format!("{path}: {error}")));
            return Ok(None);
        }
    };
    let same = checkpoint.origin() == said.origin
        && checkpoint.size() == said.tree_size
        && BASE64_STANDARD.encode(checkpoint.root()) == said.root;
    if !same {
        report.add(broken(format!(
            "{path}: it is of another tree than the manifest says"
        )));
    }
    for kept in &options.against {
        let kept: Checkpoint = kept.text().parse()?;
        if kept.origin() != checkpoint.origin() {
            continue;
        }
        ensure!(
            kept.size() == checkpoint.size(),
            "an archive has one checkpoint, here of {} leaves: the one of {} leaves cannot be compared with it; attest verify of the database or an export can",
            checkpoint.size(),
            kept.size()
        );
        if kept.root() != checkpoint.root() {
            let detail = format!(
                "the checkpoint of {} leaves that was kept from earlier has another root",
                kept.size()
            );
            report.add(finding(Check::TwoTrees, said.epoch, None, detail));
        }
    }
    let mut epoch = EpochReport {
        epoch: said.epoch,
        origin: checkpoint.origin().to_owned(),
        tree_size: checkpoint.size(),
        checkpoints: 1,
        ..EpochReport::default()
    };
    epoch.set_root(checkpoint.root());
    signatures(&note, &options.keys, &checkpoint, &mut epoch, report);
    report.epochs.push(epoch);
    Ok(Some(checkpoint))
}

/// Verifies the signatures of trusted keys, of which there must be one.
fn signatures(
    note: &Note,
    keys: &[VerifierKey],
    checkpoint: &Checkpoint,
    epoch: &mut EpochReport,
    report: &mut Report,
) {
    let mut bad = |detail: String| {
        report.add(finding(Check::BadSignature, epoch.epoch, None, detail));
    };
    for key in keys {
        let of_key = |line: &&attest_log::note::Signature| {
            line.name() == key.name() && line.key_id() == key.id()
        };
        for line in note.signatures().iter().filter(of_key) {
            let alone = Note::new(note.text()).map(|mut alone| {
                alone.add(line.clone());
                alone
            });
            let verified = alone.and_then(|alone| {
                let verified = alone.verify(std::slice::from_ref(key))?;
                Ok(verified.first().and_then(|verified| verified.time))
            });
            match verified {
                Ok(time) => {
                    epoch.signatures += 1;
                    epoch.signed.push(Signed {
                        key: key.name().to_owned(),
                        tree_size: checkpoint.size(),
                        time,
                    });
                }
                Err(error) => bad(format!("signature of the checkpoint: {error}")),
            }
        }
    }
    if epoch.signed.is_empty() && !keys.is_empty() {
        bad("the checkpoint is not signed by a trusted key".to_owned());
    }
}

impl<'a> Tree<'a> {
    /// Takes the tiles and follows each of them to the checkpoint.
    pub fn open(
        said: &'a Epoch,
        runs: Runs,
        tiles: Option<(std::fs::File, u64)>,
        checkpoint: Option<&Checkpoint>,
        threads: usize,
        report: &mut Report,
    ) -> Result<Self> {
        let mut tree = Self {
            said,
            runs,
            tiles: None,
            bad: BTreeSet::new(),
        };
        let levels = tiles::needed(&tree.runs, said.tree_size);
        if levels != said.levels {
            let detail = "manifest.json: its tiles are not those of its leaves".to_owned();
            report.add(finding(Check::AlteredArchive, said.epoch, None, detail));
        }
        let Some((file, bytes)) = tiles else {
            return Ok(tree);
        };
        match TileFile::open(file, bytes, &levels, said.tree_size) {
            Ok(file) => tree.tiles = Some(file),
            Err(error) => {
                let detail = format!("{}: {error}", said.tiles.path);
                report.add(finding(Check::AlteredTile, said.epoch, None, detail));
            }
        }
        if let Some(file) = &tree.tiles {
            if checkpoint.is_some_and(|said| file.root().ok().as_ref() != Some(said.root())) {
                let detail =
                    "the root of its tree is not that of its tiles: it or they were changed";
                report.add(finding(
                    Check::BrokenCheckpoint,
                    said.epoch,
                    None,
                    detail.to_owned(),
                ));
            }
            tree.bad = climb(file, said, &levels, threads, report)?;
        }
        Ok(tree)
    }

    /// The hashes of a tile of level 0, and whether they lead to the checkpoint; None where they are not there.
    pub fn leaves(&self, tile: u64) -> Result<Option<(Vec<Hash>, bool)>> {
        let Some(file) = &self.tiles else {
            return Ok(None);
        };
        let hashes = file.read(0, tile)?;
        Ok(hashes.map(|hashes| (hashes, !self.bad.contains(&tile))))
    }

    /// What the tile above says of a tile of level 0.
    pub fn parent(&self, tile: u64) -> Result<Option<Hash>> {
        self.tiles
            .as_ref()
            .map_or(Ok(None), |file| parent(file, 0, tile))
    }

    /// Whether the manifest names this leaf.
    pub fn names(&self, leaf: u64) -> bool {
        let at = self.runs.partition_point(|run| run.1 < leaf);
        self.runs.get(at).is_some_and(|run| run.0 <= leaf)
    }

    /// Adds the leaves to the tree over all of the archive's leaves; false where they are not all there.
    pub fn add_to(&self, root: &mut Frontier) -> Result<bool> {
        let Some(file) = &self.tiles else {
            return Ok(false);
        };
        let mut loaded: Option<(u64, Vec<Hash>)> = None;
        for (first, last) in &self.runs {
            for leaf in *first..=*last {
                if loaded.as_ref().is_none_or(|loaded| loaded.0 != leaf / 256) {
                    let Some(hashes) = file.read(0, leaf / 256)? else {
                        return Ok(false);
                    };
                    loaded = Some((leaf / 256, hashes));
                }
                let hash = loaded
                    .as_ref()
                    .and_then(|(_, hashes)| hashes.get(usize::try_from(leaf % 256).ok()?));
                let Some(hash) = hash else { return Ok(false) };
                root.push(*hash);
            }
        }
        Ok(true)
    }
}

/// The hash that the tile above has of a full tile.
fn parent(file: &TileFile, level: u8, index: u64) -> Result<Option<Hash>> {
    let above = file.read(level + 1, index / 256)?;
    Ok(above.and_then(|hashes| hashes.get(usize::try_from(index % 256).ok()?).copied()))
}

/// Compares each full tile with the tile above it, from the top down; gives those of level 0 that do not fit. A tile that does
/// not is told; those below it are not, for nothing can be said of them.
fn climb(
    file: &TileFile,
    said: &Epoch,
    levels: &[Runs],
    threads: usize,
    report: &mut Report,
) -> Result<BTreeSet<u64>> {
    let mut above = BTreeSet::new();
    for (level, runs) in (0..8_u8).zip(levels).collect::<Vec<_>>().into_iter().rev() {
        let full = said
            .tree_size
            .checked_shr(8 * (u32::from(level) + 1))
            .unwrap_or(0);
        let tiles: Vec<u64> = runs
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .filter(|index| *index < full)
            .collect();
        let part = tiles.len().div_ceil(threads.max(1)).max(1);
        let bad = std::thread::scope(|scope| {
            let check = |part: &[u64]| -> Result<Vec<u64>> {
                let mut bad = Vec::new();
                for index in part {
                    let hashes = file.read(level, *index)?;
                    let root = hashes.map(|hashes| root_of(&hashes));
                    if root.is_none() || root != parent(file, level, *index)? {
                        bad.push(*index);
                    }
                }
                Ok(bad)
            };
            let threads: Vec<_> = tiles
                .chunks(part)
                .map(|part| scope.spawn(move || check(part)))
                .collect();
            let results = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread has ended")))
            });
            results.collect::<Result<Vec<_>>>()
        })?;
        let bad: BTreeSet<u64> = bad.into_iter().flatten().collect();
        let known = |index: &&u64| !above.contains(&(**index / 256));
        if level > 0 {
            for index in bad.iter().filter(known) {
                let path = Tile::in_tree(level, *index, said.tree_size).map(Tile::path);
                let detail = format!(
                    "{}: its hashes do not lead to the tile above",
                    path.unwrap_or_default()
                );
                let leaf = index.saturating_mul(256_u64.saturating_pow(u32::from(level) + 1));
                report.add(finding(Check::AlteredTile, said.epoch, Some(leaf), detail));
            }
            above = bad;
        } else {
            return Ok(bad.iter().filter(known).copied().collect());
        }
    }
    Ok(BTreeSet::new())
}
