//! Oracles: the tree's definitions, word for word and slow, and tiles in memory.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)]

use attest_log::tile::{Tile, TileReader, TileWriter};
use attest_log::{Error, Hash, hash};
use std::collections::HashMap;

/// The hashes of `count` made-up leaves.
pub fn leaves(count: u64) -> Vec<Hash> {
    (0..count)
        .map(|n| hash::leaf_hash(format!("leaf {n}").as_bytes()))
        .collect()
}

/// MTH of RFC 6962 section 2.1, over leaf hashes.
pub fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => hash::sha256(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(naive_split(leaves.len()));
            hash::node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// PATH of RFC 6962 section 2.1.1.
pub fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if index < k {
        (naive_inclusion(index, left), naive_root(right))
    } else {
        (naive_inclusion(index - k, right), naive_root(left))
    };
    proof.push(sibling);
    proof
}

/// SUBPROOF of RFC 6962 section 2.1.2; PROOF(m, D) is `naive_consistency(m, D, true)`.
pub fn naive_consistency(m: usize, leaves: &[Hash], complete: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if complete {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, other) = if m <= k {
        (naive_consistency(m, left, complete), naive_root(right))
    } else {
        (naive_consistency(m - k, right, false), naive_root(left))
    };
    proof.push(other);
    proof
}

fn naive_split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// The tiles of one tree.
#[derive(Default)]
pub struct Tiles {
    pub tiles: HashMap<Tile, Vec<Hash>>,
    /// Tiles that were read, in order.
    pub reads: Vec<Tile>,
}

impl Tiles {
    pub fn of(leaves: &[Hash]) -> Self {
        let mut tiles = HashMap::new();
        let mut writer = TileWriter::new();
        for leaf in leaves {
            writer.push(*leaf, |tile, hashes| {
                tiles.insert(tile, hashes.to_vec());
            });
        }
        for (tile, hashes) in writer.partial_tiles() {
            tiles.insert(tile, hashes.to_vec());
        }
        Self {
            tiles,
            reads: Vec::new(),
        }
    }
}

impl TileReader for Tiles {
    type Error = Error;

    fn read(&mut self, tile: Tile) -> Result<Vec<Hash>, Error> {
        self.reads.push(tile);
        // A tile that has grown since is as good.
        (tile.width..=256)
            .find_map(|width| self.tiles.get(&Tile { width, ..tile }))
            .cloned()
            .ok_or(Error::ShortTile { tile, found: 0 })
    }
}
