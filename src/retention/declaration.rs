//! Declarations: which leaves' events were pruned, cleared or erased (`docs/log-format.md`, section 11).

use crate::error::{AttestError, Result, SqlState};
use crate::pg::xact;
use attest_log::Hash;
pub use attest_log::declaration::{Place, Runs};
use attest_log::tree::Frontier;
use serde_json::{Map, Value as Json};

/// Sealed leaves whose events are going to be removed, with their hashes.
#[derive(Default)]
pub struct Declaration(Vec<(Place, Hash)>);

impl Declaration {
    pub fn of(mut leaves: Vec<(Place, Hash)>) -> Self {
        leaves.sort_unstable_by_key(|(place, _)| *place);
        leaves.dedup_by_key(|(place, _)| *place);
        Self(leaves)
    }

    /// The three members of a declaring event's context.
    pub fn said(&self) -> Map<String, Json> {
        let runs = Runs::of(self.0.iter().map(|(place, _)| *place));
        let root = root_of(self.0.iter().map(|(_, hash)| *hash));
        members(&runs, self.0.len() as u64, &root)
    }
}

/// The members by which a verifier knows leaves.
pub fn members(runs: &Runs, count: u64, root: &Hash) -> Map<String, Json> {
    let said = attest_log::declaration::Declaration {
        runs: runs.clone(),
        count,
        root: *root,
    };
    said.members()
}

/// The root (RFC 6962) over these leaf hashes.
pub fn root_of(hashes: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::new();
    for (number, hash) in hashes.into_iter().enumerate() {
        if number.is_multiple_of(64) {
            xact::give_way();
        }
        frontier.push(hash);
    }
    frontier.root()
}

/// Runs that a caller gave.
pub fn parse_runs(json: &Json) -> Result<Runs> {
    let runs = Runs::parse(json).filter(|runs| !runs.is_empty());
    runs.ok_or_else(|| {
        AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "leaves are not runs of leaf indexes",
        )
        .detail("They are [[epoch, first, last], …], ascending, with first not above last.")
        .hint("audit.leaves() tells the leaves of events.")
    })
}

#[cfg(test)]
mod tests {
    use super::{Declaration, Place, root_of};
    use attest_log::Hash;
    use attest_log::hash::{leaf_hash, node_hash};
    use serde_json::json;

    fn place(epoch: i32, index: u64) -> Place {
        Place { epoch, index }
    }

    fn hash(number: u8) -> Hash {
        leaf_hash(&[number])
    }

    #[test]
    fn a_declaration_has_the_root_over_its_leaves_in_their_order() {
        // Given out of order, with a gap and a second epoch.
        let leaves = vec![
            (place(2, 0), hash(3)),
            (place(1, 5), hash(1)),
            (place(1, 9), hash(2)),
        ];
        let said = Declaration::of(leaves).said();
        let root = node_hash(&node_hash(&hash(1), &hash(2)), &hash(3));
        assert_eq!(root_of([hash(1), hash(2), hash(3)]), root);
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, root);
        assert_eq!(said["leaves"], json!([[1, 5, 5], [1, 9, 9], [2, 0, 0]]));
        assert_eq!(said["count"], json!(3));
        assert_eq!(said["root"], json!(encoded));
    }

    #[test]
    fn the_examples_of_the_format_hold() {
        let page = include_str!("../../docs/log-format.md");
        let lines: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("{\"leaves\": [[1, "))
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .collect();
        assert_eq!(lines.len(), 2);
        let hashes: Vec<Hash> = page
            .lines()
            .filter_map(|line| line.strip_prefix("leaf hash "))
            .filter(|hex| hex.len() == 64)
            .take(2)
            .map(|hex| {
                let mut hash = [0; 32];
                for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
                    *byte = u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_default();
                }
                hash
            })
            .collect();
        let both = vec![(place(1, 0), hashes[0]), (place(1, 1), hashes[1])];
        for (line, leaves) in lines.iter().zip([both.clone(), both[1..].to_vec()]) {
            assert_eq!(
                line,
                &serde_json::Value::Object(Declaration::of(leaves).said())
            );
        }
    }
}
