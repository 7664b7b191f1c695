//! Declarations: which leaves' events were pruned, cleared or erased (`docs/log-format.md`, section 11).

use crate::error::{AttestError, Result, SqlState};
use attest_log::Hash;
use attest_log::tree::Frontier;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};

/// A leaf of some epoch: what declarations are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub epoch: i32,
    pub index: u64,
}

/// Leaves that follow each other; `last` is one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub epoch: i32,
    pub first: u64,
    pub last: u64,
}

/// A set of leaves, as ascending runs that neither overlap nor touch.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// Of leaves in ascending order.
    pub fn of(places: impl IntoIterator<Item = Place>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for Place { epoch, index } in places {
            match runs.last_mut() {
                Some(run) if run.epoch == epoch && run.last + 1 == index => run.last = index,
                _ => runs.push(Run {
                    epoch,
                    first: index,
                    last: index,
                }),
            }
        }
        Self(runs)
    }

    /// Reads `[[epoch, first, last], …]`; None where it is not that, or where its runs are out of order.
    pub fn parse(json: &Json) -> Option<Self> {
        let mut runs: Vec<Run> = Vec::new();
        for run in json.as_array()? {
            let [epoch, first, last] = run.as_array()?.as_slice() else {
                return None;
            };
            let run = Run {
                epoch: i32::try_from(epoch.as_i64()?).ok()?,
                first: first.as_u64()?,
                last: last.as_u64()?,
            };
            let follows = runs
                .last()
                .is_none_or(|before| (before.epoch, before.last) < (run.epoch, run.first));
            if run.first > run.last || !follows {
                return None;
            }
            runs.push(run);
        }
        Some(Self(runs))
    }

    pub fn to_json(&self) -> Json {
        let runs = self.0.iter();
        runs.map(|run| json!([run.epoch, run.first, run.last]))
            .collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter()
    }

    /// How many leaves it has; None when there are more than numbers.
    pub fn count(&self) -> Option<u64> {
        self.0.iter().try_fold(0u64, |count, run| {
            (run.last - run.first).checked_add(1)?.checked_add(count)
        })
    }

    pub fn contains(&self, place: Place) -> bool {
        let behind = self
            .0
            .partition_point(|run| (run.epoch, run.first) <= (place.epoch, place.index));
        behind > 0 && {
            let run = self.0[behind - 1];
            run.epoch == place.epoch && place.index <= run.last
        }
    }
}

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
    let mut said = Map::new();
    said.insert("leaves".into(), runs.to_json());
    said.insert("count".into(), count.into());
    said.insert("root".into(), BASE64.encode(root).into());
    said
}

/// The root (RFC 6962) over these leaf hashes.
pub fn root_of(hashes: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::new();
    for hash in hashes {
        frontier.push(hash);
    }
    frontier.root()
}

/// Runs that a caller gave.
pub fn parse_runs(json: &Json) -> Result<Runs> {
    let runs = Runs::parse(json).filter(|runs| !runs.0.is_empty());
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
    use super::{Declaration, Place, Runs, root_of};
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
    fn runs_join_neighbours_of_one_epoch() {
        let runs = Runs::of([
            place(1, 3),
            place(1, 4),
            place(1, 6),
            place(2, 7),
            place(2, 8),
        ]);
        assert_eq!(runs.to_json(), json!([[1, 3, 4], [1, 6, 6], [2, 7, 8]]));
        assert_eq!(runs.count(), Some(5));
        assert_eq!(Runs::parse(&runs.to_json()), Some(runs.clone()));
        for (epoch, index, inside) in [
            (1, 2, false),
            (1, 3, true),
            (1, 4, true),
            (1, 5, false),
            (1, 6, true),
            (1, 7, false),
            (2, 6, false),
            (2, 8, true),
            (2, 9, false),
            (3, 7, false),
        ] {
            assert_eq!(
                runs.contains(place(epoch, index)),
                inside,
                "{epoch}, {index}"
            );
        }
    }

    #[test]
    fn runs_out_of_order_are_none() {
        for broken in [
            json!([[1, 4, 3]]),
            json!([[1, 3, 5], [1, 5, 6]]),
            json!([[2, 0, 0], [1, 0, 0]]),
            json!([[1, 0]]),
            json!([[1, -1, 0]]),
            json!([1, 0, 0]),
            json!({}),
        ] {
            assert_eq!(Runs::parse(&broken), None, "{broken}");
        }
        let most = Runs::parse(&json!([[1, 0, u64::MAX]]));
        assert_eq!(most.map(|runs| runs.count()), Some(None));
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
