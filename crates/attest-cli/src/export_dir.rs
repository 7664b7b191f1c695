//! An export as a source: files, which are checked and never trusted.

use crate::layout;
use crate::source::{
    EachDeclaring, Epoch, Found, Line, Reader, SEGMENT, Sealed, Source, Stranger, Timestamp,
};
use anyhow::{Context, Result, bail};
use attest_log::Hash;
use attest_log::json_line::LineReader;
use attest_log::tile::{self, Tile};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A folder that `attest export` filled.
pub struct ExportDir {
    folder: PathBuf,
    epochs: Vec<(u32, PathBuf)>,
}

impl ExportDir {
    /// Opens it.
    pub fn open(folder: &Path) -> Result<Self> {
        let epochs = layout::epochs(folder)?;
        if epochs.is_empty() {
            bail!(
                "{} is not an export: it has no folder of an epoch",
                folder.display()
            );
        }
        Ok(Self {
            folder: folder.to_owned(),
            epochs,
        })
    }

    fn epoch(&self, number: u32) -> &Path {
        let known = self.epochs.iter().find(|(epoch, _)| *epoch == number);
        known.map_or(&self.folder, |(_, path)| path)
    }
}

impl Source for ExportDir {
    type Reader = DirReader;

    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn epochs(&mut self) -> Result<Vec<Result<Epoch, (u32, String)>>> {
        let read = |(number, path): &(u32, PathBuf)| {
            Ok(
                match bytes(&path.join(layout::CHECKPOINT))?.map(String::from_utf8) {
                    Some(Ok(note)) => Ok(Epoch {
                        number: *number,
                        note,
                    }),
                    Some(Err(_)) => Err((*number, "it is not UTF-8".to_owned())),
                    None => Err((*number, "it is missing".to_owned())),
                },
            )
        };
        self.epochs.iter().map(read).collect()
    }

    fn reader(&mut self) -> Result<DirReader> {
        Ok(DirReader {
            folder: self.folder.clone(),
            epoch: PathBuf::new(),
            lines: LineReader::new(),
            line: Vec::new(),
        })
    }

    fn checkpoints(&mut self, epoch: u32) -> Result<impl Iterator<Item = Result<Line>>> {
        Ok(Checkpoints {
            lines: Lines::open(self.epoch(epoch).join(layout::CHECKPOINTS))?,
            signatures: Lines::open(self.epoch(epoch).join(layout::SIGNATURES))?,
            next: None,
            held: None,
        })
    }

    fn timestamps(&mut self, epoch: u32) -> Result<Vec<Timestamp>> {
        let mut all = layout::timestamps(self.epoch(epoch))?;
        all.sort();
        Ok(all)
    }

    fn answer(&mut self, epoch: u32, timestamp: &Timestamp) -> Result<Vec<u8>> {
        let folder = self.epoch(epoch).join(layout::TIMESTAMPS);
        let path = folder.join(&timestamp.name);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn declaring(&mut self, epochs: &[(u32, u64)], each: &mut EachDeclaring<'_>) -> Result<()> {
        // Most lines need not be read as JSON for it.
        let system = memchr::memmem::Finder::new(b"\"system\"");
        let (mut reader, mut line) = (LineReader::new(), Vec::new());
        for (epoch, size) in epochs {
            for segment in 0..size.div_ceil(SEGMENT) {
                let path = self.epoch(*epoch).join(layout::events(segment));
                let about = || format!("cannot read {}", path.display());
                let file = match File::open(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error).with_context(about),
                };
                let mut file = BufReader::with_capacity(1 << 18, file);
                loop {
                    line.clear();
                    if file.read_until(b'\n', &mut line).with_context(about)? == 0 {
                        break;
                    }
                    let text = line.strip_suffix(b"\n").unwrap_or(&line);
                    // What cannot be read is found among the events.
                    if system.find(text).is_some()
                        && let Ok((leaf_index, event)) = reader.read(text)
                        && leaf_index < *size
                    {
                        each(Some((*epoch, leaf_index)), &event)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn strangers(&mut self, _: &mut dyn FnMut(Stranger)) -> Result<()> {
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let unfinished = |(_, path): &&(u32, PathBuf)| path.join(layout::UNFINISHED).exists();
        let notes = self.epochs.iter().filter(unfinished).map(|(number, _)| {
            format!("the export of epoch {number} was broken off: what it has beyond its checkpoint was not looked at")
        });
        notes.collect()
    }
}

/// Reads tiles, entries and events of an epoch.
pub struct DirReader {
    folder: PathBuf,
    epoch: PathBuf,
    lines: LineReader,
    line: Vec<u8>,
}

impl Reader for DirReader {
    fn open(&mut self, epoch: u32) -> Result<()> {
        self.epoch = self.folder.join(epoch.to_string());
        Ok(())
    }

    fn tile(&mut self, tile: Tile) -> Result<Result<Vec<Hash>, String>> {
        Ok(match bytes(&self.epoch.join(tile.path()))? {
            None => Err("it is missing".to_owned()),
            Some(bytes) => tile::parse(&bytes)
                .map(<[Hash]>::to_vec)
                .map_err(|error| error.to_string()),
        })
    }

    fn entries(&mut self, tile: Tile) -> Result<Option<Vec<u8>>> {
        Ok(Some(
            bytes(&self.epoch.join(tile.entries_path()))?.unwrap_or_default(),
        ))
    }

    fn event_id(&self, _: u64) -> Option<i64> {
        None
    }

    fn events(&mut self, leaves: Range<u64>, each: &mut dyn FnMut(Found<'_>)) -> Result<()> {
        let path = self.epoch.join(layout::events(leaves.start / SEGMENT));
        let about = || format!("cannot read {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(about),
        };
        let unfinished = self.epoch.join(layout::UNFINISHED).exists();
        let mut file = BufReader::with_capacity(1 << 18, file);
        let (mut number, mut last) = (0_u64, None);
        loop {
            self.line.clear();
            if file.read_until(b'\n', &mut self.line).with_context(about)? == 0 {
                return Ok(());
            }
            number += 1;
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            match self.lines.read(line) {
                Err(_) if unfinished && file.fill_buf().with_context(about)?.is_empty() => {}
                Err(error) => each(Found::Broken {
                    event_id: None,
                    leaf_index: None,
                    why: format!("{}, line {number}: {error}", path.display()),
                }),
                Ok((leaf_index, _)) if unfinished && leaf_index >= leaves.end => {}
                Ok((leaf_index, event)) if last.is_some_and(|last| leaf_index < last) => {
                    each(Found::Stray {
                        event_id: event.event_id,
                        leaf_index: Some(leaf_index),
                        why: format!(
                            "{}, line {number}: it stands behind the events of later leaves",
                            path.display()
                        ),
                    });
                }
                Ok((leaf_index, event)) => {
                    last = Some(leaf_index);
                    each(Found::Event { leaf_index, event });
                }
            }
        }
    }
}

/// A file's bytes; None where there is no file.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A JSON Lines file, or none.
struct Lines {
    path: PathBuf,
    file: Option<BufReader<File>>,
    line: String,
    number: u64,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Self> {
        let file = match File::open(&path) {
            Ok(file) => Some(BufReader::new(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self {
            path,
            file,
            line: String::new(),
            number: 0,
        })
    }

    /// The next line's object, or why it is none.
    fn next<'a, T: Deserialize<'a>>(&'a mut self) -> Result<Option<Result<T, String>>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        self.line.clear();
        self.number += 1;
        let read = match file.read_line(&mut self.line) {
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err("it is not UTF-8".to_owned())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", self.path.display()));
            }
            Ok(0) => return Ok(None),
            Ok(_) => serde_json::from_str(&self.line).map_err(|error| error.to_string()),
        };
        Ok(Some(read.map_err(|why| {
            format!("{}, line {}: {why}", self.path.display(), self.number)
        })))
    }
}

#[derive(Deserialize)]
struct CheckpointLine<'a> {
    tree_size: u64,
    sealed_at: i64,
    horizon: &'a str,
    root: &'a str,
    chain: &'a str,
}

#[derive(Deserialize)]
struct SignatureLine {
    tree_size: u64,
    line: String,
}

/// Checkpoints and their signatures, both by ascending size.
struct Checkpoints {
    lines: Lines,
    signatures: Lines,
    /// A signature that is of a later checkpoint.
    next: Option<SignatureLine>,
    /// A checkpoint before which something else had to be told.
    held: Option<Sealed>,
}

impl Checkpoints {
    fn sealed(&mut self) -> Result<Option<Result<Sealed, String>>> {
        if let Some(held) = self.held.take() {
            return Ok(Some(Ok(held)));
        }
        let hash = |text: &str| {
            BASE64_STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| Hash::try_from(bytes).ok())
        };
        let Some(line) = self.lines.next::<CheckpointLine<'_>>()? else {
            return Ok(None);
        };
        Ok(Some(line.and_then(|line| {
            let hashes = hash(line.root)
                .zip(hash(line.chain))
                .zip(hash(line.horizon));
            let ((root, chain), horizon) =
                hashes.ok_or("horizon, root or chain is not the base64 of a hash")?;
            Ok(Sealed {
                tree_size: line.tree_size,
                time: line.sealed_at,
                horizon,
                root,
                chain,
                signatures: Vec::new(),
            })
        })))
    }

    fn line(&mut self) -> Result<Option<Line>> {
        let mut sealed = match self.sealed()? {
            Some(Ok(sealed)) => Some(sealed),
            Some(Err(why)) => return Ok(Some(Line::Broken(why))),
            None => None,
        };
        loop {
            let next = match self.next.take() {
                Some(next) => Some(Ok(next)),
                None => self.signatures.next::<SignatureLine>()?,
            };
            match (next, &mut sealed) {
                (Some(Ok(next)), Some(sealed)) if next.tree_size == sealed.tree_size => {
                    sealed.signatures.push(next.line);
                }
                (Some(Ok(next)), Some(sealed)) if next.tree_size > sealed.tree_size => {
                    self.next = Some(next);
                    break;
                }
                (None, _) => break,
                (Some(told), _) => {
                    self.held = sealed;
                    return Ok(Some(match told {
                        Ok(next) => Line::Stray(next.tree_size),
                        Err(why) => Line::Broken(why),
                    }));
                }
            }
        }
        Ok(sealed.map(Line::Checkpoint))
    }
}

impl Iterator for Checkpoints {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}
