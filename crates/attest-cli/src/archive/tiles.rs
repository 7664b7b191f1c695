//! The tiles that lead from an archive's leaves to its checkpoint: docs/archive.md, "Tiles".

use anyhow::{Context, Result, ensure};
use attest_log::Hash;
use attest_log::tile::{self, Tile};
use attest_log::tree::Frontier;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Runs of numbers, both ends included; ascending, with gaps between them.
pub type Runs = Vec<(u64, u64)>;

const FULL: u64 = 256 * 32;

/// By level: the tiles of these leaves, those above them, and the unfinished one of each level, which the root is made of.
pub fn needed(leaves: &Runs, size: u64) -> Vec<Runs> {
    let mut levels: Vec<Runs> = Vec::new();
    let mut below: Runs = leaves.clone();
    for level in 0..8_u8 {
        let mut runs: Runs = Vec::new();
        let tiles = below.iter().map(|(first, last)| (first / 256, last / 256));
        for (first, last) in tiles.chain(edge(level, size).map(|tile| (tile.index, tile.index))) {
            match runs.last_mut() {
                Some(run) if first <= run.1 + 1 => run.1 = run.1.max(last),
                _ => runs.push((first, last)),
            }
        }
        if runs.is_empty() {
            break;
        }
        // Only full tiles have a hash in the level above.
        let full = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        below = runs
            .iter()
            .filter(|run| run.0 < full)
            .map(|run| (run.0, run.1.min(full - 1)))
            .collect();
        levels.push(runs);
    }
    levels
}

/// The tile of a level that is not full.
fn edge(level: u8, size: u64) -> Option<Tile> {
    let index = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
    Tile::in_tree(level, index, size)
}

/// The tiles of these runs, in the order in which they are written.
pub fn in_order(levels: &[Runs], size: u64) -> impl Iterator<Item = Tile> {
    let runs = (0_u8..)
        .zip(levels)
        .flat_map(|(level, runs)| runs.iter().map(move |run| (level, *run)));
    runs.flat_map(move |(level, (first, last))| {
        (first..=last).map_while(move |index| Tile::in_tree(level, index, size))
    })
}

/// A file of tiles, read where it is needed.
pub struct TileFile {
    file: File,
    size: u64,
    /// By level: a run of tiles and where it begins.
    runs: Vec<Vec<(u64, u64, u64)>>,
}

impl TileFile {
    /// Takes the tiles of `levels` out of a file of so many bytes.
    pub fn open(file: File, bytes: u64, levels: &[Runs], size: u64) -> Result<Self> {
        let mut at = 0_u64;
        let mut runs = Vec::new();
        for (level, of_level) in (0_u8..).zip(levels) {
            let mut placed = Vec::new();
            for (first, last) in of_level.iter().copied() {
                placed.push((first, last, at));
                let tile = Tile::in_tree(level, last, size).context("a tile is not in the tree")?;
                at += (last - first) * FULL + u64::from(tile.width) * 32;
            }
            runs.push(placed);
        }
        ensure!(at == bytes, "it has {bytes} bytes, its tiles have {at}");
        Ok(Self { file, size, runs })
    }

    /// A tile's hashes; None where it is not there.
    pub fn read(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>> {
        let runs = self.runs.get(usize::from(level));
        let run = runs.and_then(|runs| {
            let at = runs.partition_point(|run| run.1 < index);
            runs.get(at).filter(|run| run.0 <= index)
        });
        let tile = Tile::in_tree(level, index, self.size);
        let (Some((first, _, start)), Some(tile)) = (run, tile) else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::from(tile.width) * 32];
        self.file
            .read_exact_at(&mut bytes, start + (index - first) * FULL)
            .context("cannot read a tile")?;
        Ok(Some(tile::parse(&bytes)?.to_vec()))
    }

    /// The tree's root, which the unfinished tiles of all levels make.
    pub fn root(&self) -> Result<Hash> {
        let mut edges = Vec::new();
        for level in 0..8_u8 {
            let hashes = match edge(level, self.size) {
                Some(tile) => self.read(level, tile.index)?.context("a tile is missing")?,
                None => Vec::new(),
            };
            edges.push(hashes);
        }
        Ok(Frontier::from_edge(self.size, &edges)?.root())
    }
}

#[cfg(test)]
mod tests {
    use super::{in_order, needed};

    #[test]
    fn tiles_lead_from_leaves_to_the_root() {
        assert_eq!(needed(&vec![(0, 0)], 1), [vec![(0, 0)]]);
        assert_eq!(needed(&vec![(3, 255)], 256), [vec![(0, 0)], vec![(0, 0)]]);
        // 65,536 + 300 leaves: two tiles of level 1, of which the second has one hash, and one of level 2.
        let size = 65_536 + 300;
        let levels = needed(&vec![(5, 6), (600, 1100)], size);
        assert_eq!(
            levels,
            [vec![(0, 0), (2, 4), (257, 257)], vec![(0, 1)], vec![(0, 0)]]
        );
        let widths: Vec<_> = in_order(&levels, size).map(|tile| tile.width).collect();
        assert_eq!(widths, [256, 256, 256, 256, 44, 256, 1, 1]);
    }
}
