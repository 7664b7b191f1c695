//! Verification of proofs between trees of any size with any hashes: never panics, never accepts what it should not.
#![no_main]

use attest_log::tree::{verify_consistency, verify_inclusion};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, u64, Vec<[u8; 32]>)| {
    let (a, b, proof) = input;
    // No input that the fuzzer can write is the hash of two others.
    if verify_inclusion(&[1; 32], a, b, &proof, &[2; 32]).is_ok() {
        panic!("a leaf is not a root");
    }
    if verify_consistency(a, &[1; 32], b, &[2; 32], &proof).is_ok() {
        panic!("two made-up trees are not consistent");
    }
    if verify_inclusion(&[1; 32], a, b, &proof, &[1; 32]).is_ok() {
        assert_eq!((a, b, proof.len()), (0, 1, 0));
    }
});
