//! Sets of leaves, as runs of their indexes.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// A leaf of some epoch: what declarations are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The epoch's number.
    pub epoch: i32,
    /// The leaf's index in its tree.
    pub index: u64,
}

/// Leaves that follow each other; `last` is one of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The epoch's number.
    pub epoch: i32,
    /// The first leaf's index.
    pub first: u64,
    /// The last leaf's index.
    pub last: u64,
}

/// A set of leaves, as ascending runs that neither overlap nor touch.
#[derive(Default, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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

    /// As a declaration has them.
    pub fn to_json(&self) -> Json {
        let runs = self.0.iter();
        runs.map(|run| json!([run.epoch, run.first, run.last]))
            .collect()
    }

    /// The runs.
    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter()
    }

    /// How many leaves it has; None when there are more than numbers.
    pub fn count(&self) -> Option<u64> {
        self.0.iter().try_fold(0u64, |count, run| {
            (run.last - run.first).checked_add(1)?.checked_add(count)
        })
    }

    /// Whether this leaf is one of them.
    pub fn contains(&self, place: Place) -> bool {
        let behind = self
            .0
            .partition_point(|run| (run.epoch, run.first) <= (place.epoch, place.index));
        behind > 0 && {
            let run = self.0[behind - 1];
            run.epoch == place.epoch && place.index <= run.last
        }
    }

    /// Its leaves, one by one.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.0.iter().flat_map(|run| {
            let epoch = run.epoch;
            (run.first..=run.last).map(move |index| Place { epoch, index })
        })
    }

    /// The leaves that are in any of these.
    pub fn union<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sorted: Vec<Run> = all
            .into_iter()
            .flat_map(|runs| runs.0.iter().copied())
            .collect();
        sorted.sort_unstable();
        let mut union: Vec<Run> = Vec::new();
        for next in sorted {
            match union.last_mut() {
                Some(run)
                    if run.epoch == next.epoch && next.first <= run.last.saturating_add(1) =>
                {
                    run.last = run.last.max(next.last);
                }
                _ => union.push(next),
            }
        }
        Self(union)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Runs};
    use serde_json::json;

    fn place(epoch: i32, index: u64) -> Place {
        Place { epoch, index }
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
}
