//! A growing tree as tiles.

use super::{HEIGHT, Tile, TileReader, WIDTH, tile_level};
use crate::hash::Hash;
use crate::tree::Frontier;

/// Takes leaf hashes, gives out each tile as it fills, and keeps the unfinished ones: at most 255 hashes a level.
#[derive(Debug, Clone, Default)]
pub struct TileWriter {
    frontier: Frontier,
    /// By level, the hashes of the last tile, which is not full.
    edge: Vec<Vec<Hash>>,
}

impl TileWriter {
    /// A writer of an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with a tree of `size` leaves, whose partial tiles are read: one per level at most.
    pub fn resume<R: TileReader>(reader: &mut R, size: u64) -> Result<Self, R::Error> {
        let mut edge = Vec::new();
        for level in 0..8 {
            let hashes = size.unbounded_shr(HEIGHT * u32::from(level));
            if hashes == 0 {
                break;
            }
            let partial = Tile::in_tree(level, hashes / u64::from(WIDTH), size);
            edge.push(match partial {
                Some(tile) => super::read_exactly(reader, tile)?,
                None => Vec::new(),
            });
        }
        let frontier = Frontier::from_edge(size, &edge)?;
        Ok(Self { frontier, edge })
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Appends a leaf; `full` gets each tile that it fills, lowest level first.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(Tile, &[Hash; 256])) {
        let edge = &mut self.edge;
        self.frontier.push_with(leaf, |height, index, hash| {
            if height % HEIGHT != 0 {
                return;
            }
            let level = tile_level(height);
            if usize::from(level) == edge.len() {
                edge.push(Vec::with_capacity(usize::from(WIDTH)));
            }
            let hashes = &mut edge[usize::from(level)];
            hashes.push(*hash);
            if let Some(tile) = hashes.as_array() {
                full(
                    Tile {
                        level,
                        index: index / u64::from(WIDTH),
                        width: WIDTH,
                    },
                    tile,
                );
                hashes.clear();
            }
        });
    }

    /// The unfinished tiles, lowest level first.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        (0u8..).zip(&self.edge).filter_map(|(level, hashes)| {
            let index = self.size() >> (HEIGHT * u32::from(level)) >> HEIGHT;
            let width = u16::try_from(hashes.len())
                .ok()
                .filter(|width| *width > 0)?;
            let tile = Tile {
                level,
                index,
                width,
            };
            Some((tile, hashes.as_slice()))
        })
    }
}
