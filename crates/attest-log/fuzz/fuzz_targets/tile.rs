//! Paths, tiles and entry bundles: what is accepted is written back the same.
#![no_main]

use attest_log::encoding::LeafData;
use attest_log::tile::{self, BundleReader, Tile, push_entry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(tile) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|path| Tile::from_path(path).ok())
    {
        assert_eq!(tile.path().as_bytes(), bytes);
    }
    if let Ok(hashes) = tile::parse(bytes) {
        assert_eq!(hashes.concat(), bytes);
    }
    if let Ok(leaf) = LeafData::parse(bytes) {
        let again = LeafData::new(
            leaf.event_id(),
            leaf.xact_id(),
            leaf.occurred_at(),
            &leaf.meta(),
            &leaf.payload(),
        );
        assert_eq!(again.as_bytes(), bytes);
    }
    if let Ok(entries) = BundleReader::new(bytes).collect::<Result<Vec<_>, _>>() {
        let mut bundle = Vec::new();
        for entry in entries {
            push_entry(&mut bundle, entry).unwrap();
        }
        assert_eq!(bundle, bytes);
    }
});
