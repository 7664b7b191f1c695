//! What verification found.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What can be found; its name is the result's `check_name`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Check {
    /// The row is not what was sealed.
    AlteredEvent,
    /// The leaf's row is gone.
    MissingEvent,
    /// The row stands in no tree although its transaction was sealed, or stands there twice.
    ForgedEvent,
    /// The row is not one that `pg_attest` wrote.
    MalformedEvent,
    /// Hashes that do not fit those above or below them, or that are gone.
    AlteredTile,
    /// A checkpoint that does not fit the tree, or the checkpoint before it.
    BrokenCheckpoint,
    /// A signature by a trusted key that does not hold.
    BadSignature,
    /// Two epochs of one origin, or one event with two leaves.
    TwoTrees,
}

impl Check {
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlteredEvent => "altered event",
            Self::MissingEvent => "missing event",
            Self::ForgedEvent => "forged event",
            Self::MalformedEvent => "malformed event",
            Self::AlteredTile => "altered tile",
            Self::BrokenCheckpoint => "broken checkpoint",
            Self::BadSignature => "bad signature",
            Self::TwoTrees => "two trees",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub check: Check,
    pub epoch: Option<i32>,
    pub event_id: Option<i64>,
    pub leaf_index: Option<u64>,
    pub detail: String,
}

/// How many findings of each kind are listed; the rest is counted.
pub const LISTED: u64 = 1000;

/// All that was found, and how much was looked at.
#[derive(Default, Debug, Serialize, Deserialize)]
pub struct Report {
    pub events: u64,
    pub unsealed: u64,
    pub leaves: u64,
    pub tiles: u64,
    pub checkpoints: u64,
    pub signatures: u64,
    pub findings: Vec<Finding>,
    counts: BTreeMap<Check, u64>,
}

impl Report {
    pub fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.check).or_default();
        *count += 1;
        if *count <= LISTED {
            self.findings.push(finding);
        }
    }

    /// Takes over what another part of the same verification found.
    pub fn merge(&mut self, other: Self) {
        self.events += other.events;
        self.unsealed += other.unsealed;
        self.leaves += other.leaves;
        self.tiles += other.tiles;
        self.checkpoints += other.checkpoints;
        self.signatures += other.signatures;
        for (check, count) in other.counts {
            *self.counts.entry(check).or_default() += count;
        }
        self.findings.extend(other.findings);
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
