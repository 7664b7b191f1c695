//! The Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1): roots, growth, proofs and their verification.

mod frontier;
mod prove;
mod verify;

pub use frontier::Frontier;
pub use prove::{consistency_proof, inclusion_proof, root};
pub use verify::{verify_consistency, verify_inclusion};

use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// The root over these hashes, as RFC 6962's MTH has it with them as its leaves' hashes.
pub fn root_of(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    // Level by level; a last one without a partner moves up, which is the split at the largest power of two.
    while row.len() > 1 {
        let length = row.len();
        for pair in 0..length / 2 {
            row[pair] = node_hash(&row[2 * pair], &row[2 * pair + 1]);
        }
        if length % 2 == 1 {
            row[length / 2] = row[length - 1];
        }
        row.truncate(length.div_ceil(2));
    }
    row.first().copied().unwrap_or(EMPTY_ROOT)
}
