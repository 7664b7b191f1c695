//! JSONB objects in `PostgreSQL`'s binary form, built without a tree of values.
//!
//! Format: `src/include/utils/jsonb.h`. A container is a header (count and kind), one `JEntry` per key and per value, then the
//! keys' bytes and the values' bytes. Keys are sorted by length, then bytes. Numbers and containers start at a multiple of four
//! from the container's start; the padding belongs to their entry's length. Every 32nd entry holds an end offset, not a length.

use crate::pg::datum::{HEADER, set_varsize};

const ENTRY_STRING: u32 = 0x0000_0000;
const ENTRY_NUMERIC: u32 = 0x1000_0000;
const ENTRY_FALSE: u32 = 0x2000_0000;
const ENTRY_TRUE: u32 = 0x3000_0000;
const ENTRY_NULL: u32 = 0x4000_0000;
const ENTRY_CONTAINER: u32 = 0x5000_0000;
const ENTRY_HAS_OFFSET: u32 = 0x8000_0000;
const ENTRY_TYPE: u32 = 0x7000_0000;
const ENTRY_LENGTH: u32 = 0x0FFF_FFFF;
const OFFSET_STRIDE: usize = 32;

const OBJECT: u32 = 0x2000_0000;
const SCALAR: u32 = 0x1000_0000;

/// The most bytes that the keys and values of one object may have (`JENTRY_OFFLENMASK`).
pub const MAX_BYTES: usize = ENTRY_LENGTH as usize;

/// Builds one object at a time; the buffers are kept for the next one.
#[derive(Default)]
pub struct ObjectBuilder {
    keys: Vec<u8>,
    key_entries: Vec<u32>,
    data: Vec<u8>,
    entries: Vec<u32>,
    /// Where the current value began.
    start: usize,
}

impl ObjectBuilder {
    /// Starts an object. Keys follow in JSONB order, all of them before the first value.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.key_entries.clear();
        self.data.clear();
        self.entries.clear();
    }

    /// Adds a key.
    #[allow(clippy::cast_possible_truncation)] // names are under 64 bytes
    pub fn key(&mut self, name: &[u8]) {
        self.keys.extend_from_slice(name);
        self.key_entries.push(ENTRY_STRING | name.len() as u32);
    }

    /// Keeps the keys and drops the values.
    pub fn clear_values(&mut self) {
        self.data.clear();
        self.entries.clear();
    }

    /// Bytes that the buffers take.
    pub fn capacity(&self) -> usize {
        let entries = self.key_entries.capacity() + self.entries.capacity();
        self.keys.capacity() + self.data.capacity() + entries * size_of::<u32>()
    }

    /// How many bytes the values have so far.
    pub fn value_bytes(&self) -> usize {
        self.data.len()
    }

    fn begin(&mut self) {
        self.start = self.data.len();
    }

    #[allow(clippy::cast_possible_truncation)] // callers keep the whole object below MAX_BYTES, or discard it
    fn end(&mut self, kind: u32) {
        self.entries
            .push(kind | (self.data.len() - self.start) as u32 & ENTRY_LENGTH);
    }

    fn align(&mut self) {
        while !(self.keys.len() + self.data.len()).is_multiple_of(4) {
            self.data.push(0);
        }
    }

    pub fn null(&mut self) {
        self.entries.push(ENTRY_NULL);
    }

    pub fn bool(&mut self, value: bool) {
        self.entries
            .push(if value { ENTRY_TRUE } else { ENTRY_FALSE });
    }

    /// Text in the server's encoding; JSONB keeps it unescaped.
    pub fn string(&mut self, text: &[u8]) {
        self.begin();
        self.data.extend_from_slice(text);
        self.end(ENTRY_STRING);
    }

    /// `\x` and two hex digits a byte.
    pub fn hex(&mut self, bytes: &[u8]) {
        self.begin();
        self.data.extend_from_slice(b"\\x");
        push_hex(&mut self.data, bytes);
        self.end(ENTRY_STRING);
    }

    /// A `numeric` without its varlena header.
    pub fn numeric(&mut self, digits: &[u8]) {
        self.begin();
        self.align();
        let header = self.data.len();
        self.data.extend_from_slice(&[0; HEADER]);
        self.data.extend_from_slice(digits);
        set_varsize(&mut self.data[header..], HEADER + digits.len());
        self.end(ENTRY_NUMERIC);
    }

    /// An integer, as the numeric it is in JSON.
    pub fn integer(&mut self, value: i64) {
        let mut digits = [0; 12];
        let length = numeric_of_integer(value, &mut digits);
        self.numeric(&digits[..length]);
    }

    /// A whole `jsonb` value without its varlena header.
    pub fn jsonb(&mut self, container: &[u8]) {
        let header = word(container, 0);
        self.begin();
        if header & SCALAR != 0 {
            // A scalar stands alone as an array of one.
            let entry = word(container, 4);
            let bytes = &container[8..];
            if entry & ENTRY_TYPE == ENTRY_NUMERIC {
                self.align();
            }
            self.data
                .extend_from_slice(&bytes[..(entry & ENTRY_LENGTH) as usize]);
            self.end(entry & ENTRY_TYPE);
        } else {
            self.align();
            self.data.extend_from_slice(container);
            self.end(ENTRY_CONTAINER);
        }
    }

    /// Writes the object as a whole varlena value. None when it is past JSONB's limit.
    #[must_use]
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Option<()> {
        debug_assert_eq!(self.key_entries.len(), self.entries.len());
        if self.keys.len() + self.data.len() > MAX_BYTES {
            return None;
        }
        let pairs = self.key_entries.len();
        let total = HEADER + 4 + 8 * pairs + self.keys.len() + self.data.len();
        out.clear();
        out.reserve(total);
        out.extend_from_slice(&[0; HEADER]);
        set_varsize(out, total);
        #[allow(clippy::cast_possible_truncation)] // at most 1,600 columns
        out.extend_from_slice(&(OBJECT | pairs as u32).to_le_bytes());
        let mut offset = 0;
        for (position, entry) in self.key_entries.iter().chain(&self.entries).enumerate() {
            offset += entry & ENTRY_LENGTH;
            let entry = if position % OFFSET_STRIDE == 0 {
                entry & ENTRY_TYPE | ENTRY_HAS_OFFSET | offset
            } else {
                *entry
            };
            out.extend_from_slice(&entry.to_le_bytes());
        }
        out.extend_from_slice(&self.keys);
        out.extend_from_slice(&self.data);
        Some(())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Appends two lower-case hex digits a byte.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// A short-form numeric without its varlena header: base-10000 digits, trailing zero digits stripped
/// (`src/backend/utils/adt/numeric.c`, `NumericShort`). Returns its length.
#[allow(clippy::cast_possible_truncation)] // each digit is below 10000, the weight below 5
fn numeric_of_integer(value: i64, out: &mut [u8; 12]) -> usize {
    const SHORT: u16 = 0x8000;
    const NEGATIVE: u16 = 0x2000;
    let mut rest = value.unsigned_abs();
    let mut digits = [0u16; 5];
    let mut count = 0;
    while rest > 0 {
        digits[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let weight = count.saturating_sub(1) as u16;
    let header = SHORT | if value < 0 { NEGATIVE } else { 0 } | weight;
    out[..2].copy_from_slice(&header.to_le_bytes());
    let trailing = digits[..count]
        .iter()
        .take_while(|digit| **digit == 0)
        .count();
    let mut length = 2;
    for digit in digits[trailing..count].iter().rev() {
        out[length..length + 2].copy_from_slice(&digit.to_le_bytes());
        length += 2;
    }
    length
}
