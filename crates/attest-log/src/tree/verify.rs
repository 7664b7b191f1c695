//! Verification of proofs: RFC 9162 sections 2.1.3.2 and 2.1.4.2.

use crate::Error;
use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// Checks that the leaf of this hash is leaf `index` of the tree of `size` leaves with this root.
///
/// # Errors
/// [`Error::NoSuchLeaf`], [`Error::ProofLength`], [`Error::WrongRoot`]
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Error> {
    if index >= size {
        return Err(Error::NoSuchLeaf { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    check_length(inclusion_length(node, last), proof)?;
    let mut hash = *leaf;
    for other in proof {
        if node % 2 == 1 || node == last {
            hash = node_hash(other, &hash);
            skip_lonely(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, other);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(Error::WrongRoot)
    }
}

/// Checks that the tree of `new_size` leaves with this root continues the one of `old_size`.
///
/// Every tree continues the empty one, whose root must be that of an empty tree; for it and for equal sizes the proof
/// is empty.
///
/// # Errors
/// [`Error::Shrunk`], [`Error::ProofLength`], [`Error::WrongRoot`] where the newer root is not met,
/// [`Error::NotConsistent`] where the older one is not
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), Error> {
    if old_size > new_size {
        return Err(Error::Shrunk {
            old: old_size,
            new: new_size,
        });
    }
    if old_size == 0 || old_size == new_size {
        check_length(0, proof)?;
        let expected = if old_size == 0 { &EMPTY_ROOT } else { new_root };
        return if old_root == expected {
            Ok(())
        } else {
            Err(Error::NotConsistent)
        };
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    // Past the complete subtrees of the older tree that end where it ends.
    let shift = node.trailing_ones();
    (node, last) = (node >> shift, last >> shift);
    let whole = old_size.is_power_of_two();
    check_length(inclusion_length(node, last) + usize::from(!whole), proof)?;
    let (seed, path) = match proof.split_first() {
        Some((first, path)) if !whole => (first, path),
        _ => (old_root, proof),
    };
    let (mut old, mut new) = (*seed, *seed);
    for other in path {
        if node % 2 == 1 || node == last {
            old = node_hash(other, &old);
            new = node_hash(other, &new);
            skip_lonely(&mut node, &mut last);
        } else {
            new = node_hash(&new, other);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if new != *new_root {
        Err(Error::WrongRoot)
    } else if old != *old_root {
        Err(Error::NotConsistent)
    } else {
        Ok(())
    }
}

/// Nodes at the tree's right edge without a sibling move up as they are.
fn skip_lonely(node: &mut u64, last: &mut u64) {
    if node.is_multiple_of(2) {
        let levels = node.trailing_zeros();
        (*node, *last) = (node.unbounded_shr(levels), last.unbounded_shr(levels));
    }
}

/// Siblings on the way from this node to the root, in a level whose last node is `last`.
fn inclusion_length(node: u64, last: u64) -> usize {
    // Below the point where the ways of both meet there is a sibling at every level, above it only to the left.
    let inner = u64::BITS - (node ^ last).leading_zeros();
    let border = node.unbounded_shr(inner).count_ones();
    (inner + border) as usize
}

fn check_length(expected: usize, proof: &[Hash]) -> Result<(), Error> {
    if proof.len() == expected {
        Ok(())
    } else {
        Err(Error::ProofLength {
            expected,
            found: proof.len(),
        })
    }
}
