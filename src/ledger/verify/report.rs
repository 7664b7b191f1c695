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
    /// By partition, its rows in its blocks less those in its index.
    tallies: BTreeMap<u32, Tally>,
}

impl Report {
    pub fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.check).or_default();
        *count += 1;
        if *count <= LISTED {
            self.findings.push(finding);
        }
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
        let of_epoch = self.findings.iter().filter(|f| f.epoch == Some(epoch));
        of_epoch.filter_map(|f| f.leaf_index).min()
    }
}
