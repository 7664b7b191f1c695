//! The leaf data of an event: what goes into the tree. It holds nothing personal.

use crate::Error;
use crate::hash::{self, Hash};

const PREFIX: &[u8; 18] = b"pg_attest/leaf/v1\n";

/// `"pg_attest/leaf/v1\n" || u64be event_id || u64be xact_id || i64be occurred_at || meta[32] || payload[32]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafData([u8; Self::LENGTH]);

impl LeafData {
    /// Every leaf's data is this long.
    pub const LENGTH: usize = 106;

    /// From an event's ids, its time in microseconds since the Unix epoch, and its two commitments.
    pub fn new(event_id: i64, xact_id: u64, occurred_at: i64, meta: &Hash, payload: &Hash) -> Self {
        let mut bytes = [0; Self::LENGTH];
        bytes[..18].copy_from_slice(PREFIX);
        bytes[18..26].copy_from_slice(&event_id.to_be_bytes());
        bytes[26..34].copy_from_slice(&xact_id.to_be_bytes());
        bytes[34..42].copy_from_slice(&occurred_at.to_be_bytes());
        bytes[42..74].copy_from_slice(meta);
        bytes[74..].copy_from_slice(payload);
        Self(bytes)
    }

    /// Takes leaf data, from an entry bundle for one.
    ///
    /// # Errors
    /// [`Error::LeafLength`], [`Error::LeafPrefix`]
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bytes: [u8; Self::LENGTH] = bytes.try_into().map_err(|_| Error::LeafLength {
            length: bytes.len(),
        })?;
        if !bytes.starts_with(PREFIX) {
            return Err(Error::LeafPrefix);
        }
        Ok(Self(bytes))
    }

    /// The exact bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The leaf's hash in the tree.
    pub fn hash(&self) -> Hash {
        hash::leaf_hash(&self.0)
    }

    /// The event's id.
    pub fn event_id(&self) -> i64 {
        i64::from_be_bytes(self.part(18))
    }

    /// The event's transaction.
    pub fn xact_id(&self) -> u64 {
        u64::from_be_bytes(self.part(26))
    }

    /// The event's time, in microseconds since the Unix epoch.
    pub fn occurred_at(&self) -> i64 {
        i64::from_be_bytes(self.part(34))
    }

    /// The commitment to the event's fields outside the payload.
    pub fn meta(&self) -> Hash {
        self.part(42)
    }

    /// The commitment to the event's payload.
    pub fn payload(&self) -> Hash {
        self.part(74)
    }

    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut part = [0; N];
        part.copy_from_slice(&self.0[at..at + N]);
        part
    }
}
