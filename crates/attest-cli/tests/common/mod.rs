//! Makes exports without a database, and runs the program on them.

#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::unwrap_used)]

use attest_log::checkpoint::Checkpoint;
use attest_log::encoding::{Encoder, EventRecord, LeafData};
use attest_log::hash::sha256;
use attest_log::note::{KeyKind, Note, SignerKey};
use attest_log::tile::{Tile, TileWriter, push_entry};
use attest_log::{Hash, json_line};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// 2026-01-01 in microseconds since the Unix epoch.
const START: i64 = 1_767_225_600_000_000;

pub fn log_key() -> SignerKey {
    SignerKey::from_seed("db.example/log", KeyKind::Ed25519, &[1; 32]).unwrap()
}

pub fn witness_key() -> SignerKey {
    SignerKey::from_seed("witness.example/w", KeyKind::Cosignature, &[2; 32]).unwrap()
}

/// What an event says.
#[derive(Clone)]
pub struct Event {
    pub id: i64,
    pub user: String,
    pub value: String,
    /// Of an event of operation `system`: its action and context.
    pub system: Option<(&'static str, String)>,
    pub left: Left,
}

/// What is left of an event since it was sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Left {
    All,
    AllButPayload,
    Nothing,
}

impl Event {
    pub fn number(n: u64) -> Self {
        let id = i64::try_from(n).unwrap() * 2 + 1;
        Self {
            id,
            user: "app".to_owned(),
            value: format!(r#"{{"id": {id}, "name": "Zoë \"{n}\""}}"#),
            system: None,
            left: Left::All,
        }
    }

    /// As it was sealed.
    fn record(&self) -> EventRecord<'_> {
        let mut salt = [7; 16];
        salt[..8].copy_from_slice(&self.id.to_le_bytes());
        EventRecord {
            event_id: self.id,
            occurred_at: START + self.id,
            captured_at: START + self.id + 5,
            xact_id: 700 + self.id.unsigned_abs() / 10,
            operation: if self.system.is_some() {
                b"system"
            } else {
                b"insert"
            },
            salt: Some(salt),
            schema_name: Some(b"public"),
            table_name: Some(b"account"),
            new_values: Some(self.value.as_bytes()),
            session_user_name: self.user.as_bytes(),
            effective_role: b"app",
            action: self.system.as_ref().map(|(action, _)| action.as_bytes()),
            context: self.system.as_ref().map(|(_, context)| context.as_bytes()),
            ..EventRecord::default()
        }
    }

    pub fn leaf(&self) -> LeafData {
        Encoder::new().leaf(&self.record()).unwrap()
    }

    pub fn line(&self, leaf: u64) -> String {
        let (mut line, mut record) = (Vec::new(), self.record());
        match self.left {
            Left::All => {}
            Left::AllButPayload => {
                record.payload_hash = Some(self.leaf().payload());
                (record.salt, record.new_values, record.context) = (None, None, None);
            }
            Left::Nothing => return String::new(),
        }
        json_line::write(&mut line, leaf, &record).unwrap();
        String::from_utf8(line).unwrap()
    }
}

/// A log of one epoch or more, to be written as an export.
pub struct Log {
    pub epochs: Vec<Vec<Event>>,
    /// A seal each so many events.
    pub every: usize,
}

impl Log {
    pub fn of(events: u64) -> Self {
        Self {
            epochs: vec![(0..events).map(Event::number).collect()],
            every: 100,
        }
    }

    pub fn origin(epoch: usize) -> String {
        format!("pg_attest/7387654321098765432/1/16384/16402/{epoch}")
    }

    /// Writes all of it, with right hashes and signatures, whatever the events are.
    pub fn write(&self) -> Export {
        let export = Export(tempfile::tempdir().unwrap());
        let (mut chain, mut last): (Hash, Option<Checkpoint>) = ([0; 32], None);
        for (position, events) in self.epochs.iter().enumerate() {
            let number = position + 1;
            let mut events = events.clone();
            if let Some(last) = &last {
                let context = format!(
                    r#"{{"epoch": {number}, "origin": "{}", "previous": {{"epoch": {position}, "origin": "{}", "tree_size": {}, "root": "{}", "chain": "{}"}}}}"#,
                    Self::origin(number),
                    last.origin(),
                    last.size(),
                    BASE64_STANDARD.encode(last.root()),
                    BASE64_STANDARD.encode(chain),
                );
                events[0].system = Some(("epoch", context));
            }
            (chain, last) = self.epoch(&export, number, &events, chain);
        }
        export
    }

    fn epoch(
        &self,
        export: &Export,
        number: usize,
        events: &[Event],
        mut chain: Hash,
    ) -> (Hash, Option<Checkpoint>) {
        let put = |path: String, bytes: &[u8]| export.put(&format!("{number}/{path}"), bytes);
        let mut tree = TileWriter::new();
        let (mut tiles, mut bundles) = (BTreeMap::new(), BTreeMap::<u64, Vec<u8>>::new());
        let (mut lines, mut checkpoints, mut last) =
            (BTreeMap::<u64, String>::new(), String::new(), None);
        for (place, event) in events.iter().enumerate() {
            let (leaf, data) = (tree.size(), event.leaf());
            tree.push(data.hash(), |tile, hashes| {
                tiles.insert(tile, hashes.to_vec());
            });
            let entry = match event.left {
                Left::Nothing => &[][..],
                Left::All | Left::AllButPayload => data.as_bytes(),
            };
            push_entry(bundles.entry(leaf / 256).or_default(), entry).unwrap();
            lines
                .entry(leaf / 65_536)
                .or_default()
                .push_str(&event.line(leaf));
            if (place + 1) % self.every == 0 || place + 1 == events.len() {
                let checkpoint =
                    Checkpoint::new(Self::origin(number), tree.size(), tree.root()).unwrap();
                let sealed_at = START + 60_000_000 * i64::try_from(place).unwrap();
                let horizon = sha256(&place.to_be_bytes());
                chain = checkpoint.chain(&chain, sealed_at, &horizon);
                writeln!(
                    checkpoints,
                    "{{\"tree_size\":{},\"sealed_at\":{sealed_at},\"horizon\":\"{}\",\"root\":\"{}\",\"chain\":\"{}\"}}",
                    tree.size(),
                    BASE64_STANDARD.encode(horizon),
                    BASE64_STANDARD.encode(tree.root()),
                    BASE64_STANDARD.encode(chain)
                )
                .unwrap();
                last = Some(checkpoint);
            }
        }
        tiles.extend(
            tree.partial_tiles()
                .map(|(tile, hashes)| (tile, hashes.to_vec())),
        );
        for (tile, hashes) in &tiles {
            put(tile.path(), hashes.as_flattened());
        }
        for (index, bundle) in bundles {
            put(
                Tile::in_tree(0, index, tree.size()).unwrap().entries_path(),
                &bundle,
            );
        }
        for (segment, lines) in lines {
            put(format!("events/{segment:03}.jsonl"), lines.as_bytes());
        }
        put("checkpoints.jsonl".into(), checkpoints.as_bytes());
        let mut note = Note::new(last.as_ref().unwrap().to_string()).unwrap();
        note.sign(&log_key(), 0);
        note.sign(&witness_key(), 1_767_225_660);
        put("checkpoint".into(), note.to_string().as_bytes());
        (chain, last)
    }
}

/// A folder that goes with this value.
pub struct Export(tempfile::TempDir);

impl Export {
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Changes a text file; the change must be one.
    pub fn edit(&self, path: &str, change: impl FnOnce(String) -> String) {
        let before = self.text(path);
        let after = change(before.clone());
        assert_ne!(before, after, "nothing was changed");
        self.put(path, after.as_bytes());
    }

    /// Changes the lines of a file.
    pub fn lines(&self, path: &str, change: impl FnOnce(&mut Vec<String>)) {
        self.edit(path, |text| {
            let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
            change(&mut lines);
            lines.concat()
        });
    }

    /// Flips a bit of a file.
    pub fn flip(&self, path: &str, byte: usize) {
        let mut bytes = fs::read(self.path(path)).unwrap();
        bytes[byte] ^= 1;
        self.put(path, &bytes);
    }

    /// Verifies it with both keys and these arguments: exit status and report.
    pub fn verify(&self, arguments: &[&str]) -> (i32, Json) {
        let keys = format!(
            "# trusted\n\n{}\n{}\n",
            log_key().verifier(),
            witness_key().verifier()
        );
        let file = self.path("keys");
        fs::write(&file, keys).unwrap();
        let mut command = attest();
        command
            .arg("verify")
            .arg(self.0.path())
            .arg("--json")
            .arg("--trusted-keys")
            .arg(&file);
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let report =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("no report: {output:?}"));
        (output.status.code().unwrap(), report)
    }

    /// The findings as `check leaf event`, and nothing else must be wrong with the report.
    pub fn findings(&self, arguments: &[&str]) -> Vec<String> {
        let (status, report) = self.verify(arguments);
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(status, i32::from(!findings.is_empty()), "{report:#}");
        assert_eq!(report["ok"], findings.is_empty());
        let say = |value: &Json| {
            value
                .as_i64()
                .map_or("-".to_owned(), |number| number.to_string())
        };
        let line = |finding: &Json| {
            let check = finding["check"].as_str().unwrap();
            format!(
                "{check} {} {}",
                say(&finding["leaf_index"]),
                say(&finding["event_id"])
            )
        };
        findings.iter().map(line).collect()
    }
}

/// The program.
pub fn attest() -> Command {
    Command::new(env!("CARGO_BIN_EXE_attest"))
}

pub fn run(arguments: &[&str]) -> Output {
    attest().args(arguments).output().unwrap()
}

pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}
