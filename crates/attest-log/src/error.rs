//! What can be wrong with what others hand to this crate.

use crate::tile::Tile;

/// Each message says what is wrong, for a person; none repeats more than a few bytes of its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("field {field} is {length} bytes long; the encoding holds at most 4294967295")]
    FieldTooLong { field: &'static str, length: usize },
    #[error("the event has neither a salt nor a payload hash, so its payload has no commitment")]
    NoCommitment,
    #[error("the event has a payload hash, which is of erased events alone, and still a {left}")]
    HalfErased { left: &'static str },
    #[error("the list's encoding is broken at byte {at}")]
    BrokenList { at: usize },
    #[error(
        "leaf data is {length} bytes long instead of {}",
        crate::encoding::LeafData::LENGTH
    )]
    LeafLength { length: usize },
    #[error("leaf data does not begin with \"pg_attest/leaf/v1\"")]
    LeafPrefix,

    #[error("there is no leaf {index} in a tree of {size} leaves")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {old} leaves cannot have grown to {new}")]
    Shrunk { old: u64, new: u64 },
    #[error("a tree of {size} leaves has {expected} subtrees at its edge, not {found}")]
    EdgeLength {
        size: u64,
        expected: usize,
        found: usize,
    },
    #[error("the proof has {found} hashes; this one takes {expected}")]
    ProofLength { expected: usize, found: usize },
    #[error("the proof does not lead to the root")]
    WrongRoot,
    #[error(
        "the proof does not lead to the older root: the newer tree is not a continuation of the older one"
    )]
    NotConsistent,

    #[error("tile {tile} has {found} hashes, {} are needed", tile.width)]
    ShortTile { tile: Tile, found: usize },
    #[error("a tile of {length} bytes is not a sequence of 1 to 256 hashes of 32 bytes")]
    TileLength { length: usize },
    #[error("{path:?} is not the path of a tile")]
    TilePath { path: String },
    #[error("the entry bundle is broken at byte {at}")]
    BrokenBundle { at: usize },
    #[error(
        "an entry of {length} bytes does not fit a bundle, which holds at most 65535 per entry"
    )]
    EntryTooLong { length: usize },
}
