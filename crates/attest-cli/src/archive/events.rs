//! The events of an archive against the leaves of its tiles.

use super::leaf_set::{Adder, SharedLeafSet};
use super::manifest::{MANIFEST, Manifest};
use super::rows::Archived;
use super::tree::{Tree, finding};
use crate::verify::{Check, Finding, Report, bare, describe};
use anyhow::Result;
use attest_log::Hash;
use attest_log::encoding::Encoder;
use attest_log::tree::root_of;
use std::collections::BTreeMap;

/// Tiles that do not lead to the checkpoint and whose events are kept for a judgement at the end, at most.
const JUDGED: usize = 256;

/// What one thread sees of the events.
pub struct Events<'a> {
    manifest: &'a Manifest,
    trees: &'a [Tree<'a>],
    seen: Adder<'a>,
    encoder: Encoder,
    /// The tile of the last event: its tree, its index, its hashes and whether they are proved.
    tile: Option<(usize, u64, Vec<Hash>, bool)>,
    report: Report,
    /// Events and erased events by tree.
    counts: Vec<(u64, u64)>,
    ids: Option<(i64, i64)>,
    late: Option<i64>,
    /// By tree and tile: the leaves of events whose tile is not proved.
    unproved: BTreeMap<(usize, u64), Vec<Computed>>,
}

/// A leaf as its event says.
struct Computed {
    leaf: u64,
    hash: Hash,
    event_id: i64,
    says: String,
}

impl<'a> Events<'a> {
    pub fn new(manifest: &'a Manifest, trees: &'a [Tree<'a>], seen: &'a SharedLeafSet) -> Self {
        Self {
            manifest,
            trees,
            seen: Adder::new(seen),
            encoder: Encoder::new(),
            tile: None,
            report: Report::default(),
            counts: vec![(0, 0); trees.len()],
            ids: None,
            late: None,
            unproved: BTreeMap::new(),
        }
    }

    fn tell(&mut self, check: Check, row: &Archived<'_>, leaf: Option<u64>, detail: String) {
        let epoch = u32::try_from(row.epoch).unwrap_or(0);
        self.report.add(Finding {
            event_id: Some(row.event.event_id),
            ..finding(check, epoch, leaf, detail)
        });
    }

    /// Looks at one event.
    pub fn visit(&mut self, row: &Archived<'_>) -> Result<()> {
        let event = &row.event;
        let leaf = row.leaf_index.cast_unsigned();
        let of_epoch = |tree: &Tree<'_>| i64::from(tree.said.epoch) == i64::from(row.epoch);
        let tree = self.trees.iter().position(of_epoch);
        let Some(tree) = tree.filter(|tree| self.trees[*tree].names(leaf)) else {
            let why = format!("the manifest does not name its leaf; {}", describe(event));
            self.tell(Check::ForgedEvent, row, Some(leaf), why);
            return Ok(());
        };
        let is_new = self.seen.insert(self.trees[tree].said.epoch, leaf);
        if !is_new {
            let why = format!("a second event for this leaf; {}", describe(event));
            self.tell(Check::ForgedEvent, row, Some(leaf), why);
            return Ok(());
        }
        self.counts[tree].0 += 1;
        self.counts[tree].1 += u64::from(event.payload_hash.is_some());
        let id = event.event_id;
        let (least, most) = self.ids.get_or_insert((id, id));
        (*least, *most) = (id.min(*least), id.max(*most));
        if !(self.manifest.from..self.manifest.until).contains(&event.occurred_at) {
            self.late.get_or_insert(id);
        }
        let computed = match self.encoder.leaf(event) {
            Ok(leaf) => leaf.hash(),
            Err(error) => {
                self.tell(Check::MalformedEvent, row, Some(leaf), error.to_string());
                bare(event).hash()
            }
        };
        self.compare(tree, row, leaf, computed)
    }

    fn compare(&mut self, tree: usize, row: &Archived<'_>, leaf: u64, hash: Hash) -> Result<()> {
        let index = leaf / 256;
        if !matches!(&self.tile, Some((of, at, ..)) if (*of, *at) == (tree, index)) {
            let read = self.trees[tree].leaves(index)?;
            self.tile = read.map(|(hashes, proved)| (tree, index, hashes, proved));
        }
        let Some((_, _, hashes, proved)) = &self.tile else {
            return Ok(());
        };
        let stored = usize::try_from(leaf % 256)
            .ok()
            .and_then(|place| hashes.get(place));
        if *proved {
            if stored != Some(&hash) {
                let why = format!("it is not what was sealed; {}", describe(&row.event));
                self.tell(Check::AlteredEvent, row, Some(leaf), why);
            }
        } else if self.unproved.len() < JUDGED || self.unproved.contains_key(&(tree, index)) {
            self.unproved
                .entry((tree, index))
                .or_default()
                .push(Computed {
                    leaf,
                    hash,
                    event_id: row.event.event_id,
                    says: describe(&row.event),
                });
        }
        Ok(())
    }

    /// Takes what another thread has seen.
    pub fn merge(&mut self, other: Self) {
        for finding in other.report.findings {
            self.report.add(finding);
        }
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum = (sum.0 + count.0, sum.1 + count.1);
        }
        self.ids = match (self.ids, other.ids) {
            (Some(one), Some(two)) => Some((one.0.min(two.0), one.1.max(two.1))),
            (one, two) => one.or(two),
        };
        self.late = self.late.or(other.late);
        for (tile, leaves) in other.unproved {
            self.unproved.entry(tile).or_default().extend(leaves);
        }
    }

    /// Sums up.
    pub fn finish(mut self, report: &mut Report) -> Result<()> {
        for ((tree, tile), leaves) in std::mem::take(&mut self.unproved) {
            self.judge(tree, tile, &leaves)?;
        }
        for finding in self.report.findings {
            report.add(finding);
        }
        for (tree, (events, erased)) in self.trees.iter().zip(self.counts) {
            let of_tree = |epoch: &&mut crate::verify::EpochReport| epoch.epoch == tree.said.epoch;
            if let Some(epoch) = report.epochs.iter_mut().find(of_tree) {
                (epoch.events, epoch.erased_events) = (events, erased);
            }
        }
        let mut altered = |detail: String| {
            let detail = format!("{MANIFEST}: {detail}");
            report.add(finding(Check::AlteredArchive, 0, None, detail));
        };
        let said = (self.manifest.first_event_id, self.manifest.last_event_id);
        if self.ids.is_some_and(|ids| ids != said) {
            altered("its first and last event are not those of the files".to_owned());
        }
        if let Some(late) = self.late {
            altered(format!("its bounds do not hold event {late}"));
        }
        Ok(())
    }

    /// A tile that does not lead to the checkpoint: is it wrong, or its events, or both?
    fn judge(&mut self, tree: usize, tile: u64, leaves: &[Computed]) -> Result<()> {
        let (said, stored) = (self.trees[tree].said, self.trees[tree].leaves(tile)?);
        let mut hashes = stored.map(|(hashes, _)| hashes).unwrap_or_default();
        let stored = hashes.clone();
        let place = |leaf: u64| usize::try_from(leaf % 256).unwrap_or(0);
        for computed in leaves {
            if let Some(hash) = hashes.get_mut(place(computed.leaf)) {
                *hash = computed.hash;
            }
        }
        let events_good = Some(root_of(&hashes)) == self.trees[tree].parent(tile)?;
        let last = tile * 256 + 255;
        let detail = format!("tile/0, tile {tile}: its hashes do not lead to the tile above");
        let detail = match (events_good, hashes == stored) {
            (true, _) => format!("{detail}; its events do"),
            (false, true) => {
                format!("{detail}: it and an event up to leaf {last} were changed together")
            }
            (false, false) => detail,
        };
        let first = Some(tile * 256);
        let (check, epoch) = (Check::AlteredTile, said.epoch);
        self.report.add(finding(check, epoch, first, detail));
        if !events_good {
            for computed in leaves {
                if stored.get(place(computed.leaf)) != Some(&computed.hash) {
                    self.report.add(Finding {
                        event_id: Some(computed.event_id),
                        ..finding(
                            Check::AlteredEvent,
                            epoch,
                            Some(computed.leaf),
                            format!(
                                "it fits neither its tile nor the one above; {}",
                                computed.says
                            ),
                        )
                    });
                }
            }
        }
        Ok(())
    }
}
