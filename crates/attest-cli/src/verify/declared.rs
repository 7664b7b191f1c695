//! Declared prunes, clears and erasures (`docs/log-format.md`, section 11): which of them count, and what they cover.

use super::report::{Check, Finding, Report};
use crate::source::{Reader, Source};
use anyhow::Result;
use attest_log::Hash;
use attest_log::declaration::{Declaration, Kind, Place, Runs};
use attest_log::encoding::{Encoder, EventRecord};
use attest_log::tile::Tile;
use std::collections::HashMap;

/// The leaves whose events may be gone, or without their payload.
#[derive(Default)]
pub struct Declared {
    pub pruned: Runs,
    pub erased: Runs,
}

/// Reads and checks the declarations of these epochs (number, leaves); false ones are findings.
pub fn read<S: Source>(
    source: &mut S,
    epochs: &[(u32, u64)],
    report: &mut Report,
) -> Result<Declared> {
    let sizes: HashMap<i32, u64> = epochs
        .iter()
        .map(|(epoch, size)| (epoch.cast_signed(), *size))
        .collect();
    // One for the leaves of declarations, which ascend, one for the leaves that they name.
    let mut own = Cursor::new(source.reader()?, &sizes);
    let mut named = Cursor::new(source.reader()?, &sizes);
    let mut encoder = Encoder::new();
    let (mut pruned, mut erased, mut unsealed) = (Vec::new(), Vec::new(), 0_u64);
    source.declaring(epochs, &mut |leaf, event| {
        let Some(kind) = Kind::of(event.operation, event.action) else {
            return Ok(());
        };
        let place = leaf.map(|(epoch, index)| Place {
            epoch: epoch.cast_signed(),
            index,
        });
        // One that is altered or malformed declares nothing; the event itself is found among the events.
        let Ok(data) = encoder.leaf(event) else {
            return Ok(());
        };
        if let Some(place) = place
            && own.get(place)? != Some(data.hash())
        {
            return Ok(());
        }
        let size = |epoch| sizes.get(&epoch).copied().unwrap_or_default();
        let said = Declaration::parse(event.context.unwrap_or_default());
        let wrong = match &said {
            Some(said) => said.check(place, size, |at| named.get(at))?,
            None => Some("it does not say which leaves, how many and with which root"),
        };
        match (wrong, said) {
            (None, Some(said)) => {
                unsealed += u64::from(leaf.is_none());
                match kind {
                    Kind::Pruned => pruned.push(said.runs),
                    Kind::Erased => erased.push(said.runs),
                }
            }
            (wrong, _) => report.add(false_declaration(leaf, event, wrong.unwrap_or_default())),
        }
        Ok(())
    })?;
    if unsealed > 0 {
        report.note(format!(
            "declarations of what was removed that are not sealed yet: {unsealed}"
        ));
    }
    Ok(Declared {
        pruned: Runs::union(&pruned),
        erased: Runs::union(&erased),
    })
}

fn false_declaration(leaf: Option<(u32, u64)>, event: &EventRecord<'_>, why: &str) -> Finding {
    let action = String::from_utf8_lossy(event.action.unwrap_or_default());
    Finding {
        check: Check::FalseDeclaration,
        epoch: leaf.map_or(0, |leaf| leaf.0),
        event_id: Some(event.event_id),
        leaf_index: leaf.map(|leaf| leaf.1),
        detail: format!("the {action} declares nothing: {why}"),
    }
}

/// Leaf hashes by their places; keeps the tile that was read last.
struct Cursor<'a, R> {
    reader: R,
    sizes: &'a HashMap<i32, u64>,
    epoch: Option<i32>,
    tile: Option<u64>,
    hashes: Vec<Hash>,
}

impl<'a, R: Reader> Cursor<'a, R> {
    fn new(reader: R, sizes: &'a HashMap<i32, u64>) -> Self {
        Self {
            reader,
            sizes,
            epoch: None,
            tile: None,
            hashes: Vec::new(),
        }
    }

    fn get(&mut self, place: Place) -> Result<Option<Hash>> {
        if self.epoch != Some(place.epoch) {
            self.tile = None;
            self.reader.open(place.epoch.cast_unsigned())?;
            self.epoch = Some(place.epoch);
        }
        let index = place.index / 256;
        if self.tile != Some(index) {
            let size = self.sizes.get(&place.epoch).copied().unwrap_or_default();
            // What is wrong with a tile is found among the tiles.
            self.hashes = match Tile::in_tree(0, index, size) {
                Some(tile) => self.reader.tile(tile)?.unwrap_or_default(),
                None => Vec::new(),
            };
            self.tile = Some(index);
        }
        Ok(self
            .hashes
            .get(usize::try_from(place.index % 256)?)
            .copied())
    }
}
