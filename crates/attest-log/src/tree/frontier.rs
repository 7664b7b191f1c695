//! The right edge of a growing tree: all that is needed to append leaves and to know the root.

use super::root_of;
use crate::Error;
use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// The roots of the perfect subtrees that a tree of `size` leaves consists of, the largest first: one per bit of `size`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// From the roots of the perfect subtrees, the largest first.
    ///
    /// # Errors
    /// [`Error::EdgeLength`] when a tree of that size has not as many.
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Result<Self, Error> {
        let expected = size.count_ones() as usize;
        if roots.len() == expected {
            Ok(Self { size, roots })
        } else {
            Err(Error::EdgeLength {
                size,
                expected,
                found: roots.len(),
            })
        }
    }

    /// From the hashes of the last, unfinished tile of each level, lowest level first; empty where there is none.
    ///
    /// # Errors
    /// [`Error::EdgeLength`] when a tree of that size has not as many.
    pub fn from_edge(size: u64, edge: &[Vec<Hash>]) -> Result<Self, Error> {
        let mut roots = Vec::new();
        for hashes in edge.iter().rev() {
            let mut rest = hashes.as_slice();
            while let Some(height) = rest.len().checked_ilog2() {
                let (subtree, after) = rest.split_at(1 << height);
                roots.push(root_of(subtree));
                rest = after;
            }
        }
        Self::from_parts(size, roots)
    }

    /// Leaves of the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its perfect subtrees, the largest first.
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// Appends the leaf of this hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _, _| {});
    }

    /// Appends a leaf; `made` gets each perfect subtree that it completes, the leaf itself first, as height, index
    /// among those of its height, and root.
    pub fn push_with(&mut self, leaf: Hash, mut made: impl FnMut(u32, u64, &Hash)) {
        let (mut hash, mut height, mut index) = (leaf, 0, self.size);
        made(height, index, &hash);
        while index % 2 == 1 {
            let Some(left) = self.roots.pop() else { break };
            hash = node_hash(&left, &hash);
            height += 1;
            index /= 2;
            made(height, index, &hash);
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(&last) = roots.next() else {
            return EMPTY_ROOT;
        };
        roots.fold(last, |right, left| node_hash(left, &right))
    }
}
