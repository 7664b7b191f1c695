//! Which three bytes in a row texts have, as a set of bits: where a bit is missing, a search finds nothing.

use crate::pg::text;
use pgrx::pg_extern;

/// Bytes of a set. A thousand different trigrams leave most bits free.
const BYTES: usize = 1024;

/// A set of trigrams; one bit may stand for several.
pub struct Trigrams(Box<[u8; BYTES]>);

impl Default for Trigrams {
    fn default() -> Self {
        Self(Box::new([0; BYTES]))
    }
}

impl Trigrams {
    /// Adds those of a text.
    pub fn add(&mut self, text: &[u8]) {
        for trigram in text.windows(3) {
            let number = u32::from_be_bytes([0, trigram[0], trigram[1], trigram[2]]);
            // The highest 13 bits of a multiplication that spreads them (Knuth, 6.4).
            let bit = (number.wrapping_mul(0x9E37_79B1) >> 19) as usize;
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// `audit.search_trigrams(pattern)`: of a pattern `%text%`, in which a backslash escapes.
///
/// `ILIKE` compares both sides in lower case (`src/backend/utils/adt/like.c`); so the pattern is put into lower case as a whole.
#[pg_extern(sql = false)]
fn search_trigrams(pattern: &str) -> Vec<u8> {
    let pattern = text::lower(pattern.as_bytes());
    let pattern = pattern.strip_prefix(b"%").unwrap_or(&pattern);
    let pattern = pattern.strip_suffix(b"%").unwrap_or(pattern);
    let mut literal = Vec::with_capacity(pattern.len());
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        literal.extend(if *byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        });
    }
    let mut trigrams = Trigrams::default();
    trigrams.add(&literal);
    trigrams.bytes().to_vec()
}

/// `audit.has_trigrams(trigrams, wanted)`.
#[pg_extern(sql = false)]
fn has_trigrams(trigrams: &[u8], wanted: &[u8]) -> bool {
    wanted
        .iter()
        .zip(trigrams)
        .all(|(wanted, known)| wanted & !known == 0)
}
