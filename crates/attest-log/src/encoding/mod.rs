//! From an event to its leaf: the canonical bytes of docs/log-format.md, sections 2 to 4.
//!
//! Invariant: equal events give equal bytes and different events different ones, whatever the session, the server's
//! version or the machine.

mod event;
mod leaf;
mod text_list;
mod tlv;

pub use event::{Encoder, EventRecord, tag};
pub use leaf::LeafData;
pub use text_list::{TextList, TextListBuf};

/// Microseconds from 1970-01-01 to 2000-01-01 UTC, PostgreSQL's epoch.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The Unix time, in microseconds, of a PostgreSQL `timestamptz` value.
///
/// Modulo 2^64, so that each of its values (the infinities too) has one of its own.
pub fn unix_micros(timestamptz: i64) -> i64 {
    timestamptz.wrapping_add(POSTGRES_EPOCH)
}
