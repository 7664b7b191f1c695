//! What verification found, for a person and for a machine.

use crate::shown::Shown;
use attest_log::Hash;
pub use attest_log::finding::Check;
use attest_log::finding::LISTED;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: Check,
    pub epoch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_index: Option<u64>,
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: epoch {}", self.check, self.epoch)?;
        if let Some(event_id) = self.event_id {
            write!(f, ", event {event_id}")?;
        }
        if let Some(leaf_index) = self.leaf_index {
            write!(f, ", leaf {leaf_index}")?;
        }
        write!(f, ": {}", Shown(&self.detail))
    }
}

/// The newest checkpoint that a trusted key signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    pub key: String,
    pub tree_size: u64,
    /// Of a cosignature, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
}

/// The newest checkpoint that a timestamping authority dated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stamped {
    pub tree_size: u64,
    /// When it was there already, in seconds since the Unix epoch.
    pub time: u64,
}

/// One epoch of the log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EpochReport {
    pub epoch: u32,
    pub origin: String,
    pub tree_size: u64,
    /// In base64.
    pub root: String,
    pub events: u64,
    /// Of them, those whose payload was erased as declared.
    pub erased_events: u64,
    /// Events that are gone as declared.
    pub pruned_events: u64,
    pub checkpoints: u64,
    /// Signatures of trusted keys that hold.
    pub signatures: u64,
    pub signed: Vec<Signed>,
    /// RFC 3161 timestamps that are of the checkpoints they stand beside and, where authorities were given, signed by one of them.
    pub timestamps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamped: Option<Stamped>,
    /// The first leaf that something is wrong with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad_leaf: Option<u64>,
    /// The tree size of the last checkpoint that fits, with nothing wrong before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good_checkpoint: Option<u64>,
    /// The tree sizes of the checkpoints that fit, in order.
    #[serde(skip)]
    pub fitting: Vec<u64>,
}

impl EpochReport {
    pub fn set_root(&mut self, root: &Hash) {
        self.root = BASE64_STANDARD.encode(root);
    }
}

/// Everything that was looked at and found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub ok: bool,
    pub source: String,
    pub epochs: Vec<EpochReport>,
    /// What is worth knowing and is no finding.
    pub notes: Vec<String>,
    pub findings: Vec<Finding>,
    /// How many there are of each kind, listed or not.
    pub counts: BTreeMap<Check, u64>,
    /// By epoch, the first leaf that something is wrong with, listed or not.
    #[serde(skip)]
    pub first_bad: BTreeMap<u32, u64>,
    pub seconds: f64,
}

impl Report {
    pub fn add(&mut self, finding: Finding) {
        if let Some(leaf) = finding.leaf_index {
            self.is_bad(finding.epoch, leaf);
        }
        let count = self.counts.entry(finding.check).or_default();
        *count += 1;
        if *count <= LISTED {
            self.findings.push(finding);
        }
    }

    fn is_bad(&mut self, epoch: u32, leaf: u64) {
        let first = self.first_bad.entry(epoch).or_insert(leaf);
        *first = leaf.min(*first);
    }

    /// What another one says, too.
    pub fn append(&mut self, other: &Self) {
        self.notes.extend_from_slice(&other.notes);
        for finding in &other.findings {
            self.add(finding.clone());
        }
        for (epoch, leaf) in &other.first_bad {
            self.is_bad(*epoch, *leaf);
        }
        for (check, count) in &other.counts {
            *self.counts.entry(*check).or_default() += count.saturating_sub(LISTED);
        }
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Sums up, when all was looked at.
    pub fn finish(&mut self, seconds: f64) {
        self.seconds = seconds;
        self.findings
            .sort_by_key(|f| (f.epoch, f.leaf_index, f.event_id, f.check));
        self.ok = self.counts.is_empty();
        for epoch in &mut self.epochs {
            let bad = self.first_bad.get(&epoch.epoch).copied();
            let mut fitting = epoch.fitting.iter().rev().copied();
            epoch.last_good_checkpoint = fitting.find(|size| bad.is_none_or(|bad| *size <= bad));
            epoch.first_bad_leaf = bad;
        }
    }

    fn events(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.events).sum()
    }
}

/// For a person.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for epoch in &self.epochs {
            writeln!(f, "epoch {}: {}", epoch.epoch, Shown(&epoch.origin))?;
            writeln!(
                f,
                "  tree           {} leaves, root {}",
                epoch.tree_size, epoch.root
            )?;
            let erased = match epoch.erased_events {
                0 => String::new(),
                erased => format!(", {erased} of them erased"),
            };
            let pruned = match epoch.pruned_events {
                0 => String::new(),
                pruned => format!("; {pruned} more pruned"),
            };
            writeln!(f, "  events         {}{erased}{pruned}", epoch.events)?;
            writeln!(f, "  checkpoints    {}", epoch.checkpoints)?;
            for signed in &epoch.signed {
                let behind = epoch.tree_size - signed.tree_size.min(epoch.tree_size);
                let time = signed
                    .time
                    .map(|time| format!(" at {}", crate::time::utc(time)));
                writeln!(
                    f,
                    "  signed by      {}, up to {} leaves{}; {behind} came later",
                    signed.key,
                    signed.tree_size,
                    time.unwrap_or_default()
                )?;
            }
            if epoch.timestamps > 0 {
                write!(f, "  timestamps     {}", epoch.timestamps)?;
                match &epoch.stamped {
                    Some(stamped) => writeln!(
                        f,
                        ", {} leaves were there at {}",
                        stamped.tree_size,
                        crate::time::utc(stamped.time)
                    )?,
                    None => writeln!(f, ", signatures not verified")?,
                }
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {}", Shown(note))?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for check in Check::ALL {
            let count = self.counts.get(&check).copied().unwrap_or_default();
            if count > LISTED {
                writeln!(f, "{check}: {} more", count - LISTED)?;
            }
        }
        for epoch in &self.epochs {
            let Some(bad) = epoch.first_bad_leaf else {
                continue;
            };
            write!(
                f,
                "epoch {}: first bad leaf {bad}, last good checkpoint ",
                epoch.epoch
            )?;
            match epoch.last_good_checkpoint {
                Some(size) => writeln!(f, "that of {size} leaves")?,
                None => writeln!(f, "none")?,
            }
        }
        let events = self.events();
        let verdict = if self.ok { "verified" } else { "NOT VERIFIED" };
        let findings: u64 = self.counts.values().sum();
        write!(
            f,
            "{verdict}: {events} events, {findings} findings, {:.1} s",
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_leaf_of_an_epoch_need_not_be_listed_and_rules_later_checkpoints_out() {
        let altered = |epoch, leaf| Finding {
            check: Check::AlteredEvent,
            epoch,
            event_id: None,
            leaf_index: Some(leaf),
            detail: String::new(),
        };
        let mut report = Report {
            epochs: [1, 2, 3]
                .map(|epoch| EpochReport {
                    epoch,
                    fitting: vec![2, 4, 7, 9],
                    ..EpochReport::default()
                })
                .into(),
            ..Report::default()
        };
        for leaf in (5..5 + LISTED).chain([3]) {
            report.add(altered(1, leaf));
        }
        report.add(altered(2, 7));
        report.finish(0.0);
        let first = |epoch: &EpochReport| epoch.first_bad_leaf;
        assert_eq!(
            report.epochs.iter().map(first).collect::<Vec<_>>(),
            [Some(3), Some(7), None]
        );
        // Whenever and by whatever the bad leaf was found.
        let last = |epoch: &EpochReport| epoch.last_good_checkpoint;
        assert_eq!(
            report.epochs.iter().map(last).collect::<Vec<_>>(),
            [Some(2), Some(7), Some(9)]
        );
        assert_eq!(report.findings.len() as u64, LISTED);
    }
}
