//! Lines of events and lists: what is accepted comes back the same from what is written, and is the same in any spelling.
#![no_main]

use attest_log::encoding::{Encoder, TextList, TextListBuf};
use attest_log::json_line::{LineReader, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut one, mut other) = (LineReader::new(), LineReader::new());
    // With a space at the end it is not how lines are written.
    let spaced = [bytes, b" "].concat();
    assert_eq!(one.read(bytes).ok(), other.read(&spaced).ok());
    if let Ok((index, event)) = one.read(bytes) {
        let mut line = Vec::new();
        write(&mut line, index, &event).unwrap();
        assert_eq!(other.read(&line), Ok((index, event)));
        let _ = Encoder::new().leaf(&event);
    }
    if let Ok(list) = TextList::parse(bytes) {
        let mut again = TextListBuf::new();
        for text in list.iter() {
            again.push(text).unwrap();
        }
        assert_eq!(again.as_list().as_bytes(), bytes);
    }
});
