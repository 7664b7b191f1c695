//! Writes one partition: events, tiles, checkpoints; verifies them by reading them back; then, last, the manifest, which is read back
//! likewise.
//!
//! Invariant: a folder with a manifest is a whole archive that was verified. One without is none, whatever it holds.

use super::files::{NOT_WRITTEN, Rows};
use super::leaf_set::LeafSet;
use super::manifest::{
    Epoch, EventFile, MANIFEST, MOST_BYTES, Manifest, Object, checkpoint_path, tiles_path,
};
use super::partitions::{self, Events, Partition};
use super::store::{Store, sha256_hex};
use super::tiles::{self, Runs};
use super::tree;
use super::verify::{self, Opened};
use crate::db::{Database, DbReader};
use crate::progress::Progress;
use crate::source::{Reader, Source};
use crate::verify::{Check, Options, Report};
use anyhow::{Context, Result, anyhow, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an archive has beside its manifest.
pub const FOLDERS: [&str; 3] = ["events", "tiles", "checkpoints"];
/// Connections that events are read by: the server's COPY is a process's work, and each holds two row groups in memory.
const READERS: usize = 2;

/// Writes the archive of a partition and verifies it. With findings there is no manifest, so no archive.
pub fn write(
    database: &mut Database,
    partition: &Partition,
    events: &Events,
    store: &Store,
    options: &Options,
) -> Result<(Opened, Report)> {
    for folder in FOLDERS {
        store.clear(folder)?;
    }
    let (snapshot, archived_at) = partitions::now(database)?;
    let (files, leaves) = write_events(database, partition, events, store, options.threads)?;
    let total: u64 = files.iter().map(|file| file.rows).sum();
    ensure!(
        total == events.count,
        "{} of the {} events of {} are not sealed: SELECT audit.seal() seals them",
        events.count.saturating_sub(total),
        events.count,
        partition.name
    );
    let runs = leaves.runs();
    let mut epochs: Vec<u32> = runs.iter().map(|run| run.0).collect();
    epochs.dedup();
    let mut reader = database.reader()?;
    let mut trees = Vec::new();
    for epoch in epochs {
        let of_epoch: Runs = runs
            .iter()
            .filter(|run| run.0 == epoch)
            .map(|(_, first, last)| (*first, *last))
            .collect();
        reader.open(epoch)?;
        trees.push(write_tree(database, &mut reader, store, epoch, &of_epoch)?);
    }
    let (format, columns) = Manifest::constant();
    let mut manifest = Manifest {
        format,
        partition: partition.name.clone(),
        from: partition.from,
        until: partition.until,
        archived_at,
        snapshot,
        first_event_id: events.first,
        last_event_id: events.last,
        leaves: runs,
        count: total,
        // Known when the tiles were read back.
        root: String::new(),
        epochs: trees,
        events: files,
        columns,
    };
    let (mut report, root) = verify::read_back(store, &manifest, options)?;
    ensure!(
        root.is_some() || !report.ok,
        "{}: tiles that were written are not there",
        store.name()
    );
    manifest.root = BASE64_STANDARD.encode(root.unwrap_or_default());
    let bytes = manifest.to_bytes()?;
    let opened = Opened {
        sha256: sha256_hex(&bytes),
        manifest: Manifest::parse(&bytes)?,
        text: String::from_utf8(bytes.clone())?,
    };
    if report.ok {
        store.put(MANIFEST, bytes.clone())?;
        // It names all else, so it is read back, too.
        if store.get(MANIFEST, MOST_BYTES)?.as_ref() != Some(&bytes) {
            store.remove(MANIFEST)?;
            let detail = format!("{MANIFEST}: it is not what was written");
            report.add(tree::finding(Check::AlteredArchive, 0, None, detail));
            report.finish(report.seconds);
        }
    }
    Ok((opened, report))
}

/// Writes the files of events: a part of the leaves by each connection, side by side.
fn write_events(
    database: &mut Database,
    partition: &Partition,
    events: &Events,
    store: &Store,
    threads: usize,
) -> Result<(Vec<EventFile>, LeafSet)> {
    let segments = partitions::segments(database, events)?;
    let part = segments.len().div_ceil(threads.clamp(1, READERS)).max(1);
    let readers = segments
        .chunks(part)
        .map(|part| Ok((part, database.reader()?)));
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let progress = Progress::new("archiving", events.count);
    let (numbers, broken) = (Arc::default(), AtomicBool::new(false));
    let write = |part: &[(u32, u64)], reader: &mut DbReader| {
        let mut rows = Rows::new(store, &numbers);
        for (epoch, segment) in part {
            // Why, the other thread tells.
            if broken.load(Ordering::Relaxed) {
                break;
            }
            let before = rows.total;
            let read = reader
                .open(*epoch)
                .and_then(|()| rows.segment(reader, &partition.condition, *epoch, *segment));
            if let Err(error) = read {
                broken.store(true, Ordering::Relaxed);
                return Err(rows.break_off(error));
            }
            progress.advance(rows.total - before);
        }
        rows.finish()
    };
    let written = std::thread::scope(|scope| {
        let write = &write;
        let begin = |(part, mut reader)| scope.spawn(move || write(part, &mut reader));
        let threads: Vec<_> = readers.into_iter().map(begin).collect();
        let ended = threads.into_iter().map(|thread| thread.join().ok());
        ended
            .map(|written| written.unwrap_or_else(|| Err(anyhow!(NOT_WRITTEN))))
            .collect::<Vec<_>>()
    });
    progress.finish();
    let (mut files, mut leaves) = (Vec::new(), LeafSet::default());
    for part in written {
        let (of_part, leaves_of_part) = part?;
        files.extend(of_part);
        leaves.merge(leaves_of_part);
    }
    files.sort_by(|a, b| a.object.path.cmp(&b.object.path));
    Ok((files, leaves))
}

/// Writes an epoch's tiles and checkpoint.
fn write_tree(
    database: &mut Database,
    reader: &mut DbReader,
    store: &Store,
    epoch: u32,
    runs: &Runs,
) -> Result<Epoch> {
    let last = runs.last().context("an epoch without leaves")?.1;
    let newest = partitions::checkpoint_over(database, epoch, last)?;
    let size = newest.checkpoint.size();
    let levels = tiles::needed(runs, size);
    let mut file = store.create(&tiles_path(epoch))?;
    for tile in tiles::in_order(&levels, size) {
        let hashes = reader
            .grown_tile(tile)?
            .map_err(|why| anyhow!("epoch {epoch}, {}: {why}", tile.path()))?;
        file.write_all(hashes.as_flattened())?;
    }
    let tiles = file.into_object(tiles_path(epoch))?;
    let note = newest.note.to_string().into_bytes();
    let checkpoint = Object {
        path: checkpoint_path(epoch),
        bytes: note.len() as u64,
        sha256: sha256_hex(&note),
    };
    store.put(&checkpoint.path, note)?;
    Ok(Epoch {
        epoch,
        origin: newest.checkpoint.origin().to_owned(),
        tree_size: size,
        root: BASE64_STANDARD.encode(newest.checkpoint.root()),
        checkpoint,
        tiles,
        levels,
    })
}
