//! Declarations: which events were pruned, cleared or erased (`docs/log-format.md`, section 11).

mod runs;

pub use runs::{Place, Run, Runs};

use crate::hash::Hash;
use crate::text;
use crate::tree::Frontier;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// What a declaration says of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They are gone: `prune` and `clear`.
    Pruned,
    /// Their payload and salt are gone: `erase`.
    Erased,
}

/// The actions that declare.
pub const ACTIONS: [&str; 3] = ["prune", "clear", "erase"];

impl Kind {
    /// Of an event's operation and action; None of one that declares nothing.
    pub fn of(operation: &[u8], action: Option<&[u8]>) -> Option<Self> {
        match (operation, action?) {
            (b"system", b"prune" | b"clear") => Some(Self::Pruned),
            (b"system", b"erase") => Some(Self::Erased),
            _ => None,
        }
    }
}

/// What a declaring event's context says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The declared leaves.
    pub runs: Runs,
    /// How many they are.
    pub count: u64,
    /// The root over their hashes.
    pub root: Hash,
}

/// What is read of a context. What else it says is the session's, and may be what no number or object of ours can hold.
#[derive(Deserialize)]
struct Said {
    leaves: Json,
    count: Json,
    root: Json,
}

impl Declaration {
    /// Reads an event's context; None where it does not say what a declaration must.
    pub fn parse(context: &[u8]) -> Option<Self> {
        let said: Said = serde_json::from_slice(context).ok()?;
        Some(Self {
            runs: Runs::parse(&said.leaves)?,
            count: said.count.as_u64()?,
            root: text::hash(said.root.as_str()?)?,
        })
    }

    /// The three members of a declaring event's context.
    pub fn members(&self) -> Map<String, Json> {
        let mut said = Map::new();
        said.insert("leaves".into(), self.runs.to_json());
        said.insert("count".into(), self.count.into());
        said.insert("root".into(), text::to_base64(&self.root).into());
        said
    }

    /// Why it does not count, if it does not. `own` is the leaf of the declaring event, None while that is not sealed; `size` tells
    /// how many leaves an epoch has, `hash` what the log has as a leaf's hash.
    ///
    /// # Errors
    /// Those of `hash`.
    pub fn check<E>(
        &self,
        own: Option<Place>,
        size: impl Fn(i32) -> u64,
        mut hash: impl FnMut(Place) -> Result<Option<Hash>, E>,
    ) -> Result<Option<&'static str>, E> {
        // First, so that what follows is no longer than the log, whatever the runs say.
        for run in self.runs.iter() {
            let end = match own {
                Some(own) if own.epoch == run.epoch => own.index,
                Some(own) if own.epoch < run.epoch => 0,
                _ => size(run.epoch),
            };
            if run.last >= end {
                return Ok(Some("it names leaves that were not there before it"));
            }
        }
        if self.runs.count() != Some(self.count) {
            return Ok(Some("its count is not that of its leaves"));
        }
        let mut frontier = Frontier::new();
        for place in self.runs.places() {
            match hash(place)? {
                Some(hash) => frontier.push(hash),
                None => return Ok(Some("a leaf that it names is gone")),
            }
        }
        let fits = frontier.root() == self.root;
        Ok((!fits).then_some("its root is not that of the leaves it names"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Declaration, Kind, Place, Runs};
    use crate::Hash;
    use crate::hash::{leaf_hash, node_hash};
    use serde_json::{Value as Json, json};
    use std::convert::Infallible;

    fn hash(place: Place) -> Hash {
        leaf_hash(&[
            u8::try_from(place.epoch).unwrap(),
            u8::try_from(place.index).unwrap(),
        ])
    }

    fn place(epoch: i32, index: u64) -> Place {
        Place { epoch, index }
    }

    /// Two epochs of ten leaves each.
    fn wrong(said: &Json, own: Option<Place>) -> Option<&'static str> {
        let declaration = Declaration::parse(said.to_string().as_bytes()).unwrap();
        let size = |epoch| if (1..=2).contains(&epoch) { 10 } else { 0 };
        let Ok(wrong) = declaration.check(own, size, |at| Ok::<_, Infallible>(Some(hash(at))));
        wrong
    }

    fn root(places: &[Place]) -> String {
        let root = match *places {
            [a] => hash(a),
            [a, b] => node_hash(&hash(a), &hash(b)),
            [a, b, c] => node_hash(&node_hash(&hash(a), &hash(b)), &hash(c)),
            _ => unreachable!(),
        };
        crate::text::to_base64(&root)
    }

    #[test]
    fn a_declaration_counts_that_says_what_the_log_has() {
        let root = root(&[place(1, 3), place(1, 4), place(2, 0)]);
        let said =
            json!({"leaves": [[1, 3, 4], [2, 0, 0]], "count": 3, "root": root, "policy": "p"});
        assert_eq!(wrong(&said, Some(place(2, 7))), None);
        assert_eq!(wrong(&said, None), None);
        let back = Declaration::parse(said.to_string().as_bytes()).unwrap();
        assert_eq!(Json::Object(back.members())["root"], said["root"]);
    }

    #[test]
    fn a_declaration_that_says_anything_else_does_not_count() {
        let of = |leaves: Json, count: u64, places: &[Place]| json!({"leaves": leaves, "count": count, "root": root(places)});
        let own = Some(place(2, 7));
        let two = [place(1, 3), place(1, 4)];
        assert_eq!(wrong(&of(json!([[1, 3, 4]]), 2, &two), own), None);
        for (said, why) in [
            (of(json!([[1, 3, 4]]), 3, &two), "count"),
            (of(json!([[1, 3, 5]]), 3, &two), "root"),
            (of(json!([[1, 4, 5]]), 2, &two), "root"),
            (of(json!([[2, 7, 7]]), 1, &[place(2, 7)]), "before it"),
            (of(json!([[3, 0, 0]]), 1, &[place(2, 0)]), "before it"),
            (of(json!([[1, 10, 10]]), 1, &[place(1, 10)]), "before it"),
            (of(json!([[1, 0, u64::MAX]]), 1, &two), "before it"),
        ] {
            assert!(
                wrong(&said, own).is_some_and(|told| told.contains(why)),
                "{said}"
            );
        }
        // Of an epoch to come, though it is there now.
        assert!(
            wrong(
                &of(json!([[2, 0, 0]]), 1, &[place(2, 0)]),
                Some(place(1, 9))
            )
            .is_some()
        );
    }

    #[test]
    fn what_is_no_declaration_is_not_read_as_one() {
        for said in [
            "",
            "[]",
            "{}",
            r#"{"leaves":[[1,0,0]],"count":1}"#,
            r#"{"leaves":[[1,0,0]],"count":1,"root":"AA=="}"#,
            r#"{"leaves":[[1,0,0]],"count":-1,"root":"eyutgcQ0xzTP3/y52x9zaUT0izau+A+rTPsqImvUzF8="}"#,
            r#"{"leaves":[[1,1,0]],"count":0,"root":"eyutgcQ0xzTP3/y52x9zaUT0izau+A+rTPsqImvUzF8="}"#,
        ] {
            assert_eq!(Declaration::parse(said.as_bytes()), None, "{said}");
        }
        assert_eq!(Kind::of(b"system", Some(b"prune")), Some(Kind::Pruned));
        assert_eq!(Kind::of(b"system", Some(b"erase")), Some(Kind::Erased));
        for (operation, action) in [
            (&b"event"[..], Some(&b"prune"[..])),
            (b"system", Some(b"archive")),
            (b"system", None),
        ] {
            assert_eq!(Kind::of(operation, action), None);
        }
    }

    #[test]
    fn a_union_has_the_leaves_of_all() {
        let runs = |json: Json| Runs::parse(&json).unwrap();
        let union = Runs::union([
            &runs(json!([[1, 5, 9], [2, 0, 3]])),
            &runs(json!([[1, 0, 1], [1, 7, 12], [2, 4, 4]])),
            &runs(json!([[1, 8, 8]])),
        ]);
        assert_eq!(union.to_json(), json!([[1, 0, 1], [1, 5, 12], [2, 0, 4]]));
    }

    #[test]
    fn what_a_session_says_beside_a_declaration_is_passed_over() {
        let declaration = Declaration {
            runs: Runs::of([Place { epoch: 1, index: 7 }]),
            count: 1,
            root: [3; 32],
        };
        for beside in [
            r#""n": 1e400"#,
            r#""x": {"$serde_json::private::Number": "abc", "a key that is longer": 1}"#,
        ] {
            let mut context = Json::Object(declaration.members()).to_string();
            context.insert_str(1, &format!("{beside}, "));
            assert_eq!(
                Declaration::parse(context.as_bytes()).as_ref(),
                Some(&declaration)
            );
        }
    }
}
