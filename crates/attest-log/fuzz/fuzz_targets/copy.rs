//! Rows of a binary COPY, as a server sends events: read to the end or refused.
#![no_main]

#[allow(dead_code, reason = "nothing is selected here")]
#[path = "../../../attest-cli/src/db/event_row.rs"]
mod event_row;
#[path = "../../../attest-cli/src/db/rows.rs"]
mod rows;

use attest_log::encoding::{Encoder, TextListBuf};
use libfuzzer_sys::fuzz_target;

const GOOD: &[u8] = include_bytes!("../seeds/copy/row");

/// The number of events that have a leaf.
fn events(bytes: &[u8]) -> usize {
    let Ok(mut rows) = rows::Rows::new(bytes) else {
        return 0;
    };
    let (mut changed, mut encoder) = (TextListBuf::new(), Encoder::new());
    let mut count = 0;
    while let Ok(Some(row)) = rows.next_packed() {
        let _ = row.i64(0);
        if let Ok(event) = event_row::read(row, &mut changed) {
            count += usize::from(encoder.leaf(&event).is_ok());
        }
    }
    count
}

fuzz_target!(init: assert_eq!(events(GOOD), 1), |bytes: &[u8]| {
    events(bytes);
});
