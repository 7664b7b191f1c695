//! What one core does: `cargo run --release -p attest-log --example speed`
//!
//! The event is a typical UPDATE: about 300 bytes of payload, 250 of the rest.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use attest_log::encoding::{Encoder, EventRecord, TextListBuf};
use attest_log::hash::leaf_hash;
use attest_log::json_line::{LineReader, write};
use attest_log::tile::TileWriter;
use attest_log::tree::Frontier;
use std::hint::black_box;
use std::time::Instant;

const EVENTS: u64 = 2_000_000;

fn main() {
    let mut changed = TextListBuf::new();
    changed.push(Some(b"balance")).unwrap();
    changed.push(Some(b"updated_at")).unwrap();
    let event = EventRecord {
        event_id: 123_456_789,
        occurred_at: 1_700_000_000_123_456,
        captured_at: 1_700_000_000_123_789,
        xact_id: 987_654_321,
        statement_id: 2,
        backend_pid: 54_321,
        table_oid: Some(16_400),
        operation: b"update",
        salt: Some(*b"0123456789abcdef"),
        schema_name: Some(b"public"),
        table_name: Some(b"pgbench_accounts"),
        row_key: Some(b"1234567"),
        old_values: Some(br#"{"aid": 1234567, "bid": 13, "balance": 1200.50, "owner": "Jane Example", "updated_at": "2026-01-01T10:00:00+00:00"}"#),
        new_values: Some(br#"{"aid": 1234567, "bid": 13, "balance": 1100.25, "owner": "Jane Example", "updated_at": "2026-01-02T11:30:00+00:00"}"#),
        changed_columns: Some(changed.as_list()),
        session_user_name: b"app_backend",
        effective_role: b"app_backend",
        app_user_id: Some(b"user-4711"),
        request_id: Some(b"0190f7a2-5b1c-7e4e-8f00-123456789abc"),
        application_name: Some(b"pgbench"),
        client_addr: Some(b"10.1.2.3"),
        context: Some(br#"{"time_zone": "Europe/Berlin"}"#),
        ..EventRecord::default()
    };
    let mut encoder = Encoder::new();
    measure("leaf hash of an event (payload, meta, leaf)", || {
        black_box(encoder.leaf(black_box(&event)).unwrap().hash());
    });
    let leaf = leaf_hash(b"leaf");
    let mut frontier = Frontier::new();
    measure("leaf into the tree", || frontier.push(black_box(leaf)));
    let mut writer = TileWriter::new();
    measure("event into tiles, from its fields", || {
        let leaf = encoder.leaf(black_box(&event)).unwrap().hash();
        writer.push(leaf, |tile, hashes| {
            black_box((tile, hashes));
        });
    });
    let mut line = Vec::new();
    measure("line of an export written", || {
        line.clear();
        write(&mut line, 1, black_box(&event)).unwrap();
    });
    // Without its newline, as readers cut a file.
    line.pop();
    let mut reader = LineReader::new();
    measure(
        &format!("line of an export read ({} bytes)", line.len()),
        || {
            black_box(reader.read(black_box(&line)).unwrap());
        },
    );
    let mut frontier = Frontier::new();
    measure("event verified from its line", || {
        let (_, event) = reader.read(black_box(&line)).unwrap();
        frontier.push(encoder.leaf(&event).unwrap().hash());
    });
}

fn measure(what: &str, mut f: impl FnMut()) {
    let start = Instant::now();
    (0..EVENTS).for_each(|_| f());
    let nanos = start.elapsed().as_nanos() as f64 / EVENTS as f64;
    println!("{what:<45} {nanos:>6.0} ns {:>12.0}/s", 1e9 / nanos);
}
