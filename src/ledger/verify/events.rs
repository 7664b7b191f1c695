//! Events against leaves: each row hashed anew, each leaf looked for.
//!
//! The work is cut by event ids, not by leaves: a part is the rows of a range of ids and the leaves of the same ids. So each row
//! and each leaf belongs to exactly one part, whatever order they stand in, and parts can be verified side by side.

use super::report::{Check, Finding, Report};
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Epoch};
use crate::ledger::events::Events;
use crate::ledger::incarnation::Incarnation;
use crate::ledger::leaf::{Leaf, LeafMaker, at};
use crate::ledger::tree::Tree;
use crate::pg::columns::Fields;
use crate::pg::snapshot::{Snapshot, XidSet, next_xid};
use attest_log::Hash;
use attest_log::tile::WIDTH;
use serde::{Deserialize, Serialize};

/// Tiles of 256 leaves per part: 16,384 leaves, about 30 ms of work.
const TILES_PER_PART: usize = 64;

/// What is to be verified.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    pub parts: Vec<Part>,
    expected: Expected,
    /// Leaves of the last epoch before this one are not hashed.
    since: Option<(i32, u64)>,
}

/// A range of event ids, both ends included, and the tiles that may hold leaves of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Part {
    pub from: i64,
    pub to: i64,
    tiles: Vec<(i32, u64)>,
}

/// Which rows must have a leaf.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Expected {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
    /// In another incarnation, the ids that were handed out before it; transaction ids say nothing of later ones.
    up_to: Option<i64>,
    /// The next transaction id, where ids are still those of the last seal.
    next_xid: Option<u64>,
}

/// What of a log is to be verified.
#[derive(Clone, Copy, Default)]
pub struct Scope {
    pub from_event: Option<i64>,
    pub to_event: Option<i64>,
    /// Leaves from this tree size of the last epoch on.
    pub since: Option<u64>,
}

impl Job {
    /// Cuts the log into parts.
    pub fn new(
        snapshot: &Snapshot,
        epochs: &[Epoch],
        last: Option<&Checkpoint>,
        scope: Scope,
    ) -> Result<Self> {
        let mut tiles = Vec::new();
        for epoch in epochs {
            Tree::open(epoch.epoch, snapshot)?.each_bounds(|index, lowest, highest| {
                tiles.push((lowest, highest, epoch.epoch, index));
            });
        }
        tiles.sort_unstable();
        let mut starts: Vec<i64> = tiles
            .iter()
            .step_by(TILES_PER_PART)
            .skip(1)
            .map(|tile| tile.0)
            .collect();
        starts.dedup();
        let lowest = scope.from_event.unwrap_or(i64::MIN);
        // i64::MAX itself is beyond what a sequence hands out.
        let highest = scope.to_event.unwrap_or(i64::MAX - 1);
        starts.retain(|start| (lowest..=highest).contains(start) && *start > lowest);
        let since = scope
            .since
            .zip(epochs.last())
            .map(|(size, epoch)| (epoch.epoch, size));
        let mut parts = Vec::new();
        let mut from = lowest;
        for to in starts.iter().map(|start| start - 1).chain([highest]) {
            parts.push(Part {
                from,
                to,
                tiles: Vec::new(),
            });
            from = to.saturating_add(1);
        }
        for (lowest, highest, epoch, index) in tiles {
            let first = parts.partition_point(|part| part.to < lowest);
            for part in parts[first..]
                .iter_mut()
                .take_while(|part| part.from <= highest)
            {
                part.tiles.push((epoch, index));
            }
        }
        if let Some((epoch, size)) = since {
            let first = size / u64::from(WIDTH);
            let last = parts.len().saturating_sub(1);
            let mut position = 0;
            // Rows behind the last tile may be of leaves of the edge, or forged.
            parts.retain(|part| {
                position += 1;
                position > last || part.tiles.iter().any(|tile| *tile >= (epoch, first))
            });
        }
        Ok(Self {
            parts,
            expected: Expected::of(snapshot, epochs, last)?,
            since,
        })
    }

    /// Verifies one part.
    pub fn verify(&self, part: &Part, work: &mut Work<'_>, report: &mut Report) -> Result<()> {
        let mut leaves = work.leaves(part, self.since)?;
        leaves.sort_unstable_by_key(|leaf| leaf.event_id);
        for pair in leaves.windows(2) {
            if let [a, b] = pair
                && a.event_id == b.event_id
            {
                report.add(b.finding(
                    Check::TwoTrees,
                    format!("it has a leaf in epoch {} at {} too", a.epoch, a.index),
                ));
            }
        }
        let Work {
            snapshot,
            events,
            maker,
        } = work;
        let mut next = 0;
        let mut last_id = i64::MIN;
        events.each(snapshot, part.from, part.to.saturating_add(1), |row| {
            let event_id = row.int8(at::EVENT_ID).unwrap_or_default();
            if event_id < last_id {
                // The next partition.
                next = 0;
            }
            last_id = event_id;
            while leaves
                .get(next)
                .is_some_and(|leaf| leaf.event_id < event_id)
            {
                next += 1;
            }
            match leaves
                .get_mut(next)
                .filter(|leaf| leaf.event_id == event_id)
            {
                Some(expected) => compare(row, expected, maker, report),
                None => self.without_leaf(row, event_id, maker, report),
            }
            Ok(())
        })?;
        for leaf in leaves.iter().filter(|leaf| !leaf.seen && leaf.in_scope) {
            report.add(leaf.finding(
                Check::MissingEvent,
                "the event was sealed, and its row is gone".to_owned(),
            ));
        }
        Ok(())
    }

    fn without_leaf(
        &self,
        row: &Fields<'_>,
        event_id: i64,
        maker: &mut LeafMaker,
        report: &mut Report,
    ) {
        let xact_id = row.int8(at::XACT_ID).unwrap_or_default().cast_unsigned();
        let expected = &self.expected;
        let sealed = XidSet {
            xmin: expected.xmin,
            xmax: expected.xmax,
            in_progress: Vec::new(),
        };
        let was_sealed = sealed.has_ended(xact_id)
            && expected.in_progress.binary_search(&xact_id).is_err()
            && expected.up_to.is_none_or(|up_to| event_id <= up_to);
        let why = if was_sealed {
            Some(
                "it stands in no tree, although its transaction had ended when the last seal was made",
            )
        } else if expected.next_xid.is_some_and(|next| xact_id >= next) {
            Some("its transaction id has not been given to any transaction yet")
        } else {
            None
        };
        report.events += 1;
        if let Some(why) = why {
            report.add(Finding {
                check: Check::ForgedEvent,
                epoch: None,
                event_id: Some(event_id),
                leaf_index: None,
                detail: format!("{why}; {}", describe(row)),
            });
        } else {
            report.unsealed += 1;
            if let Some(error) = maker.leaf(row).malformed {
                report.add(malformed(event_id, None, None, &error.to_string(), row));
            }
        }
    }
}

impl Expected {
    fn of(snapshot: &Snapshot, epochs: &[Epoch], last: Option<&Checkpoint>) -> Result<Self> {
        let Some((last, epoch)) = last.zip(epochs.last()) else {
            return Ok(Self::default());
        };
        // A standby is the incarnation that its primary is.
        let current = Incarnation::current(snapshot)?;
        let goes_on = match (current, epoch.incarnation) {
            (Some(current), Some(known)) => current.continues(&known),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let ended = &last.horizon.ended;
        Ok(Self {
            xmin: ended.xmin,
            xmax: ended.xmax,
            in_progress: ended.in_progress.clone(),
            up_to: (!goes_on).then_some(last.horizon.last_event_id),
            next_xid: (goes_on && current.is_some()).then(next_xid),
        })
    }
}

/// A leaf that a row is wanted for.
struct Wanted {
    event_id: i64,
    epoch: i32,
    index: u64,
    hash: Hash,
    seen: bool,
    /// False for one that stands before `since`.
    in_scope: bool,
}

impl Wanted {
    fn finding(&self, check: Check, detail: String) -> Finding {
        Finding {
            check,
            epoch: Some(self.epoch),
            event_id: Some(self.event_id),
            leaf_index: Some(self.index),
            detail,
        }
    }
}

/// What a process needs to verify parts.
pub struct Work<'a> {
    pub snapshot: &'a Snapshot,
    pub events: Events,
    pub maker: LeafMaker,
}

impl Work<'_> {
    /// The leaves of a part's event ids.
    fn leaves(&self, part: &Part, since: Option<(i32, u64)>) -> Result<Vec<Wanted>> {
        let mut found = Vec::new();
        let mut add = |epoch: i32, first: u64, hashes: &[Hash], ids: &[i64]| {
            for ((event_id, hash), index) in ids.iter().zip(hashes).zip(first..) {
                if (part.from..=part.to).contains(event_id) {
                    found.push(Wanted {
                        event_id: *event_id,
                        epoch,
                        index,
                        hash: *hash,
                        seen: false,
                        in_scope: since.is_none_or(|since| (epoch, index) >= since),
                    });
                }
            }
        };
        let mut open: Option<(i32, Tree<'_>)> = None;
        for (epoch, index) in &part.tiles {
            if open.as_ref().is_none_or(|(number, _)| number != epoch) {
                open = Some((*epoch, Tree::open(*epoch, self.snapshot)?));
            }
            if let Some((_, tree)) = &open
                && let Some(tile) = tree.full_tile(0, *index)?
            {
                add(
                    *epoch,
                    index * u64::from(WIDTH),
                    &tile.hashes,
                    &tile.event_ids,
                );
            }
        }
        for epoch in Epoch::all(self.snapshot)? {
            Tree::open(epoch.epoch, self.snapshot)?
                .each_edge_row(|row| add(epoch.epoch, row.first, &row.hashes, &row.event_ids));
        }
        Ok(found)
    }
}

fn compare(row: &Fields<'_>, expected: &mut Wanted, maker: &mut LeafMaker, report: &mut Report) {
    if expected.seen {
        report.events += 1;
        report.add(expected.finding(
            Check::ForgedEvent,
            format!("a second row has the id of this event; {}", describe(row)),
        ));
        return;
    }
    expected.seen = true;
    if !expected.in_scope {
        return;
    }
    report.events += 1;
    let Leaf {
        data,
        malformed: error,
    } = maker.leaf(row);
    if data.hash() != expected.hash {
        report.add(expected.finding(
            Check::AlteredEvent,
            format!("the row is not what was sealed; {}", describe(row)),
        ));
    } else if let Some(error) = error {
        report.add(malformed(
            expected.event_id,
            Some(expected.epoch),
            Some(expected.index),
            &error.to_string(),
            row,
        ));
    }
}

fn malformed(
    event_id: i64,
    epoch: Option<i32>,
    leaf_index: Option<u64>,
    error: &str,
    row: &Fields<'_>,
) -> Finding {
    Finding {
        check: Check::MalformedEvent,
        epoch,
        event_id: Some(event_id),
        leaf_index,
        detail: format!(
            "pg_attest did not write this row: {error}; {}",
            describe(row)
        ),
    }
}

/// What a row says now of the row it is about: where an investigator looks next.
fn describe(row: &Fields<'_>) -> String {
    let text = |number: usize| row.bytes(number).map(String::from_utf8_lossy);
    let table = match (text(at::SCHEMA_NAME), text(at::TABLE_NAME)) {
        (Some(schema), Some(table)) => format!(" table {schema}.{table},"),
        _ => String::new(),
    };
    let key = text(at::ROW_KEY).map_or_else(String::new, |key| format!(" row {key},"));
    let by = text(at::SESSION_USER_NAME).unwrap_or_default();
    let xact_id = row.int8(at::XACT_ID).unwrap_or_default();
    format!("the row says:{table}{key} by {by}, transaction {xact_id}")
}
