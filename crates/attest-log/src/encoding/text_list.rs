//! A list of texts as bytes: `u32be count`, then for each `u32be length || bytes`; NULL is length 0xFFFFFFFF alone.

use crate::Error;

const NULL: u32 = u32::MAX;

/// A list that is being put together; its memory can be used again.
#[derive(Debug, Clone)]
pub struct TextListBuf {
    count: u32,
    bytes: Vec<u8>,
}

impl Default for TextListBuf {
    fn default() -> Self {
        Self {
            count: 0,
            bytes: vec![0; 4],
        }
    }
}

impl TextListBuf {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the list empty again.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.truncate(4);
        self.bytes[..4].fill(0);
    }

    /// Appends an element; None is NULL.
    ///
    /// # Errors
    /// [`Error::FieldTooLong`] for a text of 4 GiB.
    pub fn push(&mut self, text: Option<&[u8]>) -> Result<(), Error> {
        let too_long = |length| Error::FieldTooLong {
            field: "changed_columns",
            length,
        };
        let length = match text {
            None => NULL,
            Some(text) => u32::try_from(text.len())
                .ok()
                .filter(|length| *length != NULL)
                .ok_or_else(|| too_long(text.len()))?,
        };
        self.count = self.count.checked_add(1).ok_or(too_long(usize::MAX))?;
        self.bytes[..4].copy_from_slice(&self.count.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(text.unwrap_or_default());
        Ok(())
    }

    /// The list as it is now.
    pub fn as_list(&self) -> TextList<'_> {
        TextList(&self.bytes)
    }
}

/// A list in its encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextList<'a>(&'a [u8]);

impl<'a> TextList<'a> {
    /// Takes an encoded list.
    ///
    /// # Errors
    /// [`Error::BrokenList`] where the bytes are no such encoding.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let broken = |rest: &[u8]| Error::BrokenList {
            at: bytes.len() - rest.len(),
        };
        let (count, mut rest) = length_of(bytes).ok_or_else(|| broken(bytes))?;
        for _ in 0..count {
            (_, rest) = element(rest).ok_or_else(|| broken(rest))?;
        }
        if rest.is_empty() {
            Ok(Self(bytes))
        } else {
            Err(broken(rest))
        }
    }

    /// The encoding.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The elements; None is NULL.
    pub fn iter(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let mut rest = self.0.get(4..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (text, after) = element(rest)?;
            rest = after;
            Some(text)
        })
    }
}

fn length_of(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*length), rest))
}

fn element(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = length_of(bytes)?;
    if length == NULL {
        return Some((None, rest));
    }
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(text), rest))
}
