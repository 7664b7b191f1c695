//! The test vectors of docs/log-format.md: what this crate computes is what `vectors/log.json` says, and the page quotes
//! the same values. `ATTEST_BLESS=1` writes the file anew.
#![allow(clippy::unwrap_used)]

mod common;

use attest_log::checkpoint::{Checkpoint, horizon};
use attest_log::encoding::{Encoder, EventRecord, LeafData, TextListBuf};
use attest_log::hash::leaf_hash;
use attest_log::json_line::{LineReader, write};
use attest_log::note::{KeyKind, Note, SignerKey};
use attest_log::proof::{ConsistencyProof, InclusionProof};
use attest_log::tile::Tile;
use attest_log::{Hash, hex, tree};
use common::Tiles;
use serde_json::{Value, json};

const ORIGIN: &str = "pg_attest/7387654321098765432/1/16384/16402/1";
const TIMES: [i64; 2] = [1_767_225_600_000_000, 1_767_225_601_000_000];
/// Highest event id, next transaction id and snapshot of either seal.
const HORIZONS: [(i64, u64, &str); 2] = [(64, 753, "751:753:752"), (128, 755, "755:755:")];

fn least() -> EventRecord<'static> {
    EventRecord {
        event_id: 1,
        occurred_at: 1_767_225_600_000_000,
        captured_at: 1_767_225_600_000_250,
        xact_id: 751,
        statement_id: 0,
        backend_pid: 4711,
        operation: b"system",
        salt: Some([0; 16]),
        session_user_name: b"postgres",
        effective_role: b"postgres",
        ..EventRecord::default()
    }
}

fn update(changed: &TextListBuf) -> EventRecord<'_> {
    EventRecord {
        event_id: 2,
        operation: b"update",
        statement_id: 3,
        table_oid: Some(16_500),
        salt: Some(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"),
        schema_name: Some(b"public"),
        table_name: Some(b"account"),
        row_key: Some(b"42"),
        old_values: Some(br#"{"id": 42, "owner": "Ann", "balance": 10.50}"#),
        new_values: Some("{\"id\": 42, \"owner\": \"Zoë\", \"balance\": 10.25}".as_bytes()),
        changed_columns: Some(changed.as_list()),
        app_user_id: Some(b"u-7"),
        request_id: Some(b"req-1"),
        reason: Some(b""),
        client_addr: Some(b"10.1.2.3"),
        ..least()
    }
}

fn event(name: &str, index: u64, event: &EventRecord<'_>) -> (Value, LeafData) {
    let leaf = Encoder::new().leaf(event).unwrap();
    let mut line = Vec::new();
    write(&mut line, index, event).unwrap();
    let mut reader = LineReader::new();
    assert_eq!(reader.read(&line), Ok((index, *event)));
    let vector = json!({
        "name": name,
        "line": String::from_utf8(line).unwrap().trim_end(),
        "payload": hex(&leaf.payload()),
        "meta": hex(&leaf.meta()),
        "leaf_data": hex(leaf.as_bytes()),
        "leaf_hash": hex(&leaf.hash()),
    });
    (vector, leaf)
}

/// Leaf n's data are the digits of n.
fn counted(size: u64) -> Vec<Hash> {
    (0..size)
        .map(|n| leaf_hash(n.to_string().as_bytes()))
        .collect()
}

fn trees() -> Value {
    let hashes = |proof: Vec<Hash>| proof.iter().map(|hash| hex(hash)).collect::<Vec<_>>();
    let roots = [0, 1, 2, 3, 7, 256, 257, 1000, 70_000];
    let roots =
        roots.map(|size| json!({"size": size, "root": hex(&tree::root_of(&counted(size)))}));
    let inclusion = [(0, 1), (2, 3), (5, 7), (300, 1000)].map(|(index, size)| {
        let proof = tree::inclusion_proof(&mut Tiles::of(&counted(size)), index, size).unwrap();
        json!({"index": index, "size": size, "hashes": hashes(proof)})
    });
    let consistency = [(1, 2), (3, 7), (4, 7), (256, 1000)].map(|(old, new)| {
        let proof = tree::consistency_proof(&mut Tiles::of(&counted(new)), old, new).unwrap();
        json!({"old": old, "new": new, "hashes": hashes(proof)})
    });
    json!({
        "leaves": "leaf n, from 0, has the ASCII decimal digits of n as its data",
        "roots": roots,
        "inclusion": inclusion,
        "consistency": consistency,
    })
}

fn vectors() -> Value {
    let mut changed = TextListBuf::new();
    changed.push(Some(b"owner")).unwrap();
    changed.push(Some(b"balance")).unwrap();
    let (least, first) = event("least", 0, &least());
    let (updated, second) = event("update", 1, &update(&changed));
    let (erased, third) = event(
        "the update, erased",
        1,
        &EventRecord {
            salt: None,
            row_key: None,
            old_values: None,
            new_values: None,
            payload_hash: Some(second.payload()),
            ..update(&changed)
        },
    );
    assert_eq!(second, third);

    let log = SignerKey::from_seed("db.example/log", KeyKind::Ed25519, &[1; 32]).unwrap();
    let witness =
        SignerKey::from_seed("witness.example/w", KeyKind::Cosignature, &[2; 32]).unwrap();
    let leaves = [first.hash(), second.hash()];
    let checkpoints = [1, 2].map(|size: u64| {
        let root = tree::root_of(&leaves[..usize::try_from(size).unwrap()]);
        Checkpoint::new(ORIGIN, size, root).unwrap()
    });
    let horizons = HORIZONS.map(|(id, xid, snapshot)| horizon(id, xid, snapshot));
    let chain_1 = checkpoints[0].chain(&[0; 32], TIMES[0], &horizons[0]);
    let chain_2 = checkpoints[1].chain(&chain_1, TIMES[1], &horizons[1]);
    let link = |number: usize, previous: &Hash, chain: &Hash| {
        let (last_event_id, next_xid, snapshot) = HORIZONS[number];
        json!({
            "checkpoint": checkpoints[number].to_string(), "sealed_at": TIMES[number],
            "last_event_id": last_event_id, "next_xid": next_xid, "snapshot": snapshot,
            "horizon": hex(&horizons[number]), "previous": hex(previous), "chain": hex(chain),
        })
    };
    let mut note = Note::new(checkpoints[1].to_string()).unwrap();
    note.sign(&log, 0);
    let signed = note.to_string();
    note.sign(&witness, 1_767_225_660);
    let mut tiles = Tiles::of(&leaves);
    let inclusion = InclusionProof {
        extra: Some(second.as_bytes().to_vec()),
        index: 1,
        hashes: tree::inclusion_proof(&mut tiles, 1, 2).unwrap(),
        checkpoint: note.clone(),
    };
    let consistency = ConsistencyProof {
        old_size: 1,
        hashes: tree::consistency_proof(&mut tiles, 1, 2).unwrap(),
        checkpoint: note.clone(),
    };
    let trusted = [log.verifier(), witness.verifier()];
    assert_eq!(
        inclusion
            .verify(&second.hash(), ORIGIN, &trusted)
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        consistency.verify_path(&checkpoints[0]).unwrap(),
        checkpoints[1]
    );
    let path = |level, index, width| {
        let path = Tile {
            level,
            index,
            width,
        }
        .path();
        json!({"level": level, "index": index, "width": width, "path": path})
    };
    json!({
        "events": [least, updated, erased],
        "tree": trees(),
        "tiles": [path(0, 0, 256), path(0, 5, 17), path(1, 1_234_067, 256), path(2, 1000, 1)],
        "keys": {
            "log": {"seed": hex(&[1; 32]), "signer": log.to_secret_text(), "verifier": log.verifier().to_string()},
            "witness": {"seed": hex(&[2; 32]), "signer": witness.to_secret_text(), "verifier": witness.verifier().to_string()},
        },
        "chain": [
            link(0, &[0; 32], &chain_1),
            link(1, &chain_1, &chain_2),
        ],
        "signed": signed,
        "cosigned": note.to_string(),
        "inclusion_proof": inclusion.to_string(),
        "consistency_proof": consistency.to_string(),
    })
}

#[test]
fn the_vectors_are_what_this_crate_computes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/log.json");
    let now = vectors();
    if std::env::var_os("ATTEST_BLESS").is_some() {
        std::fs::write(path, format!("{now:#}\n")).unwrap();
    }
    let known: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(known, now);
}

/// Every hash, key, path and text of the vectors' events and notes stands in the page, so that neither can drift.
#[test]
fn the_page_quotes_the_vectors() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/log-format.md");
    let page = std::fs::read_to_string(page).unwrap();
    let vectors = vectors();
    let quoted = [
        "events",
        "tiles",
        "keys",
        "chain",
        "signed",
        "cosigned",
        "inclusion_proof",
        "consistency_proof",
    ];
    let quoted = quoted.map(|key| texts(&vectors[key]));
    let roots = texts(&vectors["tree"]["roots"]);
    let lines: Vec<String> = quoted.into_iter().flatten().chain(roots).collect();
    assert!(lines.len() > 40);
    for text in lines {
        for line in text.lines() {
            assert!(page.contains(line), "docs/log-format.md lacks: {line}");
        }
    }
}

/// All strings in a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(values) => values.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
