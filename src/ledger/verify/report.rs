//! What verification found.

use super::rows::Tally;
pub use attest_log::finding::{Check, LISTED};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub check: Check,
    pub epoch: Option<i32>,
    pub event_id: Option<i64>,
    pub leaf_index: Option<u64>,
    pub detail: String,
}

/// All that was found, and how much was looked at.
#[derive(Default, Debug, Serialize, Deserialize)]
pub struct Report {
    pub events: u64,
    pub unsealed: u64,
    /// Events that are gone as declared.
    pub pruned: u64,
    /// Events whose payload is gone as declared.
    pub erased: u64,
    /// Declarations that count, and how many of them are not sealed yet.
    pub declarations: u64,
    pub unsealed_declarations: u64,
    pub leaves: u64,
    pub tiles: u64,
    pub checkpoints: u64,
    pub signatures: u64,
    pub findings: Vec<Finding>,
    counts: BTreeMap<Check, u64>,
    /// By epoch, the first leaf that something is wrong with, listed or not.
    first_bad: BTreeMap<i32, u64>,
    /// By partition, its rows in its blocks less those in its index.
    tallies: BTreeMap<u32, Tally>,
}

impl Report {
    pub fn add(&mut self, finding: Finding) {
        if let (Some(epoch), Some(leaf)) = (finding.epoch, finding.leaf_index) {
            self.is_bad(epoch, leaf);
        }
        let count = self.counts.entry(finding.check).or_default();
        *count += 1;
        if *count <= LISTED {
            self.findings.push(finding);
        }
    }

    fn is_bad(&mut self, epoch: i32, leaf: u64) {
        let first = self.first_bad.entry(epoch).or_insert(leaf);
        *first = leaf.min(*first);
    }

    /// Adds to a partition's tally.
    pub fn tally(&mut self, partition: u32, tally: Tally) {
        self.tallies.entry(partition).or_default().plus(tally);
    }

    /// Whether a partition has as many rows in its blocks as in its index.
    pub fn is_even(&self, partition: u32) -> bool {
        let tally = self.tallies.get(&partition).copied();
        tally.unwrap_or_default() == Tally::default()
    }

    /// Takes over what another part of the same verification found.
    pub fn merge(&mut self, other: Self) {
        self.events += other.events;
        self.unsealed += other.unsealed;
        self.pruned += other.pruned;
        self.erased += other.erased;
        self.declarations += other.declarations;
        self.unsealed_declarations += other.unsealed_declarations;
        self.leaves += other.leaves;
        self.tiles += other.tiles;
        self.checkpoints += other.checkpoints;
        self.signatures += other.signatures;
        for (check, count) in other.counts {
            *self.counts.entry(check).or_default() += count;
        }
        for (epoch, leaf) in other.first_bad {
            self.is_bad(epoch, leaf);
        }
        self.findings.extend(other.findings);
        for (partition, tally) in other.tallies {
            self.tally(partition, tally);
        }
    }

    /// What is worth knowing of the events and is no finding; empty where nothing is.
    pub fn said_of_events(&self) -> String {
        let mut said = Vec::new();
        let mut count = |count: u64, what: &str| {
            if count > 0 {
                said.push(format!("{count} {what}"));
            }
        };
        count(self.pruned, "more pruned as declared");
        count(self.erased, "of them erased as declared");
        count(self.unsealed, "of them not sealed yet");
        if self.unsealed_declarations > 0 {
            said.push(format!(
                "declarations not sealed yet: {}",
                self.unsealed_declarations
            ));
        }
        said.join(", ")
    }

    /// The findings in the order of their leaves, as many as are listed.
    pub fn sort(&mut self) {
        self.findings
            .sort_by_key(|f| (f.epoch, f.leaf_index, f.event_id, f.check));
        let mut listed: BTreeMap<Check, u64> = BTreeMap::new();
        self.findings.retain(|finding| {
            let count = listed.entry(finding.check).or_default();
            *count += 1;
            *count <= LISTED
        });
    }

    /// How many findings of these kinds there are.
    pub fn count(&self, checks: &[Check]) -> u64 {
        checks
            .iter()
            .filter_map(|check| self.counts.get(check))
            .sum()
    }

    /// How many findings are counted but not listed.
    pub fn unlisted(&self) -> Vec<(Check, u64)> {
        let over = |(check, count): (&Check, &u64)| {
            count
                .checked_sub(LISTED)
                .filter(|n| *n > 0)
                .map(|n| (*check, n))
        };
        self.counts.iter().filter_map(over).collect()
    }

    /// The first leaf that something is wrong with, in an epoch: what lies before it is good.
    pub fn first_bad_leaf(&self, epoch: i32) -> Option<u64> {
        self.first_bad.get(&epoch).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_leaf_of_an_epoch_need_not_be_listed() {
        let altered = |epoch, leaf_index| Finding {
            check: Check::AlteredEvent,
            epoch: Some(epoch),
            event_id: None,
            leaf_index: Some(leaf_index),
            detail: String::new(),
        };
        let mut report = Report::default();
        for leaf in (5..5 + LISTED).chain([3]) {
            report.add(altered(1, leaf));
        }
        let mut other = Report::default();
        for leaf in (20..20 + LISTED).chain([2]) {
            other.add(altered(1, leaf));
        }
        other.add(altered(2, 7));
        report.merge(other);
        report.sort();
        assert_eq!(report.first_bad_leaf(1), Some(2));
        assert_eq!(report.first_bad_leaf(2), Some(7));
        assert_eq!(report.first_bad_leaf(3), None);
        assert_eq!(report.unlisted(), [(Check::AlteredEvent, LISTED + 3)]);
    }
}
