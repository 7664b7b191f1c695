//! Events against leaves: each row hashed anew, each leaf looked for.

use super::job::{Job, Part};
use super::report::{Check, Finding, Report};
use super::rows::{self, Tally};
use crate::error::Result;
use crate::ledger::events::{Events, Partition};
use crate::ledger::leaf::{Leaf, LeafMaker, at};
use crate::ledger::tree::Tree;
use crate::pg::columns::Fields;
use crate::pg::snapshot::Snapshot;
use attest_log::Hash;
use attest_log::declaration::Place;
use attest_log::tile::WIDTH;

impl Job {
    /// How many parts and pieces there are.
    pub fn count(&self) -> usize {
        self.pieces.len() + self.parts.len()
    }

    /// Does one of them.
    pub fn verify(&self, number: usize, work: &mut Work, report: &mut Report) -> Result<()> {
        let before = self.pieces_before(number);
        if self.pieces_before(number + 1) > before {
            rows::tally(&self.pieces[before], self.key, work, report);
            Ok(())
        } else {
            self.verify_part(&self.parts[number - before], work, report)
        }
    }

    /// How many pieces are among the first so many of them. They are spread evenly, each behind its share of the parts: rows
    /// mostly lie in the order of their ids, so a piece's blocks are in memory from its parts, and the log is read once.
    fn pieces_before(&self, number: usize) -> usize {
        number * self.pieces.len() / self.count()
    }

    fn verify_part(&self, part: &Part, work: &mut Work, report: &mut Report) -> Result<()> {
        let mut leaves = work.leaves(part, self)?;
        leaves.sort_unstable_by_key(|leaf| (leaf.event_id, leaf.epoch, leaf.index));
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
        // Its row is compared with the first one: it is not gone.
        leaves.dedup_by_key(|leaf| leaf.event_id);
        let Work {
            snapshot,
            events,
            maker,
        } = work;
        for partition in events.partitions() {
            let mut scan = partition.scan(snapshot, part.from, part.to);
            let mut tally = Tally::default();
            let mut next = 0;
            let mut visit = |row: Fields<'_>| {
                let event_id = row.int8(at::EVENT_ID).unwrap_or_default();
                let is_before = |leaf: &Wanted| leaf.event_id < event_id;
                while leaves.get(next).is_some_and(is_before) {
                    next += 1;
                }
                let leaf = leaves.get_mut(next);
                match leaf.filter(|leaf| leaf.event_id == event_id) {
                    Some(expected) => self.compare(&row, expected, partition, maker, report),
                    None => self.without_leaf(&row, event_id, partition, maker, report),
                }
            };
            while scan.next(&mut visit).is_some() {
                tally.add(scan.place(), self.key);
            }
            drop(scan);
            report.tally(partition.table.oid().to_u32(), tally.negative());
        }
        for leaf in leaves.iter().filter(|leaf| !leaf.seen && leaf.in_scope) {
            if self.covers.pruned.contains(leaf.place()) {
                report.pruned += 1;
                continue;
            }
            report.add(leaf.finding(
                Check::MissingEvent,
                "the event was sealed, its row is gone, and nothing that was declared covers it"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn without_leaf(
        &self,
        row: &Fields<'_>,
        event_id: i64,
        partition: &Partition,
        maker: &mut LeafMaker,
        report: &mut Report,
    ) {
        let xact_id = row.int8(at::XACT_ID).unwrap_or_default().cast_unsigned();
        let why = self.expected.why_forged(event_id, xact_id);
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
            check_place(row, event_id, None, partition, report);
            if let Some(error) = maker.leaf(row).malformed {
                report.add(malformed(event_id, None, None, &error.to_string(), row));
            }
        }
    }

    fn compare(
        &self,
        row: &Fields<'_>,
        expected: &mut Wanted,
        partition: &Partition,
        maker: &mut LeafMaker,
        report: &mut Report,
    ) {
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
        let leaf = (expected.epoch, expected.index);
        check_place(row, expected.event_id, Some(leaf), partition, report);
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
        } else if row.bytes(at::PAYLOAD_HASH).is_some() {
            if self.covers.erased.contains(expected.place()) {
                report.erased += 1;
            } else {
                report.add(expected.finding(
                    Check::AlteredEvent,
                    format!(
                        "its payload and salt were removed, and no erasure of it was declared; {}",
                        describe(row)
                    ),
                ));
            }
        }
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
    fn place(&self) -> Place {
        Place {
            epoch: self.epoch,
            index: self.index,
        }
    }

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
pub struct Work {
    pub snapshot: Snapshot,
    pub events: Events,
    pub maker: LeafMaker,
}

impl Work {
    /// Opens the log.
    pub fn open() -> Result<Self> {
        // In this order: see there.
        let events = Events::open()?;
        Ok(Self::with(Snapshot::latest(), events))
    }

    /// With a snapshot that was taken before, when the partitions were locked.
    pub fn with(snapshot: Snapshot, events: Events) -> Self {
        Self {
            snapshot,
            events,
            maker: LeafMaker::new(),
        }
    }

    /// The leaves of a part's event ids.
    fn leaves(&self, part: &Part, job: &Job) -> Result<Vec<Wanted>> {
        let since = job.since;
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
                open = Some((*epoch, Tree::open(*epoch, &self.snapshot)?));
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
        for (epoch, first) in &job.edges {
            let edge = Tree::open(*epoch, &self.snapshot)?.edge(*first);
            add(*epoch, *first, &edge.hashes, &edge.event_ids);
        }
        Ok(found)
    }
}

/// Whether queries for the row's time find it.
fn check_place(
    row: &Fields<'_>,
    event_id: i64,
    leaf: Option<(i32, u64)>,
    partition: &Partition,
    report: &mut Report,
) {
    let occurred_at = row.int8(at::OCCURRED_AT).unwrap_or_default();
    if !partition.is_for(occurred_at) {
        report.add(Finding {
            check: Check::AlteredEvent,
            epoch: leaf.map(|leaf| leaf.0),
            event_id: Some(event_id),
            leaf_index: leaf.map(|leaf| leaf.1),
            detail: format!(
                "the row lies in the partition of another time, where queries by its time miss it; {}",
                describe(row)
            ),
        });
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
pub fn describe(row: &Fields<'_>) -> String {
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
