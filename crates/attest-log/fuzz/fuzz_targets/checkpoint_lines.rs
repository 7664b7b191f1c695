//! The lines of an export's `checkpoints.jsonl` and, behind a zero byte, `signatures.jsonl`: each is told, once.
#![no_main]

#[path = "../../../attest-cli/src/checkpoint_lines.rs"]
mod checkpoint_lines;
#[allow(dead_code, reason = "all that a source is, of which a line is a part")]
#[path = "../../../attest-cli/src/source.rs"]
mod source;

use checkpoint_lines::{Checkpoints, Lines};
use libfuzzer_sys::fuzz_target;
use source::Line;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == 0);
    let (checkpoints, signatures) = match end {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    };
    let lines = Lines::new("checkpoints".to_owned(), Some(checkpoints));
    let signature_lines = Lines::new("signatures".to_owned(), signatures);
    let mut told = 0;
    for line in Checkpoints::new(lines, signature_lines) {
        told += match line.unwrap() {
            Line::Checkpoint(sealed) => 1 + sealed.signatures.len(),
            Line::Broken(_) | Line::Stray(_) => 1,
        };
    }
    let count = |text: &[u8]| text.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(told, count(checkpoints) + signatures.map_or(0, count));
});
