//! `attest export`: a log as files, as docs/log-format.md, section 9, lays them out.
//!
//! Invariant: what a folder's `checkpoint` covers is complete and never changes again; events are only ever appended. The
//! checkpoint is written last, so an export that was broken off goes on where it was.

mod lines;
mod segment;

use crate::db::{Database, DbReader, Newest, Tiles};
use crate::layout;
use crate::progress::Progress;
use crate::source::{Line, Reader, SEGMENT, Source};
use anyhow::{Context, Result, ensure};
use attest_log::checkpoint::Checkpoint;
use attest_log::note::Note;
use attest_log::tile::{self, Tile};
use attest_log::{Error, tree};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use postgres::fallible_iterator::FallibleIterator;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

/// How an export ended.
pub enum Ended {
    /// Leaves that were written, and events among them that do not fit their leaves.
    Written { leaves: u64, misfits: u64 },
    /// The log is not a continuation of what the folder has.
    Forked(String),
}

/// Brings a folder up to the database.
pub fn export(mut database: Database, folder: &Path) -> Result<Ended> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let newest = database.newest()?;
    for now in &newest {
        let size = now.checkpoint.size();
        ensure!(
            database.can_have(now.epoch, size)?,
            "the newest checkpoint of epoch {} is of {size} leaves, of which most are not there; attest verify says more",
            now.epoch
        );
    }
    let mut plans = Vec::new();
    for (number, path) in layout::epochs(folder)? {
        let Some(had) = had(&path)? else { continue };
        let now = newest.iter().find(|newest| newest.epoch == number);
        let now = now
            .map(|now| &now.checkpoint)
            .filter(|now| now.origin() == had.origin());
        if now.is_none() {
            return Ok(Ended::Forked(format!(
                "the database has no longer the epoch {number} of origin {}",
                had.origin()
            )));
        }
    }
    let mut reader = database.reader()?;
    for now in &newest {
        let path = folder.join(now.epoch.to_string());
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        reader.open(now.epoch)?;
        let had = had(&path)?;
        if let Some(why) = had
            .as_ref()
            .map(|had| fork(had, &now.checkpoint, &mut reader))
            .transpose()?
            .flatten()
        {
            return Ok(Ended::Forked(why));
        }
        let size = had.map_or(0, |had| had.size());
        let complete = match complete(&path, &mut reader, now.checkpoint.size(), size)? {
            Ok(complete) => complete,
            Err(why) => return Ok(Ended::Forked(why)),
        };
        plans.push((now, path, size, complete.max(size)));
    }
    let todo = plans
        .iter()
        .map(|(now, _, _, start)| now.checkpoint.size() - start)
        .sum();
    let progress = Progress::new("exporting", todo);
    let mut misfits = 0;
    for (now, path, had, start) in plans {
        reader.open(now.epoch)?;
        misfits += epoch(
            &mut database,
            &mut reader,
            now,
            &path,
            had,
            start,
            &progress,
        )?;
    }
    progress.finish();
    Ok(Ended::Written {
        leaves: todo,
        misfits,
    })
}

/// The checkpoint that a folder of an epoch has.
fn had(path: &Path) -> Result<Option<Checkpoint>> {
    let path = path.join(layout::CHECKPOINT);
    if !path.exists() {
        return Ok(None);
    }
    let read =
        || -> Result<Checkpoint> { Ok(Note::parse(&fs::read_to_string(&path)?)?.text().parse()?) };
    read()
        .map(Some)
        .with_context(|| format!("{} is not a checkpoint", path.display()))
}

/// Why the log is not a continuation of an older checkpoint; None if it is.
fn fork(had: &Checkpoint, now: &Checkpoint, reader: &mut DbReader) -> Result<Option<String>> {
    let (old, new) = (had.size(), now.size());
    if old > new {
        return Ok(Some(format!(
            "the log was rolled back: the export has {old} leaves, the log {new}"
        )));
    }
    let proof = tree::consistency_proof(&mut Tiles(reader), old, new);
    let proof = match proof {
        Ok(proof) => proof,
        Err(error) if error.is::<Error>() => {
            return Ok(Some(format!(
                "the log cannot prove that it continues the export: {error}"
            )));
        }
        Err(error) => return Err(error),
    };
    let verified = tree::verify_consistency(old, had.root(), new, now.root(), &proof);
    Ok(verified.err().map(|error| {
        format!("the log is not a continuation of the export's {old} leaves: {error}")
    }))
}

/// Leaves of full segments that an export which was broken off has written already, behind its checkpoint.
fn complete(
    path: &Path,
    reader: &mut DbReader,
    size: u64,
    had: u64,
) -> Result<Result<u64, String>> {
    let mut segment = had / SEGMENT;
    while let Some(tile) = Tile::in_tree(1, segment, size).filter(|tile| tile.is_full()) {
        let file = path.join(tile.path());
        if !file.exists() {
            break;
        }
        let written = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        match reader.tile(tile)? {
            Ok(hashes) if hashes.as_flattened() == written => segment += 1,
            _ => {
                return Ok(Err(format!(
                    "{} is another tile than the log's",
                    file.display()
                )));
            }
        }
    }
    Ok(Ok(segment * SEGMENT))
}

/// Writes one epoch; gives how many events do not fit their leaves.
fn epoch(
    database: &mut Database,
    reader: &mut DbReader,
    now: &Newest,
    path: &Path,
    had: u64,
    start: u64,
    progress: &Progress,
) -> Result<u64> {
    let size = now.checkpoint.size();
    let mut misfits = 0;
    if start < size || had < size {
        let unfinished = path.join(layout::UNFINISHED);
        fs::write(&unfinished, "")
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        let mut from = start;
        while from < size {
            let end = ((from / SEGMENT + 1) * SEGMENT).min(size);
            misfits += segment::write(reader, path, from..end, size)?;
            progress.advance(end - from);
            from = end;
        }
        for tile in tile::new_tiles(had, size).filter(|tile| tile.level > 1) {
            segment::write_tile(reader, path, tile)?;
        }
    }
    checkpoints(database, now.epoch, path, had)?;
    signatures(database, now.epoch, path)?;
    timestamps(database, now.epoch, path)?;
    segment::flush(path)?;
    layout::replace(
        &path.join(layout::CHECKPOINT),
        now.note.to_string().as_bytes(),
    )?;
    // Partial tiles of the older tree have become others.
    let old = tile::tiles(had).filter(|tile| {
        !tile.is_full() && Tile::in_tree(tile.level, tile.index, size) != Some(*tile)
    });
    for tile in old {
        for path in [path.join(tile.path()), path.join(tile.entries_path())] {
            if fs::remove_file(&path).is_ok()
                && let Some(folder) = path.parent()
            {
                // Not empty where the tile is partial still.
                let _ = fs::remove_dir(folder);
            }
        }
    }
    let _ = fs::remove_file(path.join(layout::UNFINISHED));
    Ok(misfits)
}

#[derive(Serialize)]
struct CheckpointLine {
    tree_size: u64,
    sealed_at: i64,
    horizon: String,
    root: String,
    chain: String,
}

#[derive(Deserialize)]
struct TreeSize {
    tree_size: u64,
}

/// Appends the checkpoints behind those that are there.
fn checkpoints(database: &mut Database, epoch: u32, path: &Path, had: u64) -> Result<()> {
    let path = path.join(layout::CHECKPOINTS);
    let about = || format!("cannot write {}", path.display());
    lines::cut(&path, |line| {
        serde_json::from_slice::<TreeSize>(line).is_ok_and(|line| line.tree_size <= had)
    })?;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .with_context(about)?;
    let mut file = BufWriter::new(file);
    for line in database.checkpoints(epoch)? {
        if let Line::Checkpoint(sealed) = line?
            && sealed.tree_size > had
        {
            let line = CheckpointLine {
                tree_size: sealed.tree_size,
                sealed_at: sealed.time,
                horizon: BASE64_STANDARD.encode(sealed.horizon),
                root: BASE64_STANDARD.encode(sealed.root),
                chain: BASE64_STANDARD.encode(sealed.chain),
            };
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n").with_context(about)?;
        }
    }
    file.flush().with_context(about)
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct SignatureLine {
    tree_size: u64,
    line: String,
}

/// Writes the signatures anew, for older checkpoints get new ones; what the export has and the database no longer has stays.
fn signatures(database: &mut Database, epoch: u32, path: &Path) -> Result<()> {
    let target = path.join(layout::SIGNATURES);
    let about = || format!("cannot write {}", target.display());
    let query = format!(
        "SELECT tree_size, line FROM audit.checkpoint_signatures WHERE epoch = {epoch} ORDER BY tree_size"
    );
    let mut rows = database
        .client()
        .query_raw(&query, std::iter::empty::<i32>())?;
    let mut next = || -> Result<Option<SignatureLine>> {
        Ok(rows.next()?.map(|row| SignatureLine {
            tree_size: row.get::<_, i64>(0).cast_unsigned(),
            line: row.get(1),
        }))
    };
    let mut old = lines::read::<SignatureLine>(&target)?.peekable();
    let mut file = BufWriter::new(tempfile::NamedTempFile::new_in(path).with_context(about)?);
    let mut new = next()?;
    loop {
        // All of one checkpoint's at a time: they are few.
        let sizes = [
            new.as_ref().map(|new| new.tree_size),
            old.peek().map(|old| old.tree_size),
        ];
        let Some(size) = sizes.into_iter().flatten().min() else {
            break;
        };
        let mut of_size = Vec::new();
        while let Some(line) = new.take_if(|new| new.tree_size == size) {
            of_size.push(line);
            new = next()?;
        }
        while let Some(line) = old.next_if(|old| old.tree_size == size) {
            of_size.push(line);
        }
        of_size.sort();
        of_size.dedup();
        for line in of_size {
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n").with_context(about)?;
        }
    }
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .with_context(about)?;
    file.persist(&target).with_context(about)?;
    Ok(())
}

/// Writes the RFC 3161 answers that are not there yet, each as `openssl ts` reads it.
fn timestamps(database: &mut Database, epoch: u32, path: &Path) -> Result<()> {
    let folder = path.join(layout::TIMESTAMPS);
    let query = "SELECT tree_size, pg_catalog.encode(token_sha256, 'hex'), token FROM audit.checkpoint_timestamps WHERE epoch = $1";
    for row in database.client().query(query, &[&epoch.cast_signed()])? {
        let (size, hash): (i64, &str) = (row.get(0), row.get(1));
        let target = folder.join(layout::timestamp(size, hash));
        if !target.exists() {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            layout::replace(&target, row.get(2))?;
        }
    }
    Ok(())
}
