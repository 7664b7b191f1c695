//! An export's checkpoints and their signatures: two files of JSON Lines, docs/log-format.md, section 9.

use crate::source::{Line, Sealed};
use anyhow::{Context, Result};
use attest_log::Hash;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use std::io::{BufRead, ErrorKind, Read};

/// Bytes of a line at most, of which it needs a few hundred.
const LONGEST: u64 = 1 << 20;

/// A JSON Lines file, or none.
pub struct Lines<R> {
    name: String,
    file: Option<R>,
    line: String,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// `name` is what errors call it.
    pub fn new(name: String, file: Option<R>) -> Self {
        Self {
            name,
            file,
            line: String::new(),
            number: 0,
        }
    }

    /// The next line's object, or why it is none.
    fn next<'a, T: Deserialize<'a>>(&'a mut self) -> Result<Option<Result<T, String>>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        self.line.clear();
        self.number += 1;
        // The rest of a longer one is the next line.
        let read = match Read::take(file, LONGEST).read_line(&mut self.line) {
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err("it is not UTF-8".to_owned())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", self.name));
            }
            Ok(0) => return Ok(None),
            Ok(_) => serde_json::from_str(&self.line).map_err(|error| error.to_string()),
        };
        Ok(Some(read.map_err(|why| {
            format!("{}, line {}: {why}", self.name, self.number)
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
pub struct Checkpoints<R> {
    lines: Lines<R>,
    signatures: Lines<R>,
    /// A signature that is of a later checkpoint.
    next: Option<SignatureLine>,
    /// A checkpoint before which something else had to be told.
    held: Option<Sealed>,
}

impl<R: BufRead> Checkpoints<R> {
    /// Of the two files.
    pub fn new(lines: Lines<R>, signatures: Lines<R>) -> Self {
        Self {
            lines,
            signatures,
            next: None,
            held: None,
        }
    }

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

impl<R: BufRead> Iterator for Checkpoints<R> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}
