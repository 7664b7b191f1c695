//! Notes: what is accepted is written back the same, and verification of whatever was read never panics.
#![no_main]

use attest_log::note::{KeyKind, Note, SignerKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(mut note) = text.parse::<Note>() else {
        return;
    };
    assert_eq!(note.to_string(), text);
    let keys = [KeyKind::Ed25519, KeyKind::Cosignature]
        .map(|kind| SignerKey::from_seed("k", kind, &[1; 32]).unwrap());
    let trusted = keys.each_ref().map(SignerKey::verifier);
    assert!(note.verify(&trusted).is_err(), "nobody knows the keys");
    for key in &keys {
        note.sign(key, 7);
    }
    assert_eq!(note.verify(&trusted).unwrap().len(), 2);
    assert_eq!(note.to_string().parse(), Ok(note));
});
