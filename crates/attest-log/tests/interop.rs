//! Other people's implementations accept our output as it is: `signed_note` and `tlog_tiles` (Cloudflare's, after Go's),
//! `ct-merkle`. Those that are not in Rust have their turn in `cargo xtask test --only interop`.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use attest_log::checkpoint::Checkpoint;
use attest_log::hash::leaf_hash;
use attest_log::note::{KeyKind, Note, SignerKey};
use attest_log::tile::Tile;
use attest_log::{Hash, tree};
use common::Tiles;
use proptest::prelude::*;
use sha2::Sha256;
use signed_note::{StandardVerifier, VerifierList};
use std::collections::HashMap;

const ORIGIN: &str = "pg_attest/7387654321098765432/1/16384/16402/1";

fn data(n: u64) -> String {
    format!("entry {n}")
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(data(n).as_bytes())).collect()
}

fn signed(checkpoint: &Checkpoint, key: &SignerKey) -> String {
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    note.sign(key, 0);
    note.to_string()
}

#[test]
fn signed_note_and_tlog_tiles_accept_keys_notes_and_checkpoints() {
    let key = SignerKey::from_seed(ORIGIN, KeyKind::Ed25519, &[7; 32]).unwrap();
    let witness = SignerKey::from_seed("w", KeyKind::Cosignature, &[8; 32]).unwrap();
    let checkpoint = Checkpoint::new(ORIGIN, 9, tree::root_of(&leaves(9))).unwrap();
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    note.sign(&key, 0);
    note.sign(&witness, 1_700_000_000);

    let verifier = StandardVerifier::new(&key.verifier().to_string()).unwrap();
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let (checked, others) = theirs.verify(&known).unwrap();
    assert_eq!((checked.len(), others.len()), (1, 1));
    assert_eq!(theirs.to_bytes(), note.to_string().as_bytes());

    let theirs = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!(
        (theirs.origin(), theirs.size(), &theirs.hash().0),
        (ORIGIN, 9, checkpoint.root())
    );

    // And the other way round: a note that they signed with a key in our text form.
    let signer = signed_note::StandardSigner::new(&key.to_secret_text()).unwrap();
    let mut theirs = signed_note::Note::new(checkpoint.to_string().as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let theirs = String::from_utf8(theirs.to_bytes()).unwrap();
    assert_eq!(theirs, signed(&checkpoint, &key));
}

/// Our tiles under our paths, for their reader.
struct ByPath(HashMap<String, Vec<u8>>);

impl ByPath {
    fn of(leaves: &[Hash]) -> Self {
        let tiles = Tiles::of(leaves).tiles.into_iter();
        Self(
            tiles
                .map(|(tile, hashes)| (tile.path(), hashes.concat()))
                .collect(),
        )
    }
}

impl tlog_tiles::TileReader for ByPath {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // Their paths name the height too, which C2SP's do not.
        let path = |tile: &tlog_tiles::Tile| tile.path().replacen("tile/8/", "tile/", 1);
        Ok(tiles
            .iter()
            .map(|tile| self.0[&path(tile)].clone())
            .collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn tlog_tiles_reads_our_tiles_and_checks_our_proofs((new, old) in prop_oneof![1..3000u64, 65_500..66_200u64].prop_flat_map(|n| (Just(n), 1..=n)), at: prop::sample::Index) {
        let leaves = leaves(new);
        let index = at.index(leaves.len()) as u64;
        let mut tiles = Tiles::of(&leaves);
        let root = tlog_tiles::Hash(tree::root(&mut tiles, new).unwrap());
        let old_root = tlog_tiles::Hash(tree::root_of(&leaves[..old as usize]));
        let theirs = |proof: Vec<Hash>| proof.into_iter().map(tlog_tiles::Hash).collect::<Vec<_>>();
        let leaf = tlog_tiles::Hash(leaves[index as usize]);

        let inclusion = theirs(tree::inclusion_proof(&mut tiles, index, new).unwrap());
        tlog_tiles::check_record(&inclusion, new, root, index, leaf).unwrap();
        let consistency = theirs(tree::consistency_proof(&mut tiles, old, new).unwrap());
        tlog_tiles::check_tree(&consistency, new, root, old, old_root).unwrap();

        // Their own proofs, which they make of our tiles after checking each against the root, are the same.
        let by_path = ByPath::of(&leaves);
        let reader = tlog_tiles::TileHashReader::new(new, root, &by_path);
        prop_assert_eq!(tlog_tiles::tree_hash(new, &reader).unwrap(), root);
        prop_assert_eq!(tlog_tiles::prove_record(new, index, &reader).unwrap(), inclusion);
        prop_assert_eq!(tlog_tiles::prove_tree(new, old, &reader).unwrap(), consistency);
    }

    #[test]
    fn tlog_tiles_has_our_paths(level in 0..8u8, index in 0..u64::MAX >> 8, width in 1..=256u16) {
        let path = Tile { level, index, width }.path();
        let theirs = tlog_tiles::Tile::new(8, level, index, width.into(), false);
        prop_assert_eq!(theirs.path().replacen("tile/8/", "tile/", 1), path);
    }

    #[test]
    fn ct_merkle_checks_our_roots_and_proofs((new, old) in (1..1500u64).prop_flat_map(|n| (Just(n), 1..=n)), at: prop::sample::Index) {
        type Theirs = ct_merkle::RootHash<Sha256>;
        let leaves = leaves(new);
        let index = at.index(leaves.len()) as u64;
        let mut tiles = Tiles::of(&leaves);
        let root = Theirs::new(tree::root(&mut tiles, new).unwrap().into(), new);
        let old_root = Theirs::new(tree::root_of(&leaves[..old as usize]).into(), old);

        let inclusion = tree::inclusion_proof(&mut tiles, index, new).unwrap().concat();
        let inclusion = ct_merkle::InclusionProof::try_from_bytes(inclusion).unwrap();
        root.verify_inclusion(&data(index), index, &inclusion).unwrap();
        let consistency = tree::consistency_proof(&mut tiles, old, new).unwrap().concat();
        let consistency = ct_merkle::ConsistencyProof::try_from_bytes(consistency).unwrap();
        root.verify_consistency(&old_root, &consistency).unwrap();

        let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<Sha256, String>::new();
        for n in 0..new {
            theirs.push(data(n));
        }
        prop_assert_eq!(theirs.root(), root);
        let their_inclusion = theirs.prove_inclusion(index as usize);
        prop_assert_eq!(their_inclusion.as_bytes(), inclusion.as_bytes());
    }
}
