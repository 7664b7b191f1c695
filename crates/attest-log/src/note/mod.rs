//! Signed notes and their keys: C2SP signed-note, with Ed25519 (0x01) and cosignature/v1 (0x04) signatures.
//!
//! A note without signature lines can be read and written too, for a log that has no key; [`Note::verify`] accepts it
//! never.

mod key;

pub use key::{KeyKind, SignerKey, VerifierKey};

use crate::{Error, text};
use std::fmt;

/// Signatures that a note has at most, and its bytes; the specification asks for 16 signatures at least.
const MOST_SIGNATURES: usize = 100;
const MOST_BYTES: usize = 1_000_000;
const DASH: &str = "\u{2014} ";

/// A text and the signatures under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    key_id: u32,
    bytes: Vec<u8>,
}

/// A signature that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'a> {
    pub key: &'a VerifierKey,
    /// Of a cosignature: when it was made, in seconds since the Unix epoch.
    pub time: Option<u64>,
}

impl Note {
    /// A note that nobody has signed yet.
    ///
    /// # Errors
    /// [`Error::NoteText`] where the text does not end in a newline or has other control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.ends_with('\n') && text.len() < MOST_BYTES && is_clean(&text) {
            Ok(Self {
                text,
                signatures: Vec::new(),
            })
        } else {
            Err(Error::NoteText)
        }
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`Error::NoteText`], [`Error::NoteForm`], [`Error::SignatureLine`], [`Error::TooManySignatures`]
    pub fn parse(note: &str) -> Result<Self, Error> {
        if note.len() > MOST_BYTES || !is_clean(note) {
            return Err(Error::NoteText);
        }
        let end = note.rfind("\n\n").ok_or(Error::NoteForm)? + 1;
        let (body, lines) = (&note[..end], &note[end + 1..]);
        if !lines.is_empty() && !lines.ends_with('\n') {
            return Err(Error::NoteForm);
        }
        if lines.lines().count() > MOST_SIGNATURES {
            return Err(Error::TooManySignatures {
                most: MOST_SIGNATURES,
            });
        }
        let signatures = lines.lines().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            text: body.to_owned(),
            signatures,
        })
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, verified or not.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Signs the text; `time`, in seconds since the Unix epoch, is what a cosignature says.
    pub fn sign(&mut self, key: &SignerKey, time: u64) {
        self.add(key.sign(&self.text, time));
    }

    /// Adds a signature line made elsewhere, in place of one by the same key.
    pub fn add(&mut self, signature: Signature) {
        let same =
            |line: &&mut Signature| line.name == signature.name && line.key_id == signature.key_id;
        match self.signatures.iter_mut().find(same) {
            Some(line) => *line = signature,
            None => self.signatures.push(signature),
        }
    }

    /// The signatures by trusted keys, each key once. Lines of other keys mean nothing.
    ///
    /// # Errors
    /// [`Error::BadSignature`] where a line of a trusted key does not verify; [`Error::Untrusted`] where there is none.
    pub fn verify<'k>(&self, trusted: &'k [VerifierKey]) -> Result<Vec<Verified<'k>>, Error> {
        let mut verified: Vec<Verified<'k>> = Vec::new();
        for line in &self.signatures {
            let known = |key: &&VerifierKey| key.name() == line.name && key.id() == line.key_id;
            let Some(key) = trusted.iter().find(known) else {
                continue;
            };
            let Some(time) = key.verify(&self.text, line) else {
                return Err(Error::BadSignature {
                    name: line.name.clone(),
                });
            };
            if verified.iter().all(|known| known.key != key) {
                verified.push(Verified { key, time });
            }
        }
        if verified.is_empty() {
            return Err(Error::Untrusted {
                signers: self.signatures.iter().map(|s| s.name.clone()).collect(),
            });
        }
        Ok(verified)
    }
}

impl std::str::FromStr for Note {
    type Err = Error;

    fn from_str(note: &str) -> Result<Self, Error> {
        Self::parse(note)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Signature {
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id.
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// What the key's algorithm made of the text.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A signature line, without its newline.
impl std::str::FromStr for Signature {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let parts = || {
            let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
            let decoded = text::from_base64(encoded)?;
            let (id, bytes) = decoded.split_first_chunk()?;
            let valid = is_name(name) && !bytes.is_empty();
            valid.then(|| Self {
                name: name.to_owned(),
                key_id: u32::from_be_bytes(*id),
                bytes: bytes.to_vec(),
            })
        };
        parts().ok_or_else(|| Error::SignatureLine {
            line: line.chars().take(80).collect(),
        })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded =
            text::to_base64(&[&self.key_id.to_be_bytes(), self.bytes.as_slice()].concat());
        write!(f, "{DASH}{} {encoded}", self.name)
    }
}

/// Whether this can be the name of a key.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| !c.is_whitespace() && !c.is_ascii_control() && c != '+';
    !name.is_empty() && name.chars().all(fits)
}

/// Whether the text has no control characters but newlines.
fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 || byte == b'\n')
}
