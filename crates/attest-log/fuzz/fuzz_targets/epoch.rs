//! The context of an epoch's first event: it names the epoch before only with all of its numbers and hashes.
#![no_main]

use attest_log::checkpoint::Checkpoint;
use attest_log::epoch::EpochEnd;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|context: &[u8]| {
    let checkpoint = Checkpoint::new("pg_attest/1/1/2/3/1", 7, [1; 32]).unwrap();
    let end = EpochEnd {
        epoch: 1,
        checkpoint,
        chain: [2; 32],
    };
    assert!(!end.is_named_by(b"system", Some(b"prune"), context));
    assert!(!end.is_named_by(b"event", Some(b"epoch"), context));
    if end.is_named_by(b"system", Some(b"epoch"), context) {
        let said: serde_json::Value = serde_json::from_slice(context).unwrap();
        assert_eq!(said["previous"]["tree_size"], 7);
        let other = EpochEnd {
            chain: [3; 32],
            ..end
        };
        assert!(!other.is_named_by(b"system", Some(b"epoch"), context));
    }
});
