//! An export as a source: files, which are checked and never trusted.

use crate::checkpoint_lines::{Checkpoints, Lines};
use crate::layout;
use crate::marked_lines;
use crate::source::{
    EachDeclaring, Epoch, Found, Line, Reader, SEGMENT, Source, Stranger, Timestamp,
};
use anyhow::{Context, Result, bail};
use attest_log::Hash;
use attest_log::json_line::LineReader;
use attest_log::tile::{self, Tile};
use rustix::fs::{Advice, fadvise};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
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
        let [lines, signatures] = [layout::CHECKPOINTS, layout::SIGNATURES].map(|name| {
            let path = self.epoch(epoch).join(name);
            let name = path.display().to_string();
            let file = layout::open(&path).with_context(|| format!("cannot read {name}"))?;
            anyhow::Ok(Lines::new(name, file.map(BufReader::new)))
        });
        Ok(Checkpoints::new(lines?, signatures?))
    }

    fn timestamps(&mut self, epoch: u32) -> Result<Vec<Timestamp>> {
        let mut all = layout::timestamps(self.epoch(epoch))?;
        all.sort();
        Ok(all)
    }

    fn answer(&mut self, epoch: u32, timestamp: &Timestamp) -> Result<Vec<u8>> {
        let folder = self.epoch(epoch).join(layout::TIMESTAMPS);
        let path = folder.join(&timestamp.name);
        // What is no file is no answer.
        Ok(bytes(&path)?.unwrap_or_default())
    }

    fn lists_declarations(&self) -> bool {
        false
    }

    /// Files of events that are of no leaf: who reads all files of the folder would take them for the log's.
    fn strangers(&mut self, epochs: &[(u32, u64)], each: &mut dyn FnMut(Stranger)) -> Result<()> {
        for (epoch, size) in epochs {
            let folder = self.epoch(*epoch);
            if folder.join(layout::UNFINISHED).exists() {
                continue;
            }
            let known: HashSet<PathBuf> = (0..size.div_ceil(SEGMENT))
                .map(|segment| folder.join(layout::events(segment)))
                .collect();
            for path in layout::event_files(folder)? {
                if !known.contains(&path) {
                    let why = format!("{}: the tree has no leaves for this file", path.display());
                    each(Stranger {
                        event_id: None,
                        why: Some(why),
                    });
                }
            }
        }
        Ok(())
    }

    fn most_leaves(&mut self, epoch: u32) -> Result<u64> {
        let files = layout::event_files(self.epoch(epoch))?.len() as u64;
        Ok(files.saturating_mul(2 * SEGMENT))
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

    fn announce(&mut self, leaves: Range<u64>) {
        for index in leaves.start / 256..leaves.end.div_ceil(256) {
            let Some(tile) = Tile::in_tree(0, index, leaves.end) else {
                continue;
            };
            for path in [tile.path(), tile.entries_path()] {
                // What is wrong with a file is told by who reads it.
                if let Ok(Some(file)) = layout::open(&self.epoch.join(path)) {
                    let _ = fadvise(file, 0, None, Advice::WillNeed);
                }
            }
        }
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
        let Some(file) = layout::open(&path).with_context(about)? else {
            return Ok(());
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

    fn declaring(
        &mut self,
        epochs: &[(u32, u64)],
        threads: usize,
        each: &mut EachDeclaring<'_>,
    ) -> Result<()> {
        let (mut trees, mut paths) = (Vec::new(), Vec::new());
        for (epoch, size) in epochs {
            for segment in 0..size.div_ceil(SEGMENT) {
                let folder = self.folder.join(epoch.to_string());
                paths.push(folder.join(layout::events(segment)));
                trees.push((*epoch, *size));
            }
        }
        // Most lines need not be read as JSON for it.
        marked_lines::read(&paths, b"\"system\"", threads, |file, line| {
            let (epoch, size) = trees[file];
            // What cannot be read is found among the events.
            match self.lines.read(line) {
                Ok((leaf_index, event)) if leaf_index < size => {
                    each(Some((epoch, leaf_index)), &event)
                }
                _ => Ok(()),
            }
        })
    }
}

/// A file's bytes; None where there is no file.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let about = || format!("cannot read {}", path.display());
    let Some(mut file) = layout::open(path).with_context(about)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(about)?;
    Ok(Some(bytes))
}
