//! Proof files: round trips, whole verification, and forgeries.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use attest_log::Error;
use attest_log::checkpoint::Checkpoint;
use attest_log::encoding::LeafData;
use attest_log::hash::leaf_hash;
use attest_log::note::{KeyKind, Note, SignerKey};
use attest_log::proof::{ConsistencyProof, InclusionProof};
use attest_log::tree;
use common::{Tiles, leaves, naive_root};
use proptest::prelude::*;

const ORIGIN: &str = "pg_attest/7387654321098765432/16384/1";

fn key() -> SignerKey {
    SignerKey::from_seed("db.example/log", KeyKind::Ed25519, &[1; 32]).unwrap()
}

fn checkpoint(origin: &str, size: u64) -> Checkpoint {
    Checkpoint::new(origin, size, naive_root(&leaves(size))).unwrap()
}

fn signed(checkpoint: &Checkpoint) -> Note {
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    note.sign(&key(), 0);
    note
}

fn inclusion(index: u64, size: u64, extra: Option<Vec<u8>>) -> InclusionProof {
    InclusionProof {
        extra,
        index,
        hashes: tree::inclusion_proof(&mut Tiles::of(&leaves(size)), index, size).unwrap(),
        checkpoint: signed(&checkpoint(ORIGIN, size)),
    }
}

fn consistency(old_size: u64, size: u64) -> ConsistencyProof {
    ConsistencyProof {
        old_size,
        hashes: tree::consistency_proof(&mut Tiles::of(&leaves(size)), old_size, size).unwrap(),
        checkpoint: signed(&checkpoint(ORIGIN, size)),
    }
}

#[test]
fn the_form_is_that_of_the_specification() {
    let proof = inclusion(1, 3, Some(b"extra data".to_vec())).to_string();
    let lines: Vec<&str> = proof.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "c2sp.org/tlog-proof@v1",
            "extra ZXh0cmEgZGF0YQ==",
            "index 1"
        ]
    );
    assert_eq!((lines[3].len(), lines[4].len()), (44, 44));
    assert_eq!(lines[5..8], ["", ORIGIN, "3"]);
    let proof = consistency(1, 2).to_string();
    let lines: Vec<&str> = proof.lines().collect();
    assert_eq!(
        (lines[0], lines[1].len(), lines[2], lines[3]),
        ("old 1", 44, "", ORIGIN)
    );
}

#[test]
fn a_proof_is_of_one_leaf_one_log_and_one_key() {
    let proof = inclusion(4, 9, None);
    let leaf = leaves(9)[4];
    let trusted = [key().verifier()];
    assert_eq!(proof.verify(&leaf, ORIGIN, &trusted).unwrap().len(), 1);
    assert_eq!(
        proof.verify(&leaves(9)[5], ORIGIN, &trusted),
        Err(Error::WrongRoot)
    );
    let other = proof.verify(&leaf, "pg_attest/other", &trusted);
    assert!(matches!(other, Err(Error::OtherOrigin { .. })));
    let other = SignerKey::from_seed("other", KeyKind::Ed25519, &[2; 32]).unwrap();
    let others = [other.verifier()];
    let untrusted = proof.verify(&leaf, ORIGIN, &others);
    assert!(matches!(untrusted, Err(Error::Untrusted { .. })));
}

#[test]
fn leaf_data_can_ride_along() {
    let data = LeafData::new(1, 2, 3, &[4; 32], &[5; 32]);
    let proof = inclusion(0, 1, Some(data.as_bytes().to_vec()));
    let back: InclusionProof = proof.to_string().parse().unwrap();
    assert_eq!(back.leaf_data(), Ok(data));
    assert_eq!(data.hash(), leaf_hash(data.as_bytes()));
    assert_eq!(
        inclusion(0, 1, None).leaf_data(),
        Err(Error::LeafLength { length: 0 })
    );
}

#[test]
fn a_consistency_proof_is_between_two_checkpoints_of_one_log() {
    let proof = consistency(5, 9);
    assert_eq!(
        proof.verify_path(&checkpoint(ORIGIN, 5)),
        Ok(checkpoint(ORIGIN, 9))
    );
    let other = proof.verify_path(&checkpoint("pg_attest/other", 5));
    assert!(matches!(other, Err(Error::OtherOrigin { .. })));
    let other = proof.verify_path(&checkpoint(ORIGIN, 4));
    assert_eq!(
        other,
        Err(Error::OtherSize {
            proof: 5,
            checkpoint: 4
        })
    );
    let forked = Checkpoint::new(ORIGIN, 5, [0; 32]).unwrap();
    assert_eq!(proof.verify_path(&forked), Err(Error::NotConsistent));
}

#[test]
fn other_forms_are_refused() {
    let inclusion = inclusion(1, 3, None).to_string();
    for (from, to) in [
        ("@v1", "@v2"),
        ("index 1", "index 01"),
        ("index 1", "index"),
        ("index 1\n", "extra !\nindex 1\n"),
        ("index 1\n", "index 1\nAAAA\n"),
        ("index 1\n", "index 1\r\n"),
    ] {
        let forged = inclusion.replacen(from, to, 1);
        let parsed: Result<InclusionProof, Error> = forged.parse();
        assert_eq!(
            parsed,
            Err(Error::ProofForm { kind: "inclusion" }),
            "{forged}"
        );
    }
    let hash = inclusion.lines().nth(2).unwrap();
    let long = inclusion.replacen(
        "index 1\n",
        &format!("index 1\n{}", format!("{hash}\n").repeat(63)),
        1,
    );
    assert!(long.parse::<InclusionProof>().is_err());
    let old = consistency(1, 2).to_string();
    for forged in [
        old.replacen("old ", "new ", 1),
        old.replacen("old 1", "old 1 ", 1),
        String::new(),
    ] {
        assert!(forged.parse::<ConsistencyProof>().is_err(), "{forged}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_proof_comes_back_and_any_flipped_bit_of_it_fails(
        (size, index) in (1..300u64).prop_flat_map(|n| (Just(n), 0..n)), at: prop::sample::Index, bit in 0..8u8,
    ) {
        let leaf = leaves(size)[index as usize];
        let trusted = [key().verifier()];
        let proof = inclusion(index, size, None);
        let written = proof.to_string();
        let back: InclusionProof = written.parse().unwrap();
        prop_assert_eq!(&back, &proof);
        back.verify(&leaf, ORIGIN, &trusted).unwrap();
        let mut bytes = written.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let forged = String::from_utf8(bytes).ok().and_then(|proof| proof.parse().ok());
        prop_assert!(forged.is_none_or(|proof: InclusionProof| proof.verify(&leaf, ORIGIN, &trusted).is_err()));
    }

    #[test]
    fn a_consistency_proof_comes_back((size, old) in (1..300u64).prop_flat_map(|n| (Just(n), 0..=n))) {
        let proof = consistency(old, size);
        let back: ConsistencyProof = proof.to_string().parse().unwrap();
        prop_assert_eq!(&back, &proof);
        prop_assert_eq!(back.verify_path(&checkpoint(ORIGIN, old)), Ok(checkpoint(ORIGIN, size)));
    }
}
