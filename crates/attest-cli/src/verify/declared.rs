//! Declared prunes, clears and erasures (`docs/log-format.md`, section 11): which of them count, and what they cover.
//!
//! They may stand anywhere behind what they cover, so that an export is read for them as a whole. That is done when something is first
//! found gone, and not at all where nothing is.

use super::report::{Check, Finding, Report};
use crate::source::{Reader, Source};
use anyhow::{Result, anyhow};
use attest_log::Hash;
use attest_log::declaration::{Declaration, Kind, Place, Runs};
use attest_log::encoding::{Encoder, EventRecord};
use attest_log::tile::Tile;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The declarations of a log, for all threads.
pub struct Declarations {
    read: LazyLock<Result<Declared>, Box<dyn FnOnce() -> Result<Declared> + Send>>,
    met: AtomicBool,
}

impl Declarations {
    /// Those of these epochs (number, leaves).
    pub fn of<S: Source>(source: &mut S, epochs: Vec<(u32, u64)>, threads: usize) -> Result<Self> {
        let readers = [source.reader()?, source.reader()?, source.reader()?];
        Ok(Self {
            read: LazyLock::new(Box::new(move || read(readers, &epochs, threads))),
            met: AtomicBool::new(false),
        })
    }

    /// What they declare; who first asks reads them, and the others wait for it.
    pub fn get(&self) -> Result<&Declared> {
        let read = LazyLock::force(&self.read).as_ref();
        read.map_err(|error| anyhow!("{error:#}"))
    }

    /// Looks at an event among the others: one that would be a declaration has to be judged.
    pub fn meet(&self, event: &EventRecord<'_>) {
        if Kind::of(event.operation, event.action).is_some() {
            self.met.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there was one.
    pub fn were_met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }
}

/// What declarations say.
pub struct Declared {
    /// The leaves whose events may be gone.
    pub pruned: Runs,
    /// Those whose events may be without their payload.
    pub erased: Runs,
    /// The false ones are findings.
    pub report: Report,
}

/// Reads and checks the declarations.
fn read<R: Reader>(
    [mut reader, own, named]: [R; 3],
    epochs: &[(u32, u64)],
    threads: usize,
) -> Result<Declared> {
    let mut report = Report::default();
    let sizes: HashMap<i32, u64> = epochs
        .iter()
        .map(|(epoch, size)| (epoch.cast_signed(), *size))
        .collect();
    // One for the leaves of declarations, which ascend, one for the leaves that they name.
    let mut own = Cursor::new(own, &sizes);
    let mut named = Cursor::new(named, &sizes);
    let mut encoder = Encoder::new();
    let (mut pruned, mut erased, mut unsealed) = (Vec::new(), Vec::new(), 0_u64);
    reader.declaring(epochs, threads, &mut |leaf, event| {
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
        report,
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
