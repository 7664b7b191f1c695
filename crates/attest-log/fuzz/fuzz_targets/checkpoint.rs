//! Checkpoints: what is accepted is written back the same.
#![no_main]

use attest_log::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
        checkpoint.chain(&[0; 32], 0, &[0; 32]);
    }
});
