//! cosignature/v1 of C2SP tlog-cosignature: a witness's statement that, as of a time, a checkpoint is the largest it saw.

/// Times beyond are not allowed.
pub(crate) const LATEST: u64 = i64::MAX.cast_unsigned();

/// What is signed: a header, the time in seconds since the Unix epoch, the checkpoint's text.
pub(crate) fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The bytes of a signature line after the key id: `u64be time || Ed25519 signature`.
pub(crate) fn format(time: u64, signature: &[u8; 64]) -> Vec<u8> {
    [&time.to_be_bytes(), signature.as_slice()].concat()
}

pub(crate) fn parse(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = bytes.split_first_chunk()?;
    let time = u64::from_be_bytes(*time);
    (time <= LATEST).then_some((time, signature))
}
