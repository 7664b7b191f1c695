//! Tiles of height 8 as C2SP tlog-tiles lays them out: names, paths, and what is read through them.

mod bundle;
mod path;
mod writer;

pub use bundle::{BundleReader, push_entry};
pub use writer::TileWriter;

use crate::Error;
use crate::hash::Hash;

/// Levels of the tree that one tile spans.
pub const HEIGHT: u32 = 8;
/// Hashes in a full tile.
pub const WIDTH: u16 = 256;

/// The name of a tile: hashes `index * 256 ..` of the tree's level `8 * level`, `width` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// 0 holds leaf hashes; each hash at level l + 1 is the root of a full tile at level l.
    pub level: u8,
    pub index: u64,
    /// 1 to 256; 256 is a full tile.
    pub width: u16,
}

impl Tile {
    /// The tile at this place in a tree of `size` leaves; None where the tree has none.
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(HEIGHT * u32::from(level))?;
        let before = index.checked_mul(u64::from(WIDTH))?;
        let width = hashes.checked_sub(before)?.min(u64::from(WIDTH));
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        Some(Self {
            level,
            index,
            width,
        })
    }

    /// Whether it will never change.
    pub fn is_full(self) -> bool {
        self.width == WIDTH
    }
}

/// All tiles of a tree of `size` leaves, level by level; of each level the last one may be partial.
pub fn tiles(size: u64) -> impl Iterator<Item = Tile> {
    (0..8u8).flat_map(move |level| (0..).map_while(move |index| Tile::in_tree(level, index, size)))
}

/// Tiles that a tree of `new` leaves has and one of `old` leaves has not: what a log has to write to grow.
pub fn new_tiles(old: u64, new: u64) -> impl Iterator<Item = Tile> {
    (0..8u8).flat_map(move |level| {
        let first = old
            .checked_shr(HEIGHT * u32::from(level) + HEIGHT)
            .unwrap_or(0);
        (first..)
            .map_while(move |index| Tile::in_tree(level, index, new))
            .filter(move |tile| Tile::in_tree(level, tile.index, old) != Some(*tile))
    })
}

/// The tile's hashes from its bytes.
///
/// # Errors
/// [`Error::TileLength`]
pub fn parse(bytes: &[u8]) -> Result<&[Hash], Error> {
    let (hashes, rest) = bytes.as_chunks();
    if rest.is_empty() && (1..=usize::from(WIDTH)).contains(&hashes.len()) {
        Ok(hashes)
    } else {
        Err(Error::TileLength {
            length: bytes.len(),
        })
    }
}

/// Where tiles come from: a table, a directory, a server, memory.
pub trait TileReader {
    /// What can go wrong on the way.
    type Error: From<Error>;

    /// The tile's hashes: `tile.width` of them, or more where the tile has grown since.
    fn read(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::Error>;
}

impl<R: TileReader + ?Sized> TileReader for &mut R {
    type Error = R::Error;

    fn read(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::Error> {
        (**self).read(tile)
    }
}

/// The level of the tiles that hold, or imply, nodes of this height.
pub(crate) fn tile_level(height: u32) -> u8 {
    // A tree has at most 64 levels.
    u8::try_from(height / HEIGHT).unwrap_or(u8::MAX)
}

/// The tile's hashes, as many as its width says.
pub(crate) fn read_exactly<R: TileReader>(
    reader: &mut R,
    tile: Tile,
) -> Result<Vec<Hash>, R::Error> {
    let mut hashes = reader.read(tile)?;
    let found = hashes.len();
    if found < usize::from(tile.width) {
        return Err(Error::ShortTile { tile, found }.into());
    }
    hashes.truncate(usize::from(tile.width));
    Ok(hashes)
}
