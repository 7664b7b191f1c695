//! The keys of notes and their text forms: `<name>+<id>+<base64>`, with `PRIVATE+KEY+` before that of a signer.

use super::{Signature, is_name};
use crate::{Error, cosignature, hash, text};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use std::fmt;
use std::str::FromStr;

const PRIVATE: &str = "PRIVATE+KEY+";

/// What a key's signatures say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// 0x01: the text, signed.
    Ed25519,
    /// 0x04: the text and a time, signed by a witness (C2SP tlog-cosignature, Ed25519).
    Cosignature,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::Cosignature]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }

    /// The id of a key of this kind.
    fn id(self, name: &str, public: &[u8; 32]) -> u32 {
        let digest = hash::sha256(&[name.as_bytes(), b"\n", &[self.byte()], public].concat());
        let [a, b, c, d, ..] = digest;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// A public key, whose text form others can trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    id: u32,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key from its 32 bytes (RFC 8032).
    ///
    /// # Errors
    /// [`Error::KeyName`]; [`Error::Key`] where the bytes are no point of the curve.
    pub fn new(name: &str, kind: KeyKind, public: &[u8; 32]) -> Result<Self, Error> {
        if !is_name(name) {
            return Err(Error::KeyName);
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            id: kind.id(name, public),
            key: VerifyingKey::from_bytes(public).map_err(|_| Error::Key)?,
        })
    }

    /// The name that its signature lines have.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that its signature lines have.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What its signatures say.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key's 32 bytes (RFC 8032).
    pub fn public(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Checks a signature line; a cosignature's time is in seconds since the Unix epoch. None where it does not hold.
    #[expect(
        clippy::option_option,
        reason = "whether it holds, and then whether it has a time"
    )]
    pub(super) fn verify(&self, text: &str, line: &Signature) -> Option<Option<u64>> {
        match self.kind {
            KeyKind::Ed25519 => {
                self.check(text.as_bytes(), line.bytes())?;
                Some(None)
            }
            KeyKind::Cosignature => {
                let (time, signature) = cosignature::parse(line.bytes())?;
                self.check(cosignature::message(time, text).as_bytes(), signature)?;
                Some(Some(time))
            }
        }
    }

    fn check(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
        self.key.verify_strict(message, &signature).ok()
    }
}

/// `<name>+<id in hex>+<base64 of kind and key>`
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.name, self.id, self.kind, self.public())
    }
}

impl FromStr for VerifierKey {
    type Err = Error;

    fn from_str(key: &str) -> Result<Self, Error> {
        let (name, id, kind, public) = read_key(key)?;
        let key = Self::new(name, kind, &public)?;
        if key.id == id {
            Ok(key)
        } else {
            Err(Error::KeyId)
        }
    }
}

/// A private key. Its memory is cleared when it goes.
pub struct SignerKey {
    name: String,
    kind: KeyKind,
    id: u32,
    key: SigningKey,
}

impl SignerKey {
    /// A key from 32 secret random bytes (the seed of RFC 8032).
    ///
    /// # Errors
    /// [`Error::KeyName`]
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, Error> {
        if !is_name(name) {
            return Err(Error::KeyName);
        }
        let key = SigningKey::from_bytes(seed);
        Ok(Self {
            name: name.to_owned(),
            kind,
            id: kind.id(name, key.verifying_key().as_bytes()),
            key,
        })
    }

    /// The name that its signature lines have.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures say.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public half.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey {
            name: self.name.clone(),
            kind: self.kind,
            id: self.id,
            key: self.key.verifying_key(),
        }
    }

    /// The text form, which is the secret: `PRIVATE+KEY+<name>+<id in hex>+<base64 of kind and seed>`.
    pub fn to_secret_text(&self) -> String {
        struct Form<'a>(&'a SignerKey);
        impl fmt::Display for Form<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let key = self.0;
                write_key(f, &key.name, key.id, key.kind, key.key.as_bytes())
            }
        }
        format!("{PRIVATE}{}", Form(self))
    }

    /// The signature line for a text; `time`, in seconds since the Unix epoch, is what a cosignature says.
    pub fn sign(&self, text: &str, time: u64) -> Signature {
        let bytes = match self.kind {
            KeyKind::Ed25519 => self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            KeyKind::Cosignature => {
                let time = time.min(cosignature::LATEST);
                let message = cosignature::message(time, text);
                cosignature::format(time, &self.key.sign(message.as_bytes()).to_bytes())
            }
        };
        Signature {
            name: self.name.clone(),
            key_id: self.id,
            bytes,
        }
    }
}

/// The secret stays out.
impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.verifier())
    }
}

/// Reads the text form that [`SignerKey::to_secret_text`] writes, as golang.org/x/mod/sumdb/note has it.
impl FromStr for SignerKey {
    type Err = Error;

    fn from_str(key: &str) -> Result<Self, Error> {
        let (name, id, kind, seed) = read_key(key.strip_prefix(PRIVATE).ok_or(Error::Key)?)?;
        let key = Self::from_seed(name, kind, &seed)?;
        if key.id == id {
            Ok(key)
        } else {
            Err(Error::KeyId)
        }
    }
}

fn write_key(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    id: u32,
    kind: KeyKind,
    key: &[u8; 32],
) -> fmt::Result {
    let encoded = text::to_base64(&[&[kind.byte()], key.as_slice()].concat());
    write!(f, "{name}+{id:08x}+{encoded}")
}

fn read_key(key: &str) -> Result<(&str, u32, KeyKind, [u8; 32]), Error> {
    let parts = || {
        let (name, rest) = key.split_once('+')?;
        let (id, encoded) = rest.split_once('+')?;
        let hex = id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = u32::from_str_radix(id, 16).ok().filter(|_| hex)?;
        let decoded = text::from_base64(encoded)?;
        let (kind, key) = decoded.split_first()?;
        Some((name, id, *kind, <[u8; 32]>::try_from(key).ok()?))
    };
    let (name, id, kind, key) = parts().ok_or(Error::Key)?;
    let kind = KeyKind::from_byte(kind).ok_or(Error::KeyKind { byte: kind })?;
    Ok((name, id, kind, key))
}
