//! The tiles of one segment, and the judgement on each: is it the tile that is wrong, or the events?

use super::report::{Check, Finding};
use super::segment::{Before, Known, Scope, Suspect, finding, fold};
use crate::source::{Reader, SEGMENT};
use anyhow::Result;
use attest_log::Hash;
use attest_log::encoding::LeafData;
use attest_log::hash::leaf_hash;
use attest_log::tile::{BundleReader, Tile};
use attest_log::tree::{Frontier, root_of};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Level 0 and the tile above, as the source has them.
pub struct Tiles {
    epoch: u32,
    head: Hash,
    first: u64,
    stored: Vec<Stored>,
    /// Roots of the full tiles of level 0; empty where the tile of level 1 cannot be read.
    parents: Vec<Hash>,
    has_entries: bool,
}

struct Stored {
    tile: Tile,
    hashes: Option<Vec<Hash>>,
    bundle: Vec<u8>,
}

impl Tiles {
    /// Reads them; what cannot be read is a finding.
    pub fn read(
        scope: &Scope<'_>,
        leaves: Range<u64>,
        reader: &mut impl Reader,
        findings: &mut Vec<Finding>,
    ) -> Result<Self> {
        let size = scope.head.size();
        let mut altered = |leaf: u64, path: &str, why: &str| {
            findings.push(finding(
                scope,
                Check::AlteredTile,
                Some(leaf),
                format!("{path}: {why}"),
            ));
        };
        let mut parents = Vec::new();
        if let Some(parent) = Tile::in_tree(1, leaves.start / SEGMENT, size) {
            match reader.tile(parent)? {
                Ok(hashes) if hashes.len() == usize::from(parent.width) => parents = hashes,
                Ok(hashes) => altered(
                    leaves.start,
                    &parent.path(),
                    &format!("it has {} hashes", hashes.len()),
                ),
                Err(why) => altered(leaves.start, &parent.path(), &why),
            }
        }
        let mut tiles = Vec::new();
        let mut has_entries = false;
        for index in leaves.start / 256..leaves.end.div_ceil(256) {
            let Some(tile) = Tile::in_tree(0, index, size) else {
                continue;
            };
            let hashes = match reader.tile(tile)? {
                Ok(hashes) if hashes.len() == usize::from(tile.width) => Some(hashes),
                Ok(hashes) => {
                    altered(
                        index * 256,
                        &tile.path(),
                        &format!("it has {} hashes", hashes.len()),
                    );
                    None
                }
                Err(why) => {
                    altered(index * 256, &tile.path(), &why);
                    None
                }
            };
            let bundle = reader.entries(tile)?;
            has_entries |= bundle.is_some();
            let bundle = bundle.unwrap_or_default();
            let entries = BundleReader::new(&bundle).collect::<Result<Vec<_>, _>>();
            let whole = entries.is_ok_and(|entries| entries.len() == usize::from(tile.width));
            if has_entries && !whole {
                altered(
                    index * 256,
                    &tile.entries_path(),
                    &format!("it is missing or is not of {} entries", tile.width),
                );
            }
            tiles.push(Stored {
                tile,
                hashes,
                bundle,
            });
        }
        Ok(Self {
            epoch: scope.epoch,
            head: *scope.head.root(),
            first: leaves.start,
            stored: tiles,
            parents,
            has_entries,
        })
    }

    /// Whether the source stores leaf data.
    pub fn has_entries(&self) -> bool {
        self.has_entries
    }

    /// The leaf data that is stored, by place in the segment; an event that was gone when it was exported has none.
    pub fn entries(&self) -> Vec<Option<&[u8]>> {
        let mut all = Vec::with_capacity(self.stored.len() * 256);
        for stored in &self.stored {
            let end = all.len() + usize::from(stored.tile.width);
            let entries = BundleReader::new(&stored.bundle).map_while(Result::ok);
            all.extend(entries.map(|entry| Some(entry).filter(|entry| !entry.is_empty())));
            all.resize(end, None);
        }
        all
    }

    /// The stored hash of the leaf at this place of the segment.
    pub fn leaf(&self, place: usize) -> Option<Hash> {
        let hashes = self.stored.get(place / 256)?.hashes.as_ref()?;
        hashes.get(place % 256).copied()
    }

    /// Decides for each tile whether it or its events are wrong, and gives what is then known of it.
    #[expect(clippy::too_many_arguments, reason = "all that is said of the tiles")]
    pub fn judge(
        &self,
        before: Option<&Before<'_>>,
        seen: &[bool],
        pruned: &BTreeSet<u64>,
        suspects: &BTreeMap<u64, Suspect>,
        entries: &[Option<&[u8]>],
        reader: &impl Reader,
        findings: &mut Vec<Finding>,
    ) -> Vec<Known> {
        let mut roots = Frontier::new();
        let mut known = Vec::with_capacity(self.stored.len());
        for (number, stored) in self.stored.iter().enumerate() {
            let tile = TileView {
                of: self,
                stored,
                parent: self.parents.get(number).copied(),
                edge: before
                    .filter(|_| !stored.tile.is_full())
                    .map(|before| (before, &roots)),
                places: number * 256..number * 256 + usize::from(stored.tile.width),
                seen,
                pruned,
                suspects,
                entries,
            };
            let result = tile.judge(reader, findings);
            let root = match &result {
                Known::Leaves { root, .. } | Known::Root(root) => Some(*root),
                Known::Nothing => None,
            };
            roots.push(root.unwrap_or_default());
            known.push(result);
        }
        known
    }
}

/// One tile with all that is said of it.
struct TileView<'a> {
    of: &'a Tiles,
    stored: &'a Stored,
    parent: Option<Hash>,
    /// Of the tree's last, unfinished tile: what stands to its left.
    edge: Option<(&'a Before<'a>, &'a Frontier)>,
    places: Range<usize>,
    seen: &'a [bool],
    pruned: &'a BTreeSet<u64>,
    suspects: &'a BTreeMap<u64, Suspect>,
    entries: &'a [Option<&'a [u8]>],
}

impl TileView<'_> {
    fn leaf_index(&self, place: usize) -> u64 {
        self.of.first + place as u64
    }

    fn finding(&self, check: Check, leaf_index: u64, detail: String) -> Finding {
        Finding {
            check,
            epoch: self.of.epoch,
            event_id: None,
            leaf_index: Some(leaf_index),
            detail,
        }
    }

    /// Whether leaves of this root lead to what is above them; None where that is not known.
    fn leads_up(&self, root: Hash) -> Option<bool> {
        match (self.parent, self.edge) {
            (Some(parent), _) => Some(root == parent),
            (None, Some((before, roots))) => {
                Some(fold(before.0, fold(roots, root)) == self.of.head)
            }
            (None, None) => None,
        }
    }

    /// The leaves as the events say, entries in place of events that are gone.
    fn computed(&self) -> Option<Vec<Hash>> {
        let places = self.places.clone();
        let leaf = |place| {
            if let Some(suspect) = self.suspects.get(&self.leaf_index(place)) {
                return Some(suspect.hash);
            }
            let stored = self.of.leaf(place);
            match self.entries[place] {
                Some(entry) if !self.seen[place] => Some(leaf_hash(entry)),
                _ => stored,
            }
        };
        places.map(leaf).collect()
    }

    fn judge(&self, reader: &impl Reader, findings: &mut Vec<Finding>) -> Known {
        let first = self.leaf_index(self.places.start);
        let suspects: Vec<_> = self
            .suspects
            .range(first..first + self.places.len() as u64)
            .collect();
        let missing: Vec<usize> = self
            .places
            .clone()
            .filter(|place| !self.seen[*place] && !self.pruned.contains(&self.leaf_index(*place)))
            .collect();
        if suspects.is_empty() && missing.is_empty() {
            let Some(hashes) = self.stored.hashes.clone() else {
                return self.parent.map_or(Known::Nothing, Known::Root);
            };
            let root = root_of(&hashes);
            if self.leads_up(root) == Some(false) && self.parent.is_some() {
                let detail = format!(
                    "its hash in the tile above, of level 1, is not that of {}, which fits its events",
                    self.stored.tile.path()
                );
                findings.push(self.finding(Check::AlteredTile, first, detail));
            }
            return Known::Leaves { hashes, root };
        }
        let leads_up = |leaves: &Vec<Hash>| self.leads_up(root_of(leaves));
        let stored = self.stored.hashes.as_ref().and_then(leads_up);
        let computed = self.computed();
        let events_good = !suspects.is_empty()
            && stored != Some(true)
            && computed.as_ref().and_then(leads_up) == Some(true);
        let tile_fails = stored == Some(false);
        if tile_fails {
            let leaf = suspects.first().map_or(first, |(leaf, _)| **leaf);
            let detail = format!(
                "{}: its hashes do not lead to the tile above or to the root",
                self.stored.tile.path()
            );
            // With no event of its own to blame, the tile is at most as wrong as what lies above it.
            if !suspects.is_empty() {
                findings.push(self.finding(Check::AlteredTile, leaf, detail));
            }
        }
        if !events_good && self.stored.hashes.is_some() {
            for (leaf, suspect) in &suspects {
                findings.push(Finding {
                    event_id: Some(suspect.event_id),
                    ..self.finding(Check::AlteredEvent, **leaf, suspect.detail.clone())
                });
            }
        }
        for place in missing {
            let entry = self.entries[place].and_then(|entry| LeafData::parse(entry).ok());
            findings.push(Finding {
                event_id: entry
                    .map(|entry| entry.event_id())
                    .or_else(|| reader.event_id(self.leaf_index(place))),
                ..self.finding(
                    Check::MissingEvent,
                    self.leaf_index(place),
                    "it was sealed and is gone".to_owned(),
                )
            });
        }
        match (&self.stored.hashes, computed) {
            (_, Some(computed)) if events_good => Known::leaves(computed),
            (Some(hashes), _) => Known::leaves(hashes.clone()),
            (None, _) => self.parent.map_or(Known::Nothing, Known::Root),
        }
    }
}
