//! Manifests of archives: what is accepted makes sense, and comes back the same from what is written.
#![no_main]

#[allow(dead_code, reason = "rows are not read here")]
#[path = "../../../attest-cli/src/archive/columns.rs"]
mod columns;
#[allow(dead_code, reason = "archives are not written here")]
#[path = "../../../attest-cli/src/archive/manifest.rs"]
mod manifest;
#[allow(dead_code, reason = "tiles are not read here")]
#[path = "../../../attest-cli/src/archive/tiles.rs"]
mod tiles;

use libfuzzer_sys::fuzz_target;
use manifest::Manifest;

const GOOD: &[u8] = include_bytes!("../seeds/manifest/least");

fuzz_target!(init: assert!(Manifest::parse(GOOD).is_ok()), |bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else {
        return;
    };
    let written = manifest.to_bytes().unwrap();
    assert_eq!(Manifest::parse(&written).unwrap(), manifest);
    let mut count = 0;
    for tree in &manifest.epochs {
        let runs = manifest.runs(tree.epoch);
        count += runs.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        assert!(tiles::needed(&runs, tree.tree_size).len() <= 8);
    }
    assert_eq!(count, manifest.count);
});
