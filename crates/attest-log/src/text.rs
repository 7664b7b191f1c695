//! What the text formats have in common: numbers, base64 and hex, each with one spelling alone.

use crate::Hash;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::fmt::Write as _;

/// Standard base64 (RFC 4648 section 4), padded.
pub fn to_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Refuses missing padding and stray bits.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A hash in base64.
pub fn hash(text: &str) -> Option<Hash> {
    from_base64(text)?.try_into().ok()
}

/// A number in ASCII digits without leading zeroes.
pub fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// The first line, without its newline, and what follows.
pub fn line(text: &str) -> Option<(&str, &str)> {
    text.split_once('\n')
}
