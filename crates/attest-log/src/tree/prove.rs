//! Proofs from tiles. Each reads O(log n) tiles, none twice.

use super::root_of;
use crate::Error;
use crate::hash::{EMPTY_ROOT, Hash, node_hash};
use crate::tile::{self, HEIGHT, Tile, TileReader};
use std::collections::HashMap;

/// The root of the tree of `size` leaves.
pub fn root<R: TileReader>(reader: &mut R, size: u64) -> Result<Hash, R::Error> {
    Nodes::new(reader, size).range(0, size)
}

/// The proof that leaf `index` is in the tree of `size` leaves: RFC 9162 section 2.1.3.1, the leaf's sibling first.
///
/// # Errors
/// [`Error::NoSuchLeaf`]
pub fn inclusion_proof<R: TileReader>(
    reader: &mut R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, R::Error> {
    if index >= size {
        return Err(Error::NoSuchLeaf { index, size }.into());
    }
    let mut nodes = Nodes::new(reader, size);
    let mut proof = Vec::new();
    let (mut first, mut end) = (0, size);
    while end - first > 1 {
        let middle = first + split(end - first);
        if index < middle {
            proof.push(nodes.range(middle, end)?);
            end = middle;
        } else {
            proof.push(nodes.range(first, middle)?);
            first = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `new` leaves continues the one of `old`: RFC 9162 section 2.1.4.1.
///
/// Empty for an empty older tree and for equal sizes.
///
/// # Errors
/// [`Error::Shrunk`]
pub fn consistency_proof<R: TileReader>(
    reader: &mut R,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, R::Error> {
    if old > new {
        return Err(Error::Shrunk { old, new }.into());
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let mut nodes = Nodes::new(reader, new);
    let mut proof = Vec::new();
    let (mut first, mut end) = (0, new);
    while old < end {
        let middle = first + split(end - first);
        if old <= middle {
            proof.push(nodes.range(middle, end)?);
            end = middle;
        } else {
            proof.push(nodes.range(first, middle)?);
            first = middle;
        }
    }
    // The last subtree of the older tree; where it is the whole of it, the verifier has its root already.
    if first > 0 {
        proof.push(nodes.range(first, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// Inner nodes of a tree of one size, computed from its tiles.
struct Nodes<'a, R> {
    reader: &'a mut R,
    size: u64,
    tiles: HashMap<Tile, Vec<Hash>>,
}

impl<'a, R: TileReader> Nodes<'a, R> {
    fn new(reader: &'a mut R, size: u64) -> Self {
        Self {
            reader,
            size,
            tiles: HashMap::new(),
        }
    }

    /// The root over the leaves `first..end`, which are a subtree.
    fn range(&mut self, first: u64, end: u64) -> Result<Hash, R::Error> {
        let mut perfect = Vec::new();
        let mut at = first;
        while let Some(height) = (end - at).checked_ilog2() {
            perfect.push(self.perfect(height, at >> height)?);
            at += 1 << height;
        }
        let joined = perfect
            .into_iter()
            .rev()
            .reduce(|right, left| node_hash(&left, &right));
        Ok(joined.unwrap_or(EMPTY_ROOT))
    }

    /// The root of the perfect subtree of 2^`height` leaves at this index among those of its height.
    fn perfect(&mut self, height: u32, index: u64) -> Result<Hash, R::Error> {
        let level = tile::tile_level(height);
        let start = index << (height % HEIGHT);
        let tile = Tile::in_tree(level, start / 256, self.size);
        let tile = tile.ok_or(Error::NoSuchLeaf {
            index: index << height,
            size: self.size,
        })?;
        let hashes = match self.tiles.entry(tile) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(tile::read_exactly(self.reader, tile)?)
            }
        };
        let start = (start % 256) as usize;
        Ok(root_of(&hashes[start..start + (1 << (height % HEIGHT))]))
    }
}
