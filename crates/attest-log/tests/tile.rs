//! Names and paths of tiles, and entry bundles: the examples of C2SP tlog-tiles.
#![allow(clippy::unwrap_used)]

use attest_log::Error;
use attest_log::tile::{self, BundleReader, Tile, push_entry};
use proptest::prelude::*;

fn tile(level: u8, index: u64, width: u16) -> Tile {
    Tile {
        level,
        index,
        width,
    }
}

#[test]
fn the_tree_of_70000_leaves_of_the_specification() {
    let tiles: Vec<Tile> = tile::tiles(70_000).collect();
    let of_level = |level| {
        let widths = tiles.iter().filter(move |tile| tile.level == level);
        widths.map(|tile| tile.width).collect::<Vec<_>>()
    };
    let level_0 = of_level(0);
    assert_eq!(level_0.len(), 274);
    assert!(level_0[..273].iter().all(|width| *width == 256));
    assert_eq!(level_0[273], 112);
    assert_eq!(of_level(1), [256, 17]);
    assert_eq!(of_level(2), [1]);
    assert!(of_level(3).is_empty());
    assert_eq!(
        tile::tiles(256).collect::<Vec<_>>(),
        [tile(0, 0, 256), tile(1, 0, 1)]
    );
}

#[test]
fn paths_of_the_specification() {
    for (path, tile) in [
        ("tile/0/000", tile(0, 0, 256)),
        ("tile/0/x001/x234/067", tile(0, 1_234_067, 256)),
        ("tile/3/x001/000.p/17", tile(3, 1000, 17)),
        ("tile/63/999.p/255", tile(63, 999, 255)),
    ] {
        assert_eq!(tile.path(), path);
        assert_eq!(Tile::from_path(path), Ok(tile));
    }
    assert_eq!(
        tile(0, 1_234_067, 3).entries_path(),
        "tile/entries/x001/x234/067.p/3"
    );
}

#[test]
fn other_spellings_are_refused() {
    for path in [
        "",
        "tile",
        "tile/0/",
        "tile/0/0",
        "tile/00/000",
        "tile/+1/000",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/07",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(
            matches!(Tile::from_path(path), Err(Error::TilePath { .. })),
            "{path}"
        );
    }
}

#[test]
fn a_bundle_ends_at_its_first_fault() {
    let mut bundle = Vec::new();
    push_entry(&mut bundle, b"one").unwrap();
    push_entry(&mut bundle, b"").unwrap();
    bundle.extend_from_slice(&[0, 9, 1]);
    let entries: Vec<_> = BundleReader::new(&bundle).collect();
    assert_eq!(
        entries,
        [
            Ok(&b"one"[..]),
            Ok(&b""[..]),
            Err(Error::BrokenBundle { at: 7 })
        ]
    );
    let too_long = push_entry(&mut bundle, &vec![0; 65_536]);
    assert_eq!(too_long, Err(Error::EntryTooLong { length: 65_536 }));
}

#[test]
fn a_tile_is_1_to_256_hashes() {
    assert_eq!(tile::parse(&[7; 64]).unwrap(), [[7; 32]; 2]);
    for length in [0, 31, 33, 257 * 32] {
        assert_eq!(
            tile::parse(&vec![0; length]),
            Err(Error::TileLength { length })
        );
    }
}

proptest! {
    #[test]
    fn a_path_comes_back(level in 0..64u8, index: u64, width in 1..=256u16) {
        let tile = tile(level, index, width);
        prop_assert_eq!(Tile::from_path(&tile.path()), Ok(tile));
    }

    #[test]
    fn a_bundle_comes_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9)) {
        let mut bundle = Vec::new();
        for entry in &entries {
            push_entry(&mut bundle, entry).unwrap();
        }
        let back: Result<Vec<&[u8]>, Error> = BundleReader::new(&bundle).collect();
        prop_assert_eq!(back.unwrap(), entries);
    }
}
