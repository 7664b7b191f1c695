//! Declared prunes, clears and erasures (`docs/log-format.md`, section 11): which of them count, and what they cover.

use super::expected::Expected;
use super::report::{Check, Finding, Report};
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Checkpoints, Epoch};
use crate::ledger::events::Events;
use crate::ledger::leaf::{LeafMaker, at};
use crate::ledger::sealed;
use crate::ledger::tree::Tree;
use crate::pg::catalog;
use crate::pg::columns::Fields;
use crate::pg::query;
use crate::pg::snapshot::Snapshot;
use attest_log::Hash;
use attest_log::declaration::{ACTIONS, Declaration, Kind, Place, Runs};
use attest_log::tile::WIDTH;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The leaves whose events may be gone, or without their payload.
#[derive(Default, Clone, Serialize, Deserialize)]
pub struct Covers {
    pub pruned: Runs,
    pub erased: Runs,
}

/// The declarations of a log.
#[derive(Default)]
pub struct Declared {
    pub covers: Covers,
    counting: Vec<Counting>,
    findings: Vec<Finding>,
}

/// A declaration that counts.
struct Counting {
    event_id: i64,
    kind: Kind,
    action: String,
    runs: Runs,
    sealed: bool,
}

/// A declaring event as its row has it.
struct Row {
    kind: Kind,
    action: String,
    xact_id: u64,
    hash: Hash,
    malformed: bool,
    declaration: Option<Declaration>,
}

impl Declared {
    /// Reads and checks them: all, or those alone that are this event or name its leaves.
    pub fn read(
        snapshot: &Snapshot,
        events: &Events,
        epochs: &[Epoch],
        expected: &Expected,
        about: Option<(i64, &[sealed::Leaf])>,
    ) -> Result<Self> {
        let ids = declaring_events()?;
        let own = sealed::find_all(snapshot, &ids)?;
        let sizes = sizes(snapshot, epochs)?;
        let mut hashes = Cursor::new(snapshot);
        let mut maker = LeafMaker::new();
        let mut declared = Self::default();
        for id in ids {
            pgrx::check_for_interrupts!();
            let row = events.find(snapshot, id, |row| Row::read(row, &mut maker));
            let Some(row) = row.flatten() else { continue };
            let own = own.get(&id);
            // One that is altered or forged declares nothing; the event itself is found among the events.
            let stands = match own {
                Some(leaf) => leaf.hash == row.hash,
                None => expected.why_forged(id, row.xact_id).is_none(),
            };
            let named = about.is_none_or(|(event_id, leaves)| {
                let runs = row.declaration.as_ref().map(|known| &known.runs);
                id == event_id
                    || runs.is_some_and(|runs| leaves.iter().any(|leaf| runs.contains(place(leaf))))
            });
            if !stands || row.malformed || !named {
                continue;
            }
            let size = |epoch| sizes.get(&epoch).copied().unwrap_or_default();
            let wrong = match &row.declaration {
                Some(said) => said.check(own.map(place), size, |at| hashes.get(at))?,
                None => Some("it does not say which leaves, how many and with which root"),
            };
            match (wrong, row.declaration) {
                (None, Some(said)) => declared.counting.push(Counting {
                    event_id: id,
                    kind: row.kind,
                    action: row.action,
                    runs: said.runs,
                    sealed: own.is_some(),
                }),
                (wrong, _) => declared.findings.push(Finding {
                    check: Check::FalseDeclaration,
                    epoch: own.map(|leaf| leaf.epoch),
                    event_id: Some(id),
                    leaf_index: own.map(|leaf| leaf.index),
                    detail: format!(
                        "the {} declares nothing: {}",
                        row.action,
                        wrong.unwrap_or_default()
                    ),
                }),
            }
        }
        let of = |kind| {
            let of_kind = declared.counting.iter().filter(|known| known.kind == kind);
            Runs::union(of_kind.map(|known| &known.runs))
        };
        declared.covers = Covers {
            pruned: of(Kind::Pruned),
            erased: of(Kind::Erased),
        };
        Ok(declared)
    }

    /// Adds to a report which declarations there are, and the false ones for which this holds.
    pub fn tell(&self, report: &mut Report, in_scope: impl Fn(&Finding) -> bool) {
        report.declarations += self.counting.len() as u64;
        report.unsealed_declarations +=
            self.counting.iter().filter(|known| !known.sealed).count() as u64;
        for finding in self.findings.iter().filter(|finding| in_scope(finding)) {
            report.add(finding.clone());
        }
    }

    /// By what a leaf's event was pruned, or erased where it is there still: in words.
    pub fn by_what(&self, leaf: &sealed::Leaf, kind: Kind) -> Option<String> {
        let of_it = |known: &&Counting| known.kind == kind && known.runs.contains(place(leaf));
        self.counting.iter().rev().find(of_it).map(|known| {
            let sealed = if known.sealed {
                ""
            } else {
                ", which is not sealed yet"
            };
            format!(
                "declared by event {}, {}{sealed}",
                known.event_id, known.action
            )
        })
    }
}

impl Row {
    /// None of an event that declares nothing.
    fn read(row: &Fields<'_>, maker: &mut LeafMaker) -> Option<Self> {
        let operation = catalog::enum_label(row.oid(at::OPERATION)?)?;
        let action = row.bytes(at::ACTION)?;
        let kind = Kind::of(operation.as_bytes(), Some(action))?;
        let leaf = maker.leaf(row);
        let mut context = Vec::new();
        let declaration = match row.json_text(at::CONTEXT, &mut context) {
            Some(true) => Declaration::parse(&context),
            _ => None,
        };
        Some(Self {
            kind,
            action: String::from_utf8_lossy(action).into_owned(),
            xact_id: row.int8(at::XACT_ID).unwrap_or_default().cast_unsigned(),
            hash: leaf.data.hash(),
            malformed: leaf.malformed.is_some(),
            declaration,
        })
    }
}

fn place(leaf: &sealed::Leaf) -> Place {
    Place {
        epoch: leaf.epoch,
        index: leaf.index,
    }
}

/// The ids of the events that declare, ascending. An index that hides one makes what it covers missing, not good.
fn declaring_events() -> Result<Vec<i64>> {
    let rows = query::rows(
        &format!(
            "SELECT event_id FROM audit.audit_events WHERE operation = 'system' AND action IN ('{}') ORDER BY event_id",
            ACTIONS.join("', '")
        ),
        &[],
    )?;
    let mut ids: Vec<i64> = rows
        .iter()
        .filter_map(|row| row.first()?.as_deref()?.parse().ok())
        .collect();
    ids.dedup();
    Ok(ids)
}

/// The sizes of all epochs' trees, as their last checkpoints have them.
fn sizes(snapshot: &Snapshot, epochs: &[Epoch]) -> Result<HashMap<i32, u64>> {
    let checkpoints = Checkpoints::open()?;
    let size = |epoch: &Epoch| {
        let last = checkpoints.last(snapshot, Some(epoch.epoch));
        let last = last.filter(Checkpoint::is_of_a_tree);
        (epoch.epoch, last.map_or(0, |last| last.tree_size))
    };
    Ok(epochs.iter().map(size).collect())
}

/// Leaf hashes by their places; keeps the tile that was read last.
struct Cursor<'a> {
    snapshot: &'a Snapshot,
    tree: Option<(i32, Tree<'a>)>,
    tile: Option<(i32, u64)>,
    hashes: Vec<Hash>,
}

impl<'a> Cursor<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            tree: None,
            tile: None,
            hashes: Vec::new(),
        }
    }

    fn get(&mut self, place: Place) -> Result<Option<Hash>> {
        let width = u64::from(WIDTH);
        let tile = (place.epoch, place.index / width);
        if self.tile != Some(tile) {
            pgrx::check_for_interrupts!();
            self.tile = None;
            let tree = match self.tree.take() {
                Some((epoch, tree)) if epoch == place.epoch => tree,
                _ => Tree::open(place.epoch, self.snapshot)?,
            };
            self.hashes = match tree.full_tile(0, tile.1)? {
                Some(stored) => stored.hashes,
                None => tree.edge(tile.1 * width).hashes,
            };
            self.tree = Some((place.epoch, tree));
            self.tile = Some(tile);
        }
        let at = usize::try_from(place.index % width).unwrap_or(usize::MAX);
        Ok(self.hashes.get(at).copied())
    }
}
