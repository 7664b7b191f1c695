//! Entry bundles: the leaf data of a level-0 tile, each `u16be length || data`.

use crate::Error;

/// Appends an entry to a bundle.
///
/// # Errors
/// [`Error::EntryTooLong`] past 65,535 bytes.
pub fn push_entry(bundle: &mut Vec<u8>, data: &[u8]) -> Result<(), Error> {
    let length =
        u16::try_from(data.len()).map_err(|_| Error::EntryTooLong { length: data.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(data);
    Ok(())
}

/// The entries of a bundle, in order; ends after an error.
#[derive(Debug, Clone)]
pub struct BundleReader<'a> {
    bundle: &'a [u8],
    at: usize,
}

impl<'a> BundleReader<'a> {
    /// Reads this bundle.
    pub fn new(bundle: &'a [u8]) -> Self {
        Self { bundle, at: 0 }
    }

    fn entry(&self) -> Option<&'a [u8]> {
        let (length, rest) = self.bundle[self.at..].split_first_chunk()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    }
}

impl<'a> Iterator for BundleReader<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bundle.len() {
            return None;
        }
        if let Some(entry) = self.entry() {
            self.at += 2 + entry.len();
            return Some(Ok(entry));
        }
        let at = std::mem::replace(&mut self.at, self.bundle.len());
        Some(Err(Error::BrokenBundle { at }))
    }
}
