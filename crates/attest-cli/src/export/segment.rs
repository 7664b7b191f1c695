//! One segment of an export: its events, entries and tiles.

use super::lines;
use crate::db::DbReader;
use crate::layout;
use crate::source::{Found, Reader, SEGMENT};
use anyhow::{Context, Result};
use attest_log::Hash;
use attest_log::encoding::{Encoder, LeafData};
use attest_log::json_line::{self, LineReader};
use attest_log::tile::{BundleReader, Tile, push_entry};
use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use tempfile::SpooledTempFile;

/// Bytes of a segment's lines that are kept in memory; more go to a temporary file.
const IN_MEMORY: usize = 64 << 20;

/// Writes these leaves, which lie in one segment of a tree of `size` leaves, behind those that are there.
/// Gives how many events do not fit their leaves.
pub fn write(reader: &mut DbReader, path: &Path, leaves: Range<u64>, size: u64) -> Result<u64> {
    let segment = leaves.start / SEGMENT;
    let mut spool = Spool::new(&leaves)?;
    reader.events(leaves.clone(), &mut |found| spool.take(&found))?;
    if let Some(error) = spool.failed.take() {
        return Err(error);
    }
    let events = path.join(layout::events(segment));
    make_parent(&events)?;
    let mut line_reader = LineReader::new();
    lines::cut(&events, |line| {
        line_reader
            .read(line)
            .is_ok_and(|(index, _)| index < leaves.start)
    })?;
    spool.write(&events)?;
    let mut misfits = 0;
    for index in leaves.start / 256..leaves.end.div_ceil(256) {
        let tile = Tile::in_tree(0, index, size).context("no such tile")?;
        let first = index * 256;
        let mut bundle = old_entries(path, index, leaves.start.saturating_sub(first))?;
        let hashes = write_tile(reader, path, tile)?;
        for (leaf, hash) in (first..first + u64::from(tile.width)).zip(&hashes) {
            if let Some(place) = leaf.checked_sub(leaves.start) {
                let data = spool.leaves[usize::try_from(place)?];
                misfits += u64::from(data.is_none_or(|data| data.hash() != *hash));
                push_entry(
                    &mut bundle,
                    data.as_ref().map_or(&[][..], |data| data.as_bytes()),
                )?;
            }
        }
        let entries = path.join(tile.entries_path());
        make_parent(&entries)?;
        fs::write(&entries, bundle)
            .with_context(|| format!("cannot write {}", entries.display()))?;
    }
    // The mark of a segment that is complete: not before all of it is on disk.
    if let Some(tile) = Tile::in_tree(1, segment, size) {
        flush(path)?;
        write_tile(reader, path, tile)?;
    }
    Ok(misfits)
}

/// Writes a tile as the log has it.
pub fn write_tile(reader: &mut DbReader, path: &Path, tile: Tile) -> Result<Vec<Hash>> {
    // Left out: the verifier says what is wrong, and a missing tile is what there is to see.
    let Ok(hashes) = reader.tile(tile)? else {
        return Ok(Vec::new());
    };
    let target = path.join(tile.path());
    make_parent(&target)?;
    fs::write(&target, hashes.as_flattened())
        .with_context(|| format!("cannot write {}", target.display()))?;
    Ok(hashes)
}

/// Everything that was written in this folder's file system, on disk.
pub fn flush(path: &Path) -> Result<()> {
    let folder = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    rustix::fs::syncfs(&folder).with_context(|| format!("cannot flush {}", path.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    let folder = path.parent().context("no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// The first entries of a tile, from what is there.
fn old_entries(path: &Path, index: u64, width: u64) -> Result<Vec<u8>> {
    let mut bundle = Vec::new();
    let Ok(width @ 1..) = u16::try_from(width) else {
        return Ok(bundle);
    };
    let whole = Tile {
        level: 0,
        index,
        width: 256,
    };
    let paths = [Tile { width, ..whole }, whole].map(|tile| path.join(tile.entries_path()));
    let old = paths.iter().find(|path| path.exists());
    let old = old.with_context(|| {
        format!(
            "{} is missing; remove the export and begin anew",
            paths[0].display()
        )
    })?;
    let bytes = fs::read(old).with_context(|| format!("cannot read {}", old.display()))?;
    for entry in BundleReader::new(&bytes).take(usize::from(width)) {
        push_entry(
            &mut bundle,
            entry.with_context(|| format!("in {}", old.display()))?,
        )?;
    }
    Ok(bundle)
}

/// Lines in the order in which events come, to be written in the order of their leaves.
struct Spool {
    first: u64,
    file: SpooledTempFile,
    /// By leaf: where its line is.
    lines: Vec<Option<(u64, usize)>>,
    leaves: Vec<Option<LeafData>>,
    end: u64,
    encoder: Encoder,
    line: Vec<u8>,
    failed: Option<anyhow::Error>,
}

impl Spool {
    fn new(leaves: &Range<u64>) -> Result<Self> {
        let count = usize::try_from(leaves.end - leaves.start)?;
        Ok(Self {
            first: leaves.start,
            file: SpooledTempFile::new(IN_MEMORY),
            lines: vec![None; count],
            leaves: vec![None; count],
            end: 0,
            encoder: Encoder::new(),
            line: Vec::new(),
            failed: None,
        })
    }

    fn take(&mut self, found: &Found<'_>) {
        let Found::Event { leaf_index, event } = found else {
            return;
        };
        let place = leaf_index
            .checked_sub(self.first)
            .and_then(|place| usize::try_from(place).ok());
        // A second row of an id is not exported: the database's own verification tells of it.
        let Some(place) = place.filter(|place| self.lines.get(*place).is_some_and(Option::is_none))
        else {
            return;
        };
        self.line.clear();
        let written = json_line::write(&mut self.line, *leaf_index, event)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(self.file.write_all(&self.line)?));
        if let Err(error) = written {
            self.failed.get_or_insert(error);
            return;
        }
        self.lines[place] = Some((self.end, self.line.len()));
        self.end += self.line.len() as u64;
        let bare = || {
            LeafData::new(
                event.event_id,
                event.xact_id,
                event.occurred_at,
                &[0; 32],
                &[0; 32],
            )
        };
        self.leaves[place] = Some(self.encoder.leaf(event).unwrap_or_else(|_| bare()));
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        let about = || format!("cannot write {}", path.display());
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .with_context(about)?;
        let mut file = BufWriter::with_capacity(1 << 18, file);
        let mut at = u64::MAX;
        for (start, length) in self.lines.iter().flatten() {
            if at != *start {
                self.file.seek(SeekFrom::Start(*start))?;
            }
            self.line.resize(*length, 0);
            self.file.read_exact(&mut self.line)?;
            file.write_all(&self.line).with_context(about)?;
            at = start + *length as u64;
        }
        file.flush().with_context(about)
    }
}
