//! Writes a made-up log as an export has it (docs/log-format.md, section 9), with proofs and keys beside it, for the
//! programs in `interop/` to judge: `cargo run -p attest-log --example sample_log -- DIR LEAVES`
//!
//! Two epochs; the second one's first leaf names the first one's last checkpoint. Every seventh event
//! is erased, some are pruned (their entries stayed from an earlier export): each epoch ends with a declaration of such.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use attest_log::checkpoint::{Checkpoint, horizon};
use attest_log::declaration::{Place, Runs};
use attest_log::encoding::{Encoder, EventRecord, LeafData, TextListBuf};
use attest_log::json_line;
use attest_log::note::{KeyKind, Note, SignerKey};
use attest_log::proof::{ConsistencyProof, InclusionProof};
use attest_log::tile::{Tile, TileReader, TileWriter, push_entry};
use attest_log::{Error, Hash, tree};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// 2026-01-01 in microseconds since the Unix epoch.
const START: i64 = 1_767_225_600_000_000;
/// Leaves of one file of events.
const PER_FILE: u64 = 65_536;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "DIR LEAVES";
    let folder = PathBuf::from(arguments.next().expect(usage));
    let leaves: u64 = arguments.next().expect(usage).parse().expect(usage);
    let log = SignerKey::from_seed("db.example/log", KeyKind::Ed25519, &[1; 32]).unwrap();
    let witness =
        SignerKey::from_seed("witness.example/w", KeyKind::Cosignature, &[2; 32]).unwrap();
    put(
        &folder.join("keys"),
        format!("{}\n{}\n", log.verifier(), witness.verifier()),
    );

    let origin = |epoch| format!("pg_attest/7387654321098765432/1/16384/16402/{epoch}");
    let mut first = Epoch::new(origin(1), [0; 32]);
    for n in 0..leaves {
        first.append(&number(n));
        // Seals of growing size, so that checkpoints stand at many places of the tree.
        if n.is_power_of_two() || n % 1000 == 999 || n + 1 == leaves {
            first.seal();
        }
    }
    let erased: Vec<u64> = (0..leaves).filter(|n| number(*n).erased).collect();
    first.append(&declaration(leaves + 10, "erase", &erased, &first));
    first.seal();
    first.write(&folder.join("1"), [&log, &witness]);

    let (last, chain) = first
        .checkpoints
        .last()
        .map(|last| (last.checkpoint.clone(), last.chain))
        .unwrap();
    let mut second = Epoch::new(origin(2), chain);
    second.append(&Sample {
        context: Some(format!(
            r#"{{"epoch": 2, "origin": "{}", "previous": {{"epoch": 1, "origin": "{}", "tree_size": {}, "root": "{}", "chain": "{}"}}}}"#,
            origin(2), last.origin(), last.size(), base64(last.root()), base64(&chain),
        )),
        action: Some("epoch"),
        erased: false,
        pruned: false,
        operation: "system",
        ..number(leaves)
    });
    // Declared are leaves of the first epoch alone.
    second.append(&Sample {
        erased: false,
        pruned: false,
        ..number(leaves + 1)
    });
    let pruned: Vec<u64> = (0..leaves).filter(|n| number(*n).pruned).collect();
    second.append(&declaration(leaves + 11, "prune", &pruned, &first));
    second.seal();
    second.write(&folder.join("2"), [&log, &witness]);
}

/// Of leaves of the first epoch.
fn declaration(n: u64, action: &'static str, leaves: &[u64], first: &Epoch) -> Sample {
    let runs = Runs::of(leaves.iter().map(|index| Place {
        epoch: 1,
        index: *index,
    }));
    let hashes = leaves
        .iter()
        .map(|index| first.leaves[usize::try_from(*index).unwrap()].hash());
    let root = tree::root_of(&hashes.collect::<Vec<_>>());
    let context = format!(
        r#"{{"root": "{}", "count": {}, "leaves": {}}}"#,
        base64(&root),
        leaves.len(),
        runs.to_json().to_string().replace(',', ", "),
    );
    Sample {
        action: Some(action),
        operation: "system",
        context: Some(context),
        erased: false,
        pruned: false,
        ..number(n)
    }
}

/// What differs from one made-up event to the next.
struct Sample {
    id: i64,
    operation: &'static str,
    action: Option<&'static str>,
    row_key: String,
    new_values: Option<String>,
    context: Option<String>,
    erased: bool,
    pruned: bool,
}

fn number(n: u64) -> Sample {
    Sample {
        id: i64::try_from(n).unwrap() * 3 + 1,
        operation: ["insert", "update", "delete"][usize::try_from(n % 3).unwrap()],
        action: None,
        row_key: n.to_string(),
        new_values: (n % 3 < 2)
            .then(|| format!(r#"{{"id": {n}, "name": "Zoë \"{n}\"", "x": 1.50}}"#)),
        context: n
            .is_multiple_of(5)
            .then(|| r#"{"time_zone": "Europe/Berlin"}"#.to_owned()),
        erased: n % 7 == 3,
        pruned: n % 11 == 8,
    }
}

/// A line of `checkpoints.jsonl`.
struct Line {
    checkpoint: Checkpoint,
    sealed_at: i64,
    horizon: Hash,
    chain: Hash,
}

/// One tree, growing.
struct Epoch {
    origin: String,
    previous: Hash,
    tree: TileWriter,
    tiles: BTreeMap<Tile, Vec<Hash>>,
    leaves: Vec<LeafData>,
    events: BTreeMap<u64, Vec<u8>>,
    checkpoints: Vec<Line>,
}

impl Epoch {
    fn new(origin: String, previous: Hash) -> Self {
        Self {
            origin,
            previous,
            tree: TileWriter::new(),
            tiles: BTreeMap::new(),
            leaves: Vec::new(),
            events: BTreeMap::new(),
            checkpoints: Vec::new(),
        }
    }

    fn append(&mut self, sample: &Sample) {
        let index = self.tree.size();
        let mut changed = TextListBuf::new();
        changed.push(Some("näme".as_bytes())).unwrap();
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&sample.id.to_le_bytes());
        let event = EventRecord {
            event_id: sample.id,
            occurred_at: START + sample.id,
            captured_at: START + sample.id + 7,
            xact_id: 700 + sample.id.unsigned_abs() / 10,
            statement_id: 1,
            backend_pid: 4711,
            table_oid: Some(16_500),
            operation: sample.operation.as_bytes(),
            salt: Some(salt),
            schema_name: Some(b"public"),
            table_name: Some(b"account"),
            row_key: Some(sample.row_key.as_bytes()),
            new_values: sample.new_values.as_deref().map(str::as_bytes),
            changed_columns: (sample.operation == "update").then(|| changed.as_list()),
            session_user_name: b"app",
            effective_role: b"app",
            reason: Some(b""),
            client_addr: Some(b"10.1.2.3"),
            action: sample.action.map(str::as_bytes),
            context: sample.context.as_deref().map(str::as_bytes),
            ..EventRecord::default()
        };
        let leaf = Encoder::new().leaf(&event).unwrap();
        let erased = EventRecord {
            salt: None,
            row_key: None,
            new_values: None,
            context: None,
            payload_hash: Some(leaf.payload()),
            ..event
        };
        let stored = if sample.erased { &erased } else { &event };
        let lines = self.events.entry(index / PER_FILE).or_default();
        if !sample.pruned {
            json_line::write(lines, index, stored).unwrap();
        }
        self.tree.push(leaf.hash(), |tile, hashes| {
            self.tiles.insert(tile, hashes.to_vec());
        });
        self.leaves.push(leaf);
    }

    fn seal(&mut self) {
        let checkpoint =
            Checkpoint::new(&*self.origin, self.tree.size(), self.tree.root()).unwrap();
        let sealed_at = START + 1_000_000 * i64::try_from(self.checkpoints.len()).unwrap();
        let previous = self
            .checkpoints
            .last()
            .map_or(self.previous, |last| last.chain);
        let horizon = horizon(i64::try_from(checkpoint.size()).unwrap(), 800, "800:800:");
        let chain = checkpoint.chain(&previous, sealed_at, &horizon);
        self.checkpoints.push(Line {
            checkpoint,
            sealed_at,
            horizon,
            chain,
        });
    }

    fn write(&mut self, folder: &Path, signers: [&SignerKey; 2]) {
        let partial = self.tree.partial_tiles();
        self.tiles
            .extend(partial.map(|(tile, hashes)| (tile, hashes.to_vec())));
        for (tile, hashes) in &self.tiles {
            put(&folder.join(tile.path()), hashes.concat());
            if tile.level == 0 {
                let start = usize::try_from(tile.index).unwrap() * 256;
                let mut bundle = Vec::new();
                for leaf in &self.leaves[start..start + usize::from(tile.width)] {
                    push_entry(&mut bundle, leaf.as_bytes()).unwrap();
                }
                put(&folder.join(tile.entries_path()), bundle);
            }
        }
        for (number, lines) in &self.events {
            // A name as tiles have: the groups of digits of a full tile of this number.
            let name = Tile {
                level: 0,
                index: *number,
                width: 256,
            }
            .path();
            let name = name.strip_prefix("tile/0/").unwrap();
            put(&folder.join(format!("events/{name}.jsonl")), lines);
        }
        let line = |sealed: &Line| {
            let (checkpoint, sealed_at) = (&sealed.checkpoint, sealed.sealed_at);
            let (size, root) = (checkpoint.size(), base64(checkpoint.root()));
            let (horizon, chain) = (base64(&sealed.horizon), base64(&sealed.chain));
            format!(
                "{{\"tree_size\":{size},\"sealed_at\":{sealed_at},\"horizon\":\"{horizon}\",\"root\":\"{root}\",\"chain\":\"{chain}\"}}\n"
            )
        };
        let lines: String = self.checkpoints.iter().map(line).collect();
        put(&folder.join("checkpoints.jsonl"), lines);

        let signed = |line: &Line| {
            let size = line.checkpoint.size();
            let signature = signers[0].sign(&line.checkpoint.to_string(), 0);
            format!("{{\"tree_size\":{size},\"line\":\"{signature}\"}}\n")
        };
        let lines: String = self.checkpoints.iter().map(signed).collect();
        put(&folder.join("signatures.jsonl"), lines);

        let latest = self.checkpoints.last().unwrap().checkpoint.clone();
        let mut note = Note::new(latest.to_string()).unwrap();
        for key in signers {
            note.sign(key, 1_767_225_660);
        }
        put(&folder.join("checkpoint"), note.to_string());
        put(&folder.join("checkpoint.text"), note.text());
        put(
            &folder.join("checkpoint.signature"),
            note.signatures()[0].bytes(),
        );
        put(
            &folder.join("log-key.der"),
            spki(signers[0].verifier().public()),
        );
        self.prove(folder, &note, latest.size());
    }

    fn prove(&mut self, folder: &Path, note: &Note, size: u64) {
        for index in [0, 1, 255, 256, size / 2, size - 1]
            .into_iter()
            .filter(|index| *index < size)
        {
            let proof = InclusionProof {
                extra: Some(
                    self.leaves[usize::try_from(index).unwrap()]
                        .as_bytes()
                        .to_vec(),
                ),
                index,
                hashes: tree::inclusion_proof(self, index, size).unwrap(),
                checkpoint: note.clone(),
            };
            put(
                &folder.join(format!("proofs/{index}.tlog-proof")),
                proof.to_string(),
            );
        }
        let sizes: Vec<u64> = self
            .checkpoints
            .iter()
            .map(|c| c.checkpoint.size())
            .collect();
        for old_size in sizes {
            let proof = ConsistencyProof {
                old_size,
                hashes: tree::consistency_proof(self, old_size, size).unwrap(),
                checkpoint: note.clone(),
            };
            put(
                &folder.join(format!("proofs/{old_size}.consistency")),
                proof.to_string(),
            );
        }
    }
}

impl TileReader for Epoch {
    type Error = Error;

    fn read(&mut self, tile: Tile) -> Result<Vec<Hash>, Error> {
        self.tiles
            .get(&tile)
            .cloned()
            .ok_or(Error::ShortTile { tile, found: 0 })
    }
}

/// A public key as openssl reads it (RFC 8410).
fn spki(key: &[u8; 32]) -> Vec<u8> {
    [
        b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        key.as_slice(),
    ]
    .concat()
}

fn base64(hash: &Hash) -> String {
    BASE64_STANDARD.encode(hash)
}

fn put(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
