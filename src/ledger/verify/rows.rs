//! Rows against the index that they are read along: one that the primary key does not lead to would be seen by queries alone.
//!
//! Each row's place is tallied once from the index and once from the table's own blocks; the tallies of a partition cancel each
//! other out unless a row is hidden. Only then are the places compared one by one.

use super::events::{Work, describe};
use super::job::Job;
use super::report::{Check, Finding, Report};
use crate::ledger::events::Partition;
use crate::ledger::leaf::at;
use crate::pg::index_scan::Place;
use serde::{Deserialize, Serialize};

/// Blocks that are read at once: 64 MB.
const BLOCKS: u32 = 8192;

/// Blocks of a partition.
#[derive(Clone, Serialize, Deserialize)]
pub struct Piece {
    partition: u32,
    from: u32,
    to: u32,
}

/// What the rows of a partition sum up to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tally {
    rows: i64,
    sum: u64,
}

impl Tally {
    /// Counts a row; the key is the verification's own, so that nobody can choose places that cancel each other out.
    pub fn add(&mut self, place: Place, key: u64) {
        // The finalizer of SplitMix64.
        let mut mixed = place.number() ^ key;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(mixed ^ (mixed >> 31));
    }

    pub fn plus(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn negative(self) -> Self {
        Self {
            rows: -self.rows,
            sum: self.sum.wrapping_neg(),
        }
    }
}

/// All blocks of the partitions, cut into pieces.
pub fn pieces(partitions: &[Partition]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for partition in partitions {
        let blocks = partition.table.blocks();
        for from in (0..blocks).step_by(BLOCKS as usize) {
            pieces.push(Piece {
                partition: partition.table.oid().to_u32(),
                from,
                to: from.saturating_add(BLOCKS).min(blocks),
            });
        }
    }
    pieces
}

/// Tallies the rows in these blocks.
pub fn tally(piece: &Piece, key: u64, work: &Work, report: &mut Report) {
    let is = |partition: &&Partition| partition.table.oid().to_u32() == piece.partition;
    let Some(partition) = work.events.partitions().iter().find(is) else {
        return;
    };
    let blocks = piece.from..piece.to;
    let mut scan = partition.table.heap_scan(&work.snapshot, blocks);
    let mut tally = Tally::default();
    while let Some(place) = scan.next() {
        tally.add(place, key);
    }
    report.tally(piece.partition, tally);
}

/// Names the rows of the partitions whose tallies differ.
pub fn find_hidden(job: &Job, work: &Work, report: &mut Report) {
    if job.pieces.is_empty() {
        return;
    }
    for partition in work.events.partitions() {
        if report.is_even(partition.table.oid().to_u32()) {
            continue;
        }
        let mut led_to = Vec::new();
        let mut scan = partition.scan(&work.snapshot, i64::MIN, i64::MAX);
        while scan.next(|_| ()).is_some() {
            led_to.push(scan.place().number());
        }
        drop(scan);
        let doubles = led_to.len();
        led_to.sort_unstable();
        led_to.dedup();
        let mut wrong = |event_id, detail| {
            report.add(Finding {
                check: Check::ForgedEvent,
                epoch: None,
                event_id,
                leaf_index: None,
                detail,
            });
        };
        if led_to.len() != doubles {
            let detail = "the primary key of a partition leads to one of its rows twice";
            wrong(None, detail.to_owned());
        }
        let blocks = 0..partition.table.blocks();
        let mut scan = partition.table.heap_scan(&work.snapshot, blocks);
        while let Some(place) = scan.next() {
            if led_to.binary_search(&place.number()).is_err() {
                scan.row(|row| {
                    let detail = format!(
                        "the primary key of its partition does not lead to this row; {}",
                        describe(&row)
                    );
                    wrong(row.int8(at::EVENT_ID), detail);
                });
            }
        }
    }
}
