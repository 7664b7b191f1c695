//! Events as JSON Lines: round trips, other spellings of the same line, and lines that are no events.
#![allow(clippy::unwrap_used)]

use attest_log::Error;
use attest_log::encoding::{EventRecord, TextList, TextListBuf};
use attest_log::json_line::{LineReader, write};
use proptest::prelude::*;

/// What a line cannot do without.
const LEAST: &str = r#"{"leaf_index":0,"event_id":1,"occurred_at":2,"captured_at":3,"xact_id":4,"statement_id":5,"backend_pid":6,"operation":"insert","session_user_name":"u","effective_role":"r"}"#;

fn read(line: &str) -> Result<u64, Error> {
    LineReader::new()
        .read(line.as_bytes())
        .map(|(index, _)| index)
}

#[test]
fn a_line_is_one_flat_object() {
    let mut changed = TextListBuf::new();
    changed.push(Some(b"no\"te")).unwrap();
    changed.push(None).unwrap();
    let event = EventRecord {
        event_id: -1,
        xact_id: u64::MAX,
        operation: b"update",
        salt: Some([0xab; 16]),
        new_values: Some(br#"{"note": "\u0001\n"}"#),
        changed_columns: Some(changed.as_list()),
        session_user_name: b"",
        effective_role: "r\u{f6}le\n".as_bytes(),
        payload_hash: Some([0x0f; 32]),
        ..EventRecord::default()
    };
    let mut line = Vec::new();
    write(&mut line, 7, &event).unwrap();
    let expected = r#"{"leaf_index":7,"event_id":-1,"occurred_at":0,"captured_at":0,"xact_id":18446744073709551615,"statement_id":0,"backend_pid":0,"operation":"update","salt":"abababababababababababababababab","new_values":"{\"note\": \"\\u0001\\n\"}","changed_columns":["no\"te",null],"session_user_name":"","effective_role":"röle\n","payload_hash":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}"#;
    assert_eq!(
        String::from_utf8(line.clone()).unwrap(),
        format!("{expected}\n")
    );
    assert_eq!(LineReader::new().read(&line), Ok((7, event)));
}

#[test]
fn spelling_and_order_do_not_matter() {
    let mut reader = LineReader::new();
    let line = LEAST.replace("\"u\"", "\"\\u0075\"").replace(':', " : ");
    let (_, event) = reader.read(line.as_bytes()).unwrap();
    assert_eq!(event.session_user_name, b"u");
    let moved = LEAST
        .replace("\"leaf_index\":0,", "")
        .replace('}', ",\"leaf_index\":9}");
    assert_eq!(read(&moved), Ok(9));
}

#[test]
fn other_lines_are_refused() {
    assert_eq!(read(LEAST), Ok(0));
    for (from, to) in [
        ("\"event_id\":1,", ""),
        ("\"event_id\":1,", "\"event_id\":1,\"event_id\":1,"),
        ("\"event_id\":1,", "\"event_id\":1.0,"),
        ("\"event_id\":1,", "\"event_id\":\"1\","),
        ("\"event_id\":1,", "\"event_id\":9223372036854775808,"),
        ("\"event_id\":1,", "\"event_id\":null,"),
        ("\"leaf_index\":0", "\"leaf_index\":-1"),
        ("\"xact_id\":4", "\"xact_id\":-4"),
        ("\"operation\":\"insert\"", "\"operation\":null"),
        ("\"operation\":\"insert\"", "\"operation\":\"\\ud800\""),
        ("}", ",\"reason\":null}"),
        ("}", ",\"new_values\":{}}"),
        ("}", ",\"comment\":\"\"}"),
        ("}", ",\"salt\":\"\"}"),
        ("}", ",\"salt\":\"ABABABABABABABABABABABABABABABAB\"}"),
        ("}", ",\"table_oid\":4294967296}"),
        ("}", ",\"changed_columns\":\"{}\"}"),
        ("}", ",\"changed_columns\":[1]}"),
        ("}", "}{}"),
        ("}", ""),
        ("\"event_id\":1", "\"event_id\":01"),
        ("\"event_id\":1", "\"event_id\":-"),
        ("\"event_id\":1", "\"event_id\":-0"),
        ("\"event_id\":1", "\"event_id\":-9223372036854775809"),
        ("\"xact_id\":4", "\"xact_id\":18446744073709551616"),
        ("\"u\"", "\"\\x\""),
        ("\"u\"", "\"\\u12\""),
        ("\"u\"", "\"\t\""),
        ("\"u\"", "\"u"),
        ("}", ",\"changed_columns\":[\"a\",]}"),
        ("}", ",\"changed_columns\":[,]}"),
        ("}", ",\"changed_columns\":[\"a\"}"),
    ] {
        let line = LEAST.replacen(from, to, 1);
        assert!(
            matches!(read(&line), Err(Error::EventLine { .. })),
            "{line}"
        );
    }
}

/// A space at the end is no difference, but is not how lines are written.
fn ensure_same_in_any_spelling(line: &[u8]) -> Result<(), TestCaseError> {
    let spaced = [line, b" "].concat();
    let (mut one, mut other) = (LineReader::new(), LineReader::new());
    prop_assert_eq!(one.read(line).ok(), other.read(&spaced).ok());
    Ok(())
}

#[test]
fn what_is_no_text_is_not_written() {
    let mut out = b"before".to_vec();
    let event = EventRecord {
        reason: Some(b"\xff"),
        ..EventRecord::default()
    };
    assert_eq!(
        write(&mut out, 0, &event),
        Err(Error::NotUtf8 { field: "reason" })
    );
    assert_eq!(out, b"before");
}

proptest! {
    #[test]
    fn an_event_comes_back(
        numbers: (u64, i64, i64, i64, u64, i32, i32, Option<u32>), texts in prop::collection::vec(prop::option::of("\\PC{0,8}|[\"\\\\\n\t]{1,4}"), 24),
        salt: Option<[u8; 16]>, payload_hash: Option<[u8; 32]>, changed in prop::option::of(prop::collection::vec(prop::option::of("[a-z\"]{0,5}"), 0..4)),
        harm: (prop::sample::Index, prop::sample::Index), byte in prop::sample::select(&b"\"\\,:{}[]-0e.n/u \0\t\x7f\x80\xc3a"[..]),
    ) {
        let mut list = TextListBuf::new();
        for text in changed.iter().flatten() {
            list.push(text.as_ref().map(String::as_bytes)).unwrap();
        }
        let text = |n: usize| texts[n].as_ref().map(String::as_bytes);
        let event = EventRecord {
            event_id: numbers.1, occurred_at: numbers.2, captured_at: numbers.3, xact_id: numbers.4,
            statement_id: numbers.5, backend_pid: numbers.6, table_oid: numbers.7, salt, payload_hash,
            operation: text(0).unwrap_or_default(), session_user_name: text(1).unwrap_or_default(), effective_role: text(2).unwrap_or_default(),
            schema_name: text(3), table_name: text(4), row_key: text(5), old_row_key: text(6), old_values: text(7),
            new_values: text(8), app_user_id: text(9), request_id: text(10), process_id: text(11), session_id: text(12),
            tenant_id: text(13), reason: text(14), application_name: text(15), client_addr: text(16), action: text(17),
            category: text(18), severity: text(19), entity_type: text(20), entity_id: text(21), entity_name: text(22),
            description: text(23), context: text(5),
            changed_columns: changed.as_ref().map(|_| TextList::parse(list.as_list().as_bytes()).unwrap()),
        };
        let mut line = Vec::new();
        write(&mut line, numbers.0, &event).unwrap();
        prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        let mut reader = LineReader::new();
        prop_assert_eq!(reader.read(&line), Ok((numbers.0, event)));
        line.pop();
        prop_assert_eq!(reader.read(&line), Ok((numbers.0, event)));
        ensure_same_in_any_spelling(&line)?;
        for at in [harm.0, harm.1] {
            let at = at.index(line.len());
            line[at] = byte;
            ensure_same_in_any_spelling(&line)?;
        }
        line.truncate(harm.1.index(line.len()));
        ensure_same_in_any_spelling(&line)?;
    }
}
