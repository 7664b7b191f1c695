//! Writes one partition: events, tiles, checkpoints; verifies them by reading them back; then, last, the manifest.
//!
//! Invariant: a folder with a manifest is a whole archive that was verified. One without is none, whatever it holds.

use super::columns::{COLUMNS, Kind};
use super::leaf_set::LeafSet;
use super::manifest::{
    Epoch, EventFile, MANIFEST, Manifest, Object, checkpoint_path, events_path, tiles_path,
};
use super::partitions::{self, Events, Partition};
use super::row_group::RowGroup;
use super::schema::schema;
use super::store::{Store, sha256_hex};
use super::tiles::{self, Runs};
use super::upload::Upload;
use super::verify::{self, Opened};
use crate::db::{Database, DbReader};
use crate::progress::Progress;
use crate::source::{Found, Reader, SEGMENT, Source};
use crate::verify::{Options, Report};
use anyhow::{Context, Error, Result, anyhow, ensure};
use attest_log::tree::Frontier;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

/// What an archive has beside its manifest.
pub const FOLDERS: [&str; 3] = ["events", "tiles", "checkpoints"];
/// Rows and bytes of a file of events at most (of bytes a row group more): readers go through files side by side.
const FILE_ROWS: u64 = 1 << 20;
const FILE_BYTES: usize = 256 << 20;

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
    let mut reader = database.reader()?;
    let mut rows = Rows::new(store);
    let progress = Progress::new("archiving", events.count);
    for (epoch, segment) in partitions::segments(database, events)? {
        reader.open(epoch)?;
        let before = rows.total;
        let read = rows.segment(&mut reader, &partition.condition, epoch, segment);
        if let Err(error) = read {
            return Err(rows.break_off(error));
        }
        progress.advance(rows.total - before);
    }
    let (files, leaves) = rows.finish()?;
    progress.finish();
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
    let (mut trees, mut root) = (Vec::new(), Frontier::new());
    for epoch in epochs {
        let of_epoch: Runs = runs
            .iter()
            .filter(|run| run.0 == epoch)
            .map(|(_, first, last)| (*first, *last))
            .collect();
        reader.open(epoch)?;
        trees.push(tree(
            database,
            &mut reader,
            store,
            epoch,
            &of_epoch,
            &mut root,
        )?);
    }
    let (format, columns) = Manifest::constant();
    let manifest = Manifest {
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
        root: BASE64_STANDARD.encode(root.root()),
        epochs: trees,
        events: files,
        columns,
    };
    let bytes = manifest.to_bytes()?;
    let opened = Opened {
        sha256: sha256_hex(&bytes),
        manifest: Manifest::parse(&bytes)?,
        text: String::from_utf8(bytes.clone())?,
    };
    let report = verify::verify(store, &opened, options)?;
    if report.ok {
        store.put(MANIFEST, bytes)?;
    }
    Ok((opened, report))
}

/// Writes an epoch's tiles and checkpoint, and adds the archive's leaves to the root over them.
fn tree(
    database: &mut Database,
    reader: &mut DbReader,
    store: &Store,
    epoch: u32,
    runs: &Runs,
    root: &mut Frontier,
) -> Result<Epoch> {
    let last = runs.last().context("an epoch without leaves")?.1;
    let newest = partitions::checkpoint_over(database, epoch, last)?;
    let size = newest.checkpoint.size();
    let levels = tiles::needed(runs, size);
    let mut file = store.create(&tiles_path(epoch))?;
    let mut leaves = runs
        .iter()
        .flat_map(|(first, last)| *first..=*last)
        .peekable();
    for tile in tiles::in_order(&levels, size) {
        let hashes = reader
            .grown_tile(tile)?
            .map_err(|why| anyhow!("epoch {epoch}, {}: {why}", tile.path()))?;
        if tile.level == 0 {
            for (leaf, hash) in (tile.index * 256..).zip(&hashes) {
                if leaves.next_if_eq(&leaf).is_some() {
                    root.push(*hash);
                }
            }
        }
        file.write_all(hashes.as_flattened())?;
    }
    let tiles = finish(file, tiles_path(epoch))?;
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

fn finish(upload: Upload, path: String) -> Result<Object> {
    let (bytes, sha256) = upload.finish()?;
    Ok(Object {
        path,
        bytes,
        sha256,
    })
}

/// Events on their way into files: while one row group is written on a thread of its own, the next one is read.
pub struct Rows {
    group: RowGroup,
    /// None is the end; without it the files were broken off.
    give: SyncSender<Option<RowGroup>>,
    writer: JoinHandle<Result<Option<Vec<EventFile>>>>,
    leaves: LeafSet,
    total: u64,
}

impl Rows {
    pub fn new(store: &Store) -> Self {
        let (give, groups) = mpsc::sync_channel(0);
        let files = Files {
            store: store.clone(),
            file: None,
            open: 0,
            written: Vec::new(),
        };
        Self {
            group: RowGroup::new(),
            give,
            writer: std::thread::spawn(move || files.write(&groups)),
            leaves: LeafSet::default(),
            total: 0,
        }
    }

    /// Takes the events of a segment's leaves for which the condition holds.
    fn segment(
        &mut self,
        reader: &mut DbReader,
        condition: &str,
        epoch: u32,
        segment: u64,
    ) -> Result<()> {
        let mut failed = None;
        let leaves = segment * SEGMENT..(segment + 1) * SEGMENT;
        reader.events_where(condition, leaves, &mut |found| {
            if failed.is_none() {
                failed = self.take(&found, epoch).err();
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    pub fn take(&mut self, found: &Found<'_>, epoch: u32) -> Result<()> {
        let (leaf_index, event) = match found {
            Found::Event { leaf_index, event } => (*leaf_index, event),
            Found::Broken { event_id, why, .. } => {
                return Err(anyhow!("event {}: {why}", event_id.unwrap_or_default()));
            }
            Found::Stray { event_id, why, .. } => return Err(anyhow!("event {event_id}: {why}")),
        };
        ensure!(
            self.leaves.insert(epoch, leaf_index),
            "event {}: a second event for leaf {leaf_index}",
            event.event_id
        );
        self.group.push(event, epoch, leaf_index)?;
        self.total += 1;
        if self.group.is_full() {
            let full = std::mem::replace(&mut self.group, RowGroup::new());
            // Why the thread has ended, `finish` tells.
            self.give.send(Some(full)).ok().context(NOT_WRITTEN)?;
        }
        Ok(())
    }

    /// Ends the last file; gives all files, and the leaves in them.
    pub fn finish(self) -> Result<(Vec<EventFile>, LeafSet)> {
        // A writer that has ended already says why below.
        let last = Some(self.group).filter(|group| group.rows() > 0);
        let _ = last.map(|group| self.give.send(Some(group)));
        let _ = self.give.send(None);
        let files = self.writer.join().ok().transpose()?.flatten();
        Ok((files.context(NOT_WRITTEN)?, self.leaves))
    }

    /// Leaves the open file unwritten; gives the reason: the writer's own, if it has one.
    fn break_off(self, error: Error) -> Error {
        drop(self.give);
        match self.writer.join() {
            Ok(Err(reason)) => reason,
            _ => error,
        }
    }
}

const NOT_WRITTEN: &str = "the files of events cannot be written";

/// Files of events, one after the other.
struct Files {
    store: Store,
    file: Option<SerializedFileWriter<Upload>>,
    /// Rows of the open file.
    open: u64,
    written: Vec<EventFile>,
}

impl Files {
    fn write(mut self, groups: &Receiver<Option<RowGroup>>) -> Result<Option<Vec<EventFile>>> {
        for group in groups {
            let Some(mut group) = group else {
                self.close()?;
                return Ok(Some(self.written));
            };
            self.group(&mut group)?;
        }
        Ok(None)
    }

    fn group(&mut self, group: &mut RowGroup) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let upload = self.store.create(&events_path(self.written.len()))?;
                let writer = SerializedFileWriter::new(upload, schema()?, Arc::new(properties()?))?;
                none.insert(writer)
            }
        };
        self.open += group.rows() as u64;
        group.write(file)?;
        if self.open >= FILE_ROWS || file.bytes_written() >= FILE_BYTES {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            let object = finish(file.into_inner()?, events_path(self.written.len()))?;
            let rows = std::mem::take(&mut self.open);
            self.written.push(EventFile { object, rows });
        }
        Ok(())
    }
}

/// How columns are stored: zstd throughout; a dictionary where few values repeat; differences of what ascends.
fn properties() -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("attest ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Page);
    for column in COLUMNS {
        let path = match column.kind {
            Kind::List => vec![column.name, "list", "element"],
            _ => vec![column.name],
        };
        let path = ColumnPath::from(path.into_iter().map(str::to_owned).collect::<Vec<_>>());
        if !column.repeats {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
        }
        match column.kind {
            Kind::Long | Kind::Time if !column.repeats => {
                properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
            // Nobody looks for a range of these.
            Kind::Json | Kind::Bytes => {
                properties =
                    properties.set_column_statistics_enabled(path, EnabledStatistics::None);
            }
            _ => {}
        }
    }
    Ok(properties.build())
}
