//! Checkpoints: C2SP tlog-checkpoint, and the chain that they form in one log.

use crate::hash::{self, EMPTY_ROOT, Hash};
use crate::{Error, note, text};
use std::fmt;
use std::str::FromStr;

/// A log's tree at one size: the text that is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint of the log of this origin.
    ///
    /// # Errors
    /// [`Error::Origin`] for an origin that is empty or has spaces, control characters or `+`;
    /// [`Error::EmptyTree`] for an empty tree with the root of another.
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Result<Self, Error> {
        let origin = origin.into();
        if !note::is_name(&origin) {
            return Err(Error::Origin);
        }
        if size == 0 && root != EMPTY_ROOT {
            return Err(Error::EmptyTree);
        }
        Ok(Self {
            origin,
            size,
            root,
            extensions: Vec::new(),
        })
    }

    /// Which log it is of.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Lines after the first three, which `pg_attest` does not write and which mean nothing to it.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// This checkpoint's place in the chain of its log's checkpoints:
    /// `SHA-256("pg_attest/checkpoint/v1\n" || previous[32] || i64be sealed_at || horizon[32] || text)`.
    ///
    /// `previous` is the value of the checkpoint before it, zeroes for the very first; `sealed_at` is in microseconds
    /// since the Unix epoch; `horizon` is [`horizon`] of what the sealer had seen.
    pub fn chain(&self, previous: &Hash, sealed_at: i64, horizon: &Hash) -> Hash {
        let text = self.to_string();
        let parts = [
            b"pg_attest/checkpoint/v1\n",
            previous.as_slice(),
            &sealed_at.to_be_bytes(),
            horizon,
            text.as_bytes(),
        ];
        hash::sha256(&parts.concat())
    }
}

/// Up to where the sealer had looked, as the chain binds it:
/// `SHA-256("pg_attest/horizon/v1\n" || last_event_id || "\n" || next_xid || "\n" || snapshot || "\n")`, numbers in decimal.
///
/// `last_event_id` is the highest event id that had been handed out, `next_xid` the next transaction id, `snapshot` the
/// transactions whose events are sealed, as `PostgreSQL` prints a `pg_snapshot`.
pub fn horizon(last_event_id: i64, next_xid: u64, snapshot: &str) -> Hash {
    let text = format!("pg_attest/horizon/v1\n{last_event_id}\n{next_xid}\n{snapshot}\n");
    hash::sha256(text.as_bytes())
}

/// The text, each line with its newline.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = text::to_base64(&self.root);
        writeln!(f, "{}\n{}\n{root}", self.origin, self.size)?;
        self.extensions
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Reads the text of a note ([`note::Note::text`]).
impl FromStr for Checkpoint {
    type Err = Error;

    fn from_str(body: &str) -> Result<Self, Error> {
        let parts = || {
            let (origin, rest) = text::line(body)?;
            let (size, rest) = text::line(rest)?;
            let (root, mut rest) = text::line(rest)?;
            let mut extensions = Vec::new();
            while !rest.is_empty() {
                let (line, after) = text::line(rest).filter(|(line, _)| !line.is_empty())?;
                extensions.push(line.to_owned());
                rest = after;
            }
            (!origin.is_empty()).then_some(Self {
                origin: origin.to_owned(),
                size: text::decimal(size)?,
                root: text::hash(root)?,
                extensions,
            })
        };
        let checkpoint = parts().ok_or(Error::Checkpoint)?;
        if checkpoint.size == 0 && checkpoint.root != EMPTY_ROOT {
            return Err(Error::EmptyTree);
        }
        Ok(checkpoint)
    }
}
