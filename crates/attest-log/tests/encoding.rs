//! The canonical encoding: bytes put together by hand from docs/log-format.md, and what must make a difference.
#![allow(clippy::unwrap_used)]

use attest_log::encoding::{Encoder, EventRecord, LeafData, TextList, TextListBuf, unix_micros};
use attest_log::hash::{leaf_hash, sha256};
use attest_log::{Error, Hash};
use proptest::prelude::*;

fn tlv(tag: u16, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap();
    [&tag.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

fn event(changed: TextList<'_>) -> EventRecord<'_> {
    EventRecord {
        event_id: 42,
        occurred_at: 1_700_000_000_000_001,
        captured_at: 1_700_000_000_000_002,
        xact_id: 777,
        statement_id: 1,
        backend_pid: 4321,
        table_oid: Some(16_384),
        operation: b"update",
        salt: Some(*b"0123456789abcdef"),
        schema_name: Some(b"public"),
        table_name: Some(b"account"),
        row_key: Some(b"7"),
        old_values: Some(br#"{"id": 7, "note": null}"#),
        new_values: Some(br#"{"id": 7, "note": ""}"#),
        changed_columns: Some(changed),
        session_user_name: b"app",
        effective_role: b"app",
        reason: Some(b""),
        ..EventRecord::default()
    }
}

fn changed() -> TextListBuf {
    let mut list = TextListBuf::new();
    list.push(Some(b"note")).unwrap();
    list
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let list = changed();
    let event = event(list.as_list());
    let payload = [
        b"pg_attest/payload/v1\n".to_vec(),
        b"0123456789abcdef".to_vec(),
        tlv(12, b"7"),
        tlv(14, br#"{"id": 7, "note": null}"#),
        tlv(15, br#"{"id": 7, "note": ""}"#),
    ];
    let meta = [
        b"pg_attest/meta/v1\n".to_vec(),
        tlv(1, &42i64.to_be_bytes()),
        tlv(2, &1_700_000_000_000_001i64.to_be_bytes()),
        tlv(3, &1_700_000_000_000_002i64.to_be_bytes()),
        tlv(4, &777u64.to_be_bytes()),
        tlv(5, &1i32.to_be_bytes()),
        tlv(6, &4321i32.to_be_bytes()),
        tlv(7, &16_384u32.to_be_bytes()),
        tlv(8, b"update"),
        tlv(10, b"public"),
        tlv(11, b"account"),
        tlv(16, b"\0\0\0\x01\0\0\0\x04note"),
        tlv(17, b"app"),
        tlv(18, b"app"),
        tlv(24, b""),
    ];
    let mut encoder = Encoder::new();
    let leaf = encoder.leaf(&event).unwrap();
    assert_eq!(leaf.payload(), sha256(&payload.concat()));
    assert_eq!(leaf.meta(), sha256(&meta.concat()));
    let data = [
        b"pg_attest/leaf/v1\n".to_vec(),
        42u64.to_be_bytes().to_vec(),
        777u64.to_be_bytes().to_vec(),
        1_700_000_000_000_001i64.to_be_bytes().to_vec(),
        leaf.meta().to_vec(),
        leaf.payload().to_vec(),
    ];
    assert_eq!(leaf.as_bytes().as_slice(), data.concat());
    assert_eq!(leaf.hash(), leaf_hash(&data.concat()));
    assert_eq!(LeafData::parse(leaf.as_bytes()), Ok(leaf));
    assert_eq!(
        (leaf.event_id(), leaf.xact_id(), leaf.occurred_at()),
        (42, 777, 1_700_000_000_000_001)
    );
}

/// Each field of an event, changed alone.
#[test]
fn every_field_counts() {
    let (list, other, empty) = (changed(), TextListBuf::new(), TextListBuf::new());
    let base = event(list.as_list());
    macro_rules! with {
        ($($field:ident : $value:expr),* $(,)?) => { vec![$(EventRecord { $field: $value, ..base }),*] };
    }
    let variants = with! {
        event_id: 43, occurred_at: 0, captured_at: 0, xact_id: 0, statement_id: -1, backend_pid: 0,
        table_oid: None, table_oid: Some(1), operation: b"insert", salt: Some([0; 16]),
        schema_name: None, table_name: None, row_key: None, row_key: Some(b""), old_row_key: Some(b"7"),
        old_values: None, new_values: None, changed_columns: None, changed_columns: Some(other.as_list()),
        session_user_name: b"", effective_role: b"", app_user_id: Some(b"app"), request_id: Some(b"app"),
        process_id: Some(b"app"), session_id: Some(b"app"), tenant_id: Some(b"app"), reason: None,
        application_name: Some(b""), client_addr: Some(b""), action: Some(b""), category: Some(b""),
        severity: Some(b""), entity_type: Some(b""), entity_id: Some(b""), entity_name: Some(b""),
        description: Some(b""), context: Some(b""),
    };
    let mut encoder = Encoder::new();
    let mut leaves: Vec<Hash> = Vec::new();
    for variant in std::iter::once(&base).chain(&variants) {
        leaves.push(encoder.leaf(variant).unwrap().hash());
    }
    let count = leaves.len();
    leaves.sort_unstable();
    leaves.dedup();
    assert_eq!(leaves.len(), count);
    assert_eq!(other.as_list(), empty.as_list());
}

#[test]
fn an_erased_event_keeps_its_leaf() {
    let list = changed();
    let event = event(list.as_list());
    let mut encoder = Encoder::new();
    let leaf = encoder.leaf(&event).unwrap();
    let erased = EventRecord {
        salt: None,
        row_key: None,
        old_values: None,
        new_values: None,
        payload_hash: Some(leaf.payload()),
        ..event
    };
    assert_eq!(encoder.leaf(&erased), Ok(leaf));
    let half = EventRecord {
        row_key: Some(b"7"),
        ..erased
    };
    assert_eq!(
        encoder.leaf(&half),
        Err(Error::HalfErased { left: "row_key" })
    );
    let half = EventRecord {
        salt: event.salt,
        ..erased
    };
    assert_eq!(encoder.leaf(&half), Err(Error::HalfErased { left: "salt" }));
    let bare = EventRecord {
        payload_hash: None,
        ..erased
    };
    assert_eq!(encoder.leaf(&bare), Err(Error::NoCommitment));
}

#[test]
fn times_of_postgresql_become_unix_times() {
    assert_eq!(unix_micros(0), 946_684_800_000_000);
    assert_eq!(unix_micros(-946_684_800_000_000), 0);
    assert_ne!(unix_micros(i64::MAX), unix_micros(i64::MIN));
}

#[test]
fn other_leaf_data_is_refused() {
    assert_eq!(LeafData::parse(b""), Err(Error::LeafLength { length: 0 }));
    assert_eq!(LeafData::parse(&[b'p'; 106]), Err(Error::LeafPrefix));
}

proptest! {
    #[test]
    fn a_list_comes_back(texts in prop::collection::vec(prop::option::of(".{0,9}"), 0..6)) {
        let mut list = changed();
        list.clear();
        for text in &texts {
            list.push(text.as_ref().map(String::as_bytes)).unwrap();
        }
        let parsed = TextList::parse(list.as_list().as_bytes()).unwrap();
        prop_assert_eq!(parsed, list.as_list());
        let back: Vec<Option<String>> = parsed.iter().map(|t| t.map(|t| String::from_utf8(t.to_vec()).unwrap())).collect();
        prop_assert_eq!(back, texts);
    }

    #[test]
    fn a_list_has_one_encoding(bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 255]), 0..24)) {
        if let Ok(list) = TextList::parse(&bytes) {
            let mut again = TextListBuf::new();
            list.iter().for_each(|text| again.push(text).unwrap());
            prop_assert_eq!(again.as_list().as_bytes(), bytes);
        }
    }
}
