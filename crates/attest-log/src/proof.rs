//! Proofs as files: C2SP tlog-proof for inclusion, and for consistency what C2SP tlog-witness sends a witness.

use crate::checkpoint::Checkpoint;
use crate::encoding::LeafData;
use crate::note::{Note, Verified, VerifierKey};
use crate::{Error, Hash, text, tree};
use std::fmt;
use std::str::FromStr;

/// A tree has at most 2^64 leaves; no proof is longer.
const MOST_HASHES: usize = 64;
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// That a leaf is in the tree of a checkpoint (`.tlog-proof`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Data that the proof carries along unproved; in `pg_attest`'s proofs the leaf data, which its own hash proves.
    pub extra: Option<Vec<u8>>,
    /// The leaf's index.
    pub index: u64,
    /// The leaf's sibling first.
    pub hashes: Vec<Hash>,
    /// The checkpoint, signed.
    pub checkpoint: Note,
}

impl InclusionProof {
    /// Checks that the leaf of this hash is in the checkpoint's tree, whoever signed it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], and those of [`tree::verify_inclusion`]
    pub fn verify_path(&self, leaf: &Hash) -> Result<Checkpoint, Error> {
        let checkpoint: Checkpoint = self.checkpoint.text().parse()?;
        let (size, root) = (checkpoint.size(), checkpoint.root());
        tree::verify_inclusion(leaf, self.index, size, &self.hashes, root)?;
        Ok(checkpoint)
    }

    /// Checks all: that a log of this origin with a trusted key has this leaf.
    ///
    /// # Errors
    /// [`Error::OtherOrigin`], and those of [`Note::verify`] and [`Self::verify_path`]
    pub fn verify<'k>(
        &self,
        leaf: &Hash,
        origin: &str,
        trusted: &'k [VerifierKey],
    ) -> Result<Vec<Verified<'k>>, Error> {
        let verified = self.checkpoint.verify(trusted)?;
        check_origin(&self.verify_path(leaf)?, origin)?;
        Ok(verified)
    }

    /// The leaf data in `extra`.
    ///
    /// # Errors
    /// [`Error::LeafLength`], [`Error::LeafPrefix`]
    pub fn leaf_data(&self) -> Result<LeafData, Error> {
        LeafData::parse(self.extra.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", text::to_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        write_hashes(f, &self.hashes, &self.checkpoint)
    }
}

impl FromStr for InclusionProof {
    type Err = Error;

    fn from_str(proof: &str) -> Result<Self, Error> {
        let form = || Error::ProofForm { kind: "inclusion" };
        let (header, rest) = text::line(proof).ok_or_else(form)?;
        let (line, after) = text::line(rest).ok_or_else(form)?;
        let (extra, rest) = match line.strip_prefix("extra ") {
            Some(encoded) => (Some(text::from_base64(encoded).ok_or_else(form)?), after),
            None => (None, rest),
        };
        let (line, rest) = text::line(rest).ok_or_else(form)?;
        let index = line.strip_prefix("index ").and_then(text::decimal);
        let index = index.filter(|_| header == HEADER).ok_or_else(form)?;
        let (hashes, rest) = read_hashes(rest).ok_or_else(form)?;
        Ok(Self {
            extra,
            index,
            hashes,
            checkpoint: rest.parse()?,
        })
    }
}

/// That the tree of a checkpoint continues an older one; the body of an `add-checkpoint` request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// How many leaves the older tree has.
    pub old_size: u64,
    /// As RFC 9162 section 2.1.4 orders them.
    pub hashes: Vec<Hash>,
    /// The newer checkpoint, signed.
    pub checkpoint: Note,
}

impl ConsistencyProof {
    /// Checks that the newer checkpoint's tree continues the older checkpoint's, whoever signed them.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::OtherOrigin`], [`Error::OtherSize`], and those of [`tree::verify_consistency`]
    pub fn verify_path(&self, old: &Checkpoint) -> Result<Checkpoint, Error> {
        let new: Checkpoint = self.checkpoint.text().parse()?;
        check_origin(&new, old.origin())?;
        if old.size() != self.old_size {
            return Err(Error::OtherSize {
                proof: self.old_size,
                checkpoint: old.size(),
            });
        }
        tree::verify_consistency(old.size(), old.root(), new.size(), new.root(), &self.hashes)?;
        Ok(new)
    }
}

impl fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        write_hashes(f, &self.hashes, &self.checkpoint)
    }
}

impl FromStr for ConsistencyProof {
    type Err = Error;

    fn from_str(proof: &str) -> Result<Self, Error> {
        let form = || Error::ProofForm {
            kind: "consistency",
        };
        let (line, rest) = text::line(proof).ok_or_else(form)?;
        let old_size = line.strip_prefix("old ").and_then(text::decimal);
        let old_size = old_size.ok_or_else(form)?;
        let (hashes, rest) = read_hashes(rest).ok_or_else(form)?;
        Ok(Self {
            old_size,
            hashes,
            checkpoint: rest.parse()?,
        })
    }
}

fn check_origin(checkpoint: &Checkpoint, origin: &str) -> Result<(), Error> {
    if checkpoint.origin() == origin {
        return Ok(());
    }
    Err(Error::OtherOrigin {
        found: checkpoint.origin().to_owned(),
        expected: origin.to_owned(),
    })
}

/// The hashes, an empty line, the checkpoint.
fn write_hashes(f: &mut fmt::Formatter<'_>, hashes: &[Hash], checkpoint: &Note) -> fmt::Result {
    for hash in hashes {
        writeln!(f, "{}", text::to_base64(hash))?;
    }
    write!(f, "\n{checkpoint}")
}

/// The hashes up to the empty line, and what follows it.
fn read_hashes(text: &str) -> Option<(Vec<Hash>, &str)> {
    let mut hashes = Vec::new();
    let mut rest = text;
    loop {
        let (line, after) = text::line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some((hashes, rest));
        }
        if hashes.len() == MOST_HASHES {
            return None;
        }
        hashes.push(text::hash(line)?);
    }
}
