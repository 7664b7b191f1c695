//! Paths of tiles: `tile/<level>/<index>[.p/<width>]`, the index in groups of three digits, all but the last with `x`.

use super::{Tile, WIDTH};
use crate::Error;
use std::fmt::{self, Write};

impl Tile {
    /// The path of the tile's hashes.
    pub fn path(self) -> String {
        format!("tile/{self}")
    }

    /// The path of the entries of a level-0 tile.
    pub fn entries_path(self) -> String {
        let mut path = "tile/entries/".to_owned();
        // Writing to a String does not fail.
        let _ = write_place(&mut path, self);
        path
    }

    /// The tile that a path names.
    ///
    /// # Errors
    /// [`Error::TilePath`] for anything but the one spelling of a path; entry bundles are not tiles.
    pub fn from_path(path: &str) -> Result<Self, Error> {
        parse(path).ok_or_else(|| Error::TilePath {
            path: path.chars().take(80).collect(),
        })
    }
}

/// `<level>/<index>[.p/<width>]`
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.level)?;
        write_place(f, *self)
    }
}

fn write_place(out: &mut impl Write, tile: Tile) -> fmt::Result {
    let groups = std::iter::successors(Some(tile.index), |n| Some(n / 1000).filter(|n| *n > 0));
    let groups: Vec<u64> = groups.map(|n| n % 1000).collect();
    for group in groups[1..].iter().rev() {
        write!(out, "x{group:03}/")?;
    }
    write!(out, "{:03}", groups[0])?;
    if tile.width < WIDTH {
        write!(out, ".p/{}", tile.width)?;
    }
    Ok(())
}

fn parse(path: &str) -> Option<Tile> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let (place, width) = match rest.split_once(".p/") {
        None => (rest, WIDTH),
        Some((place, width)) => (place, width.parse().ok()?),
    };
    let index = place.split('/').try_fold(0u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let number: u64 = digits.parse().ok()?;
        index.checked_mul(1000)?.checked_add(number)
    })?;
    let tile = Tile {
        level: level.parse().ok()?,
        index,
        width,
    };
    // One spelling alone: no leading zeroes, no plus sign, no empty or lacking groups.
    let valid = tile.level < 64 && tile.width > 0 && tile.width <= WIDTH && tile.path() == path;
    valid.then_some(tile)
}
