//! Proof files: what is accepted is written back the same, and verifies against nothing by chance.
#![no_main]

use attest_log::checkpoint::Checkpoint;
use attest_log::proof::{ConsistencyProof, InclusionProof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(proof) = text.parse::<InclusionProof>() {
        assert_eq!(proof.to_string(), text);
        let _ = proof.leaf_data();
        // The tree of one leaf needs no hash, so its root may be a guessed leaf; zeroes are the hash of nothing known.
        if let Ok(checkpoint) = proof.verify_path(&[0; 32]) {
            assert_eq!((checkpoint.size(), checkpoint.root()), (1, &[0; 32]));
        }
    }
    if let Ok(proof) = text.parse::<ConsistencyProof>() {
        assert_eq!(proof.to_string(), text);
        if let Ok(new) = proof.checkpoint.text().parse::<Checkpoint>() {
            let _ = proof.verify_path(&new);
        }
    }
});
