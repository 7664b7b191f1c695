//! The tree against RFC 6962: its known answers, its definitions taken word for word, and forgeries.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use attest_log::hash::{EMPTY_ROOT, leaf_hash, sha256};
use attest_log::tile::{self, Tile, TileWriter};
use attest_log::tree::{self, Frontier};
use attest_log::{Error, Hash};
use common::{Tiles, leaves, naive_consistency, naive_inclusion, naive_root};
use proptest::prelude::*;
use std::collections::HashSet;

/// Sizes around the edges of tiles and powers of two.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..300u64,
        500..530u64,
        prop::sample::select(vec![
            255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2048
        ]),
        1..3000u64,
    ]
}

fn known(hex: &str) -> Hash {
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// The trees of the reference test of RFC 6962's own implementation (certificate-transparency).
#[test]
fn known_roots() {
    let inputs: [&[u8]; 8] = [
        b"",
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), known(roots[0]));
    for (input, root) in inputs.iter().zip(&roots[1..]) {
        frontier.push(leaf_hash(input));
        assert_eq!(frontier.root(), known(root), "{} leaves", frontier.size());
    }
    assert_eq!(sha256(b""), EMPTY_ROOT);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_way_to_the_root_is_the_definition(size in size()) {
        let leaves = leaves(size);
        let expected = naive_root(&leaves);
        prop_assert_eq!(tree::root_of(&leaves), expected);
        let mut frontier = Frontier::new();
        for leaf in &leaves {
            frontier.push(*leaf);
        }
        prop_assert_eq!(frontier.root(), expected);
        let again = Frontier::from_parts(size, frontier.roots().to_vec()).unwrap();
        prop_assert_eq!(again.root(), expected);
        prop_assert_eq!(tree::root(&mut Tiles::of(&leaves), size).unwrap(), expected);
    }

    #[test]
    fn tiles_are_those_of_the_definition(size in size()) {
        let leaves = leaves(size);
        let tiles = Tiles::of(&leaves);
        let names: HashSet<Tile> = tile::tiles(size).collect();
        prop_assert_eq!(&names, &tiles.tiles.keys().copied().collect());
        for (tile, hashes) in &tiles.tiles {
            let span = 256usize.pow(tile.level.into());
            for (i, hash) in hashes.iter().enumerate() {
                let first = (tile.index as usize * 256 + i) * span;
                prop_assert_eq!(hash, &naive_root(&leaves[first..first + span]));
            }
        }
    }

    #[test]
    fn a_resumed_writer_goes_on_as_if_it_had_never_stopped(old in 0..2000u64, more in 1..700u64) {
        let leaves = leaves(old + more);
        let (before, after) = leaves.split_at(old as usize);
        let mut written: HashSet<Tile> = HashSet::new();
        let mut writer = TileWriter::resume(&mut Tiles::of(before), old).unwrap();
        prop_assert_eq!(writer.root(), naive_root(before));
        for leaf in after {
            writer.push(*leaf, |tile, _| { written.insert(tile); });
        }
        prop_assert_eq!(writer.root(), naive_root(&leaves));
        prop_assert_eq!(writer.size(), old + more);
        written.extend(writer.partial_tiles().map(|(tile, _)| tile));
        let unchanged: Vec<Tile> = tile::tiles(old).filter(|tile| written.contains(tile)).collect();
        let new: HashSet<Tile> = tile::new_tiles(old, old + more).collect();
        written.retain(|tile| !unchanged.contains(tile));
        prop_assert_eq!(written, new);
    }

    #[test]
    fn inclusion_proofs_are_those_of_the_definition_and_verify((size, index) in size().prop_flat_map(|n| (Just(n), 0..n))) {
        let leaves = leaves(size);
        let root = naive_root(&leaves);
        let mut tiles = Tiles::of(&leaves);
        let proof = tree::inclusion_proof(&mut tiles, index, size).unwrap();
        prop_assert_eq!(&proof, &naive_inclusion(index as usize, &leaves));
        prop_assert!(tiles.reads.len() <= 4, "{:?}", tiles.reads);
        tree::verify_inclusion(&leaves[index as usize], index, size, &proof, &root).unwrap();
    }

    #[test]
    fn consistency_proofs_are_those_of_the_definition_and_verify((new, old) in size().prop_flat_map(|n| (Just(n), 1..=n))) {
        let leaves = leaves(new);
        let (old_root, new_root) = (naive_root(&leaves[..old as usize]), naive_root(&leaves));
        let mut tiles = Tiles::of(&leaves);
        let proof = tree::consistency_proof(&mut tiles, old, new).unwrap();
        prop_assert_eq!(&proof, &naive_consistency(old as usize, &leaves, true));
        tree::verify_consistency(old, &old_root, new, &new_root, &proof).unwrap();
    }

    #[test]
    fn a_forged_inclusion_proof_fails((size, index) in (2..600u64).prop_flat_map(|n| (Just(n), 0..n)), forgery: Forgery) {
        let leaves = leaves(size);
        let mut proof = naive_inclusion(index as usize, &leaves);
        let mut claim = [leaves[index as usize], naive_root(&leaves)];
        let mut index = index;
        match forgery {
            Forgery::Flip(at, bit) => flip(&mut claim, &mut proof, at.get(), bit),
            Forgery::Shorter(at) => { proof.remove(at.get() % proof.len()); }
            Forgery::Longer(at) => { proof.insert(at.get() % (proof.len() + 1), claim[0]); }
            Forgery::Elsewhere => index = (index + 1) % size,
        }
        let verdict = tree::verify_inclusion(&claim[0], index, size, &proof, &claim[1]);
        prop_assert!(verdict.is_err());
    }

    #[test]
    fn a_forged_consistency_proof_fails((new, old) in (2..600u64).prop_flat_map(|n| (Just(n), 1..n)), forgery: Forgery) {
        let leaves = leaves(new);
        let mut proof = naive_consistency(old as usize, &leaves, true);
        let mut claim = [naive_root(&leaves[..old as usize]), naive_root(&leaves)];
        match forgery {
            Forgery::Flip(at, bit) => flip(&mut claim, &mut proof, at.get(), bit),
            Forgery::Shorter(at) => { proof.remove(at.get() % proof.len()); }
            Forgery::Longer(at) => { proof.insert(at.get() % (proof.len() + 1), claim[0]); }
            Forgery::Elsewhere => claim.swap(0, 1),
        }
        prop_assert!(tree::verify_consistency(old, &claim[0], new, &claim[1], &proof).is_err());
    }
}

/// One way to be wrong.
#[derive(Debug, Clone, Copy)]
enum Forgery {
    Flip(Place, u8),
    Shorter(Place),
    Longer(Place),
    Elsewhere,
}

#[derive(Debug, Clone, Copy)]
struct Place(u16);

impl Place {
    fn get(self) -> usize {
        self.0.into()
    }
}

impl Arbitrary for Forgery {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        prop_oneof![
            (any::<u16>(), 0..8u8).prop_map(|(at, bit)| Self::Flip(Place(at), bit)),
            any::<u16>().prop_map(|at| Self::Shorter(Place(at))),
            any::<u16>().prop_map(|at| Self::Longer(Place(at))),
            Just(Self::Elsewhere),
        ]
        .boxed()
    }
}

/// Flips a bit of the two claimed hashes and the proof, taken as one sequence of bytes.
fn flip(claim: &mut [Hash; 2], proof: &mut [Hash], at: usize, bit: u8) {
    let hashes = claim.len() + proof.len();
    let (hash, byte) = (at / 32 % hashes, at % 32);
    let hash = claim.iter_mut().chain(proof).nth(hash).unwrap();
    hash[byte] ^= 1 << bit;
}

#[test]
fn the_empty_tree_and_equal_trees() {
    let root = naive_root(&leaves(5));
    let mut tiles = Tiles::of(&leaves(5));
    assert!(
        tree::consistency_proof(&mut tiles, 0, 5)
            .unwrap()
            .is_empty()
    );
    assert!(
        tree::consistency_proof(&mut tiles, 5, 5)
            .unwrap()
            .is_empty()
    );
    tree::verify_consistency(0, &EMPTY_ROOT, 5, &root, &[]).unwrap();
    tree::verify_consistency(5, &root, 5, &root, &[]).unwrap();
    let wrong = tree::verify_consistency(5, &EMPTY_ROOT, 5, &root, &[]);
    assert_eq!(wrong, Err(Error::NotConsistent));
    let wrong = tree::verify_consistency(0, &root, 5, &root, &[]);
    assert_eq!(wrong, Err(Error::NotConsistent));
    let wrong = tree::verify_consistency(6, &root, 5, &root, &[]);
    assert_eq!(wrong, Err(Error::Shrunk { old: 6, new: 5 }));
    let wrong = tree::inclusion_proof(&mut tiles, 5, 5);
    assert_eq!(wrong, Err(Error::NoSuchLeaf { index: 5, size: 5 }));
    assert_eq!(tree::root(&mut tiles, 0).unwrap(), EMPTY_ROOT);
}

#[test]
fn sizes_at_the_end_of_the_numbers_do_not_overflow() {
    let hash = EMPTY_ROOT;
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
        let proof = [hash; 64];
        let _ = tree::verify_inclusion(&hash, size - 1, size, &proof, &hash);
        let _ = tree::verify_inclusion(&hash, 0, size, &proof, &hash);
        let _ = tree::verify_consistency(size - 1, &hash, size, &hash, &proof);
        let _ = tree::verify_consistency(1, &hash, size, &hash, &proof);
        assert!(tree::inclusion_proof(&mut Tiles::default(), size - 1, size).is_err());
        assert!(tree::consistency_proof(&mut Tiles::default(), 3, size).is_err());
        assert_eq!(tile::tiles(size).next(), Tile::in_tree(0, 0, size));
    }
}
