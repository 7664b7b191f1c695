//! Tag, length, value: `u16be tag || u32be length || bytes`, tags ascending, absent fields left out.

use crate::Error;

/// Appends fields to a buffer.
///
/// Invariant: tags ascend strictly; an encoding has one order only.
pub struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
    last_tag: u16,
    too_long: Option<Error>,
}

impl<'a> Writer<'a> {
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self {
            buffer,
            last_tag: 0,
            too_long: None,
        }
    }

    /// A field; None is left out.
    pub fn field(&mut self, tag: u16, name: &'static str, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        debug_assert!(tag > self.last_tag, "{name} is out of order");
        self.last_tag = tag;
        let Ok(length) = u32::try_from(value.len()) else {
            self.too_long.get_or_insert(Error::FieldTooLong {
                field: name,
                length: value.len(),
            });
            return;
        };
        let mut header = [0; 6];
        header[..2].copy_from_slice(&tag.to_be_bytes());
        header[2..].copy_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(value);
    }

    /// # Errors
    /// [`Error::FieldTooLong`] when a field did not fit.
    pub fn finish(self) -> Result<(), Error> {
        self.too_long.map_or(Ok(()), Err)
    }
}
