//! Where an export has what: docs/log-format.md, section 9.

use crate::source::Timestamp;
use anyhow::{Context, Result};
use attest_log::tile::Tile;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The newest checkpoint's note. Written last: what an export says is what this covers.
pub const CHECKPOINT: &str = "checkpoint";
/// The chain of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints.jsonl";
/// Signature lines of all checkpoints.
pub const SIGNATURES: &str = "signatures.jsonl";
/// The RFC 3161 answers.
pub const TIMESTAMPS: &str = "timestamps";
/// There while an export is under way, or was broken off.
pub const UNFINISHED: &str = "unfinished";

/// The file of the events of a segment.
pub fn events(segment: u64) -> String {
    let tile = Tile {
        level: 0,
        index: segment,
        width: 256,
    };
    // `tile/0/x001/234`
    let place = tile.path();
    format!("events/{}.jsonl", place.trim_start_matches("tile/0/"))
}

/// Opens a file; None where there is none, or something else: a pipe or a device might never end.
pub fn open(path: &Path) -> std::io::Result<Option<File>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    match opened {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The files of events in an epoch's folder, whatever they are called.
pub fn event_files(epoch: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![epoch.join("events")]);
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder)? {
            let kind = entry.file_type();
            let path = entry.path();
            if kind.is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "jsonl") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<std::fs::DirEntry>> {
    let about = || format!("cannot read {}", folder.display());
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect::<Result<_, _>>().with_context(about),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
            _ => Err(error).with_context(about),
        },
    }
}

/// The folders of an export's epochs, in order.
pub fn epochs(folder: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let about = || format!("cannot read {}", folder.display());
    let mut epochs = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(about)? {
        let entry = entry.with_context(about)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        // Not `01`: an epoch has one name.
        let number = number.filter(|number: &u32| name == number.to_string().as_str());
        if let Some(number) = number.filter(|_| entry.path().is_dir()) {
            epochs.push((number, entry.path()));
        }
    }
    epochs.sort();
    Ok(epochs)
}

/// An RFC 3161 answer's file in [`TIMESTAMPS`]: of the checkpoint of this many leaves, with the token's SHA-256 in hex.
pub fn timestamp(tree_size: i64, sha256: &str) -> String {
    format!("{tree_size}-{}.tsr", sha256.get(..16).unwrap_or(sha256))
}

/// The RFC 3161 answers in an epoch's folder; none where it has no folder of them.
pub fn timestamps(epoch: &Path) -> Result<Vec<Timestamp>> {
    let folder = epoch.join(TIMESTAMPS);
    let mut found = Vec::new();
    for entry in entries(&folder)? {
        let name = entry.file_name();
        // A name that is not UTF-8 is not one that an export gives.
        let is_answer = Path::new(&name)
            .extension()
            .is_some_and(|kind| kind == "tsr");
        if let Some(name) = name.to_str().filter(|_| is_answer) {
            let size = name.split_once('-').and_then(|(size, _)| size.parse().ok());
            found.push(Timestamp {
                tree_size: size,
                name: name.to_owned(),
            });
        }
    }
    Ok(found)
}

/// Writes a file so that it is there whole or as it was before, whatever happens meanwhile.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let about = || format!("cannot write {}", path.display());
    let folder = path.parent().with_context(about)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(about)?;
    file.write_all(bytes).with_context(about)?;
    file.as_file().sync_all().with_context(about)?;
    file.persist(path).with_context(about)?;
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(about)
}
