//! Archives made without a database, and what is done to them by one who keeps file hashes and manifest consistent.

#![allow(clippy::unwrap_used)]

use super::columns::COLUMNS;
use super::files::Rows;
use super::leaf_set::LeafSet;
use super::manifest::{Epoch, MANIFEST, Manifest, Object, checkpoint_path, tiles_path};
use super::store::{Store, sha256_hex};
use super::tiles::{self, Runs};
use super::verify::{self, Opened};
use crate::source::Found;
use crate::verify::{Check, Options, Report};
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use attest_log::encoding::{Encoder, EventRecord, TextListBuf};
use attest_log::note::{KeyKind, Note, SignerKey};
use attest_log::tree::{Frontier, root_of};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use parquet::data_type::ByteArray;
use parquet::file::metadata::{ColumnChunkMetaDataBuilder, ParquetMetaDataWriter};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use std::io::Write;

const START: i64 = 1_767_225_600_000_000;
const SIZE: u64 = 70_000;

/// What an archive is made of; each test changes some of it.
struct Sample {
    /// Leaf by leaf of the whole tree, by level.
    levels: Vec<Vec<Hash>>,
    /// The leaves that the archive has, and the value of each event.
    rows: Vec<(u64, String)>,
    /// The leaves that its manifest names.
    named: Vec<u64>,
    key: SignerKey,
    root: Hash,
}

fn value(leaf: u64) -> String {
    format!(r#"{{"id": {leaf}, "name": "Zoë"}}"#)
}

fn with_event<T>(leaf: u64, value: &str, then: impl FnOnce(EventRecord<'_>) -> T) -> T {
    let mut changed = TextListBuf::new();
    if leaf % 4 > 1 {
        changed.push(Some(b"name")).unwrap();
    }
    if leaf % 4 > 2 {
        changed.push(None).unwrap();
    }
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&leaf.to_le_bytes());
    then(EventRecord {
        event_id: i64::try_from(leaf).unwrap() + 1,
        occurred_at: START + i64::try_from(leaf).unwrap(),
        captured_at: START + 5,
        xact_id: 700 + leaf / 10,
        operation: b"update",
        salt: Some(salt).filter(|_| !leaf.is_multiple_of(100)),
        table_oid: Some(16_500).filter(|_| leaf.is_multiple_of(2)),
        schema_name: Some(b"public"),
        table_name: Some(b"account"),
        new_values: Some(value.as_bytes()).filter(|_| !leaf.is_multiple_of(100)),
        changed_columns: Some(changed.as_list()).filter(|_| !leaf.is_multiple_of(4)),
        session_user_name: b"app",
        effective_role: b"app",
        reason: Some(b""),
        payload_hash: Some([9; 32]).filter(|_| leaf.is_multiple_of(100)),
        ..EventRecord::default()
    })
}

fn leaf_hash(leaf: u64, value: &str) -> Hash {
    with_event(leaf, value, |event| {
        Encoder::new().leaf(&event).unwrap().hash()
    })
}

impl Sample {
    fn new() -> Self {
        let leaves: Vec<_> = (0..SIZE)
            .map(|leaf| leaf_hash(leaf, &value(leaf)))
            .collect();
        let root = root_of(&leaves);
        let mut levels = vec![leaves];
        while levels.last().unwrap().len() >= 256 {
            let full = levels.last().unwrap().chunks_exact(256);
            levels.push(full.map(root_of).collect());
        }
        let named = (300..1_700)
            .chain(65_400..66_000)
            .filter(|leaf| *leaf != 700);
        let named: Vec<u64> = named.collect();
        Self {
            levels,
            rows: named.iter().map(|leaf| (*leaf, value(*leaf))).collect(),
            named,
            key: SignerKey::from_seed("db.example/log", KeyKind::Ed25519, &[1; 32]).unwrap(),
            root,
        }
    }

    /// Writes the archive with a manifest that fits it.
    fn write(&self, folder: &tempfile::TempDir) -> (Store, Opened) {
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let mut rows = Rows::new(&store, &std::sync::Arc::default());
        // Not in the order of leaves, as a database may give them.
        for (leaf, value) in self.rows.iter().rev() {
            with_event(*leaf, value, |event| {
                let leaf_index = *leaf;
                rows.take(&Found::Event { leaf_index, event }, 1).unwrap();
            });
        }
        let (events, _) = rows.finish().unwrap();
        let (mut named, mut root) = (LeafSet::default(), Frontier::new());
        for leaf in &self.named {
            named.insert(1, *leaf);
            root.push(self.levels[0][usize::try_from(*leaf).unwrap()]);
        }
        let leaves = named.runs();
        let runs: Runs = leaves.iter().map(|run| (run.1, run.2)).collect();
        let levels = tiles::needed(&runs, SIZE);
        let mut bytes = Vec::new();
        for tile in tiles::in_order(&levels, SIZE) {
            let first = usize::try_from(tile.index * 256).unwrap();
            let hashes = &self.levels[usize::from(tile.level)];
            bytes.extend(hashes[first..first + usize::from(tile.width)].as_flattened());
        }
        let checkpoint = Checkpoint::new("example.org/log", SIZE, self.root).unwrap();
        let mut note = Note::new(checkpoint.to_string()).unwrap();
        note.add(self.key.sign(&checkpoint.to_string(), 0));
        let object = |path: String, bytes: Vec<u8>| {
            let object = Object {
                path,
                bytes: bytes.len() as u64,
                sha256: sha256_hex(&bytes),
            };
            store.put(&object.path, bytes).unwrap();
            object
        };
        let (format, columns) = Manifest::constant();
        let (first, last) = (self.named[0], self.named[self.named.len() - 1]);
        let manifest = Manifest {
            format,
            partition: "audit_events_2026_01".to_owned(),
            from: START,
            until: START + 1_000_000_000,
            archived_at: START,
            snapshot: "1:1:".to_owned(),
            first_event_id: i64::try_from(first).unwrap() + 1,
            last_event_id: i64::try_from(last).unwrap() + 1,
            leaves,
            count: self.named.len() as u64,
            root: BASE64_STANDARD.encode(root.root()),
            epochs: vec![Epoch {
                epoch: 1,
                origin: "example.org/log".to_owned(),
                tree_size: SIZE,
                root: BASE64_STANDARD.encode(self.root),
                checkpoint: object(checkpoint_path(1), note.to_string().into_bytes()),
                tiles: object(tiles_path(1), bytes),
                levels,
            }],
            events,
            columns,
        };
        let bytes = manifest.to_bytes().unwrap();
        let sha256 = sha256_hex(&bytes);
        let text = String::from_utf8(bytes.clone()).unwrap();
        store.put(MANIFEST, bytes).unwrap();
        let opened = Opened {
            manifest,
            text,
            sha256,
        };
        (store, opened)
    }

    fn verify(&self) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = self.write(&folder);
        let opened = verify::open(&store).unwrap().unwrap();
        match opened {
            Ok(opened) => verify::verify(&store, &opened, &options()).unwrap(),
            Err(error) => verify::broken(&store, &error),
        }
    }

    /// The findings as kind and event.
    fn found(&self) -> Vec<(Check, Option<i64>)> {
        let report = self.verify();
        let found = report.findings.iter();
        found
            .map(|finding| (finding.check, finding.event_id))
            .collect()
    }
}

fn options() -> Options {
    let key = SignerKey::from_seed("db.example/log", KeyKind::Ed25519, &[1; 32]).unwrap();
    Options {
        keys: vec![key.verifier()],
        authorities: Vec::new(),
        against: Vec::new(),
        origin: Some("example.org/log".to_owned()),
        threads: 2,
    }
}

#[test]
fn an_archive_verifies() {
    let report = Sample::new().verify();
    assert!(report.ok, "{report}");
    assert_eq!(report.epochs[0].events, 1_999);
    assert_eq!(report.epochs[0].erased_events, 19);
    assert_eq!(report.epochs[0].signatures, 1);
}

#[test]
fn an_edited_value_is_named() {
    let mut sample = Sample::new();
    sample.rows[250].1 = "{}".to_owned();
    let leaf = i64::try_from(sample.rows[250].0).unwrap();
    assert_eq!(sample.found(), [(Check::AlteredEvent, Some(leaf + 1))]);
}

#[test]
fn an_edited_tile_is_told_from_an_edited_event() {
    let mut sample = Sample::new();
    sample.levels[0][1000] = [1; 32];
    assert_eq!(sample.found(), [(Check::AlteredTile, None)]);
    let mut sample = Sample::new();
    sample.levels[1][3] = [1; 32];
    // The tile of level 1, of which all below it hang.
    let found = sample.found();
    assert!(
        found.iter().all(|(check, _)| *check == Check::AlteredTile),
        "{found:?}"
    );
    assert!(!found.is_empty());
}

#[test]
fn an_event_edited_together_with_its_tile_is_named() {
    let mut sample = Sample::new();
    let forged = r#"{"id": 1}"#;
    let (leaf, value) = &mut sample.rows[900];
    *value = forged.to_owned();
    sample.levels[0][usize::try_from(*leaf).unwrap()] = leaf_hash(*leaf, forged);
    let report = sample.verify();
    assert_eq!(report.findings[0].check, Check::AlteredTile);
    assert!(
        report.findings[0].detail.contains("changed together"),
        "{report}"
    );
}

#[test]
fn a_tree_rewritten_up_to_its_root_has_no_signature() {
    let mut sample = Sample::new();
    let (leaf, forged) = (sample.rows[900].0, r#"{"id": 1}"#);
    sample.rows[900].1 = forged.to_owned();
    sample.levels[0][usize::try_from(leaf).unwrap()] = leaf_hash(leaf, forged);
    for level in 1..sample.levels.len() {
        sample.levels[level] = sample.levels[level - 1]
            .chunks_exact(256)
            .map(root_of)
            .collect();
    }
    assert_eq!(sample.found(), [(Check::BrokenCheckpoint, None)]);
    sample.root = root_of(&sample.levels[0]);
    // Whoever has the log's key can do that: a witness's is in other hands.
    assert_eq!(sample.found(), []);
    sample.key = SignerKey::from_seed("db.example/log", KeyKind::Ed25519, &[3; 32]).unwrap();
    assert_eq!(sample.found(), [(Check::BadSignature, None)]);
}

#[test]
fn rows_that_are_gone_added_or_moved_are_named() {
    let mut sample = Sample::new();
    let (gone, _) = sample.rows.remove(40);
    let report = sample.verify();
    assert!(!report.ok);
    assert!(report.findings[0].detail.contains("rows"), "{report}");
    // In its place stands another one's copy.
    sample.rows.push((SIZE - 1, value(SIZE - 1)));
    let report = sample.verify();
    let missing = report
        .findings
        .iter()
        .find(|finding| finding.check == Check::MissingEvent);
    assert_eq!(missing.unwrap().leaf_index, Some(gone));
    let forged = (Check::ForgedEvent, Some(i64::try_from(SIZE).unwrap()));
    assert!(sample.found().contains(&forged), "{report}");
}

#[test]
fn only_the_recorded_hash_tells_of_an_archive_that_was_made_smaller() {
    let whole = Sample::new();
    let mut smaller = Sample::new();
    smaller.rows.remove(40);
    smaller.named.remove(40);
    assert_eq!(smaller.found(), []);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let recorded = whole.write(&folders[0]).1.sha256;
    let (store, _) = smaller.write(&folders[1]);
    let report = super::verify_one(&store, &options(), Some(&recorded))
        .unwrap()
        .unwrap();
    assert!(!report.ok, "{report}");
}

#[test]
fn a_key_that_did_not_sign_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, opened) = Sample::new().write(&folder);
    let other = SignerKey::from_seed("other", KeyKind::Cosignature, &[2; 32]).unwrap();
    let options = Options {
        keys: vec![other.verifier()],
        ..options()
    };
    let report = verify::verify(&store, &opened, &options).unwrap();
    assert_eq!(report.findings[0].check, Check::BadSignature);
}

/// Reads the sample's rows from its file, whose metadata of one column says something else.
fn read_with(
    column: usize,
    change: impl FnOnce(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder,
) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let (_, opened) = Sample::new().write(&folder);
    let path = folder.path().join(&opened.manifest.events[0].object.path);
    let bytes = std::fs::read(&path).unwrap();
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes.clone())).unwrap();
    let metadata = reader.metadata().clone();
    let group = metadata.row_group(0).clone();
    let mut columns = group.columns().to_vec();
    let builder = columns[column].clone().into_builder();
    columns[column] = change(builder).build().unwrap();
    let group = group.into_builder().set_column_metadata(columns);
    let groups = vec![group.build().unwrap()];
    let metadata = metadata.into_builder().set_row_groups(groups).build();
    let (rest, length) = bytes[..bytes.len() - 4].split_last_chunk::<4>().unwrap();
    let values = &rest[..rest.len() - u32::from_le_bytes(*length) as usize];
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(values).unwrap();
    ParquetMetaDataWriter::new(&file, &metadata)
        .finish()
        .unwrap();
    let mut rows = 0;
    let read = super::rows::read(file, &mut |_| {
        rows += 1;
        Ok(())
    });
    read.map(|()| rows).map_err(|error| format!("{error:#}"))
}

#[test]
fn statistics_that_hide_rows_are_refused() {
    let column = |name| COLUMNS.iter().position(|column| column.name == name);
    let event_id = column("event_id").unwrap();
    let user = column("session_user_name").unwrap();
    let reason = column("reason").unwrap();
    assert_eq!(read_with(event_id, |builder| builder), Ok(1_999));
    let longs = |min, max, nulls| Statistics::int64(Some(min), Some(max), None, nulls, false);
    let texts = |min: &str, max: &str| {
        let (min, max) = (ByteArray::from(min), ByteArray::from(max));
        Statistics::byte_array(Some(min), Some(max), None, Some(0), false)
    };
    // Wider than the values, as those of long texts are.
    let wide = read_with(event_id, |builder| {
        builder.set_statistics(longs(0, 100_000, Some(0)))
    });
    assert_eq!(wide, Ok(1_999));
    for (column, forged) in [
        (event_id, longs(302, 100_000, Some(0))),
        (event_id, longs(0, 65_999, Some(0))),
        (event_id, longs(0, 100_000, Some(1))),
        (user, texts("app2", "zzz")),
        (user, texts("a", "ap")),
        (
            reason,
            Statistics::byte_array(None, None, None, Some(1_999), false),
        ),
    ] {
        let read = read_with(column, |builder| builder.set_statistics(forged.clone()));
        assert!(read.is_err(), "{forged:?}");
    }
    for forged in [
        read_with(user, |builder| builder.set_bloom_filter_offset(Some(4))),
        read_with(user, |builder| builder.set_column_index_offset(Some(4))),
        read_with(user, |builder| builder.set_offset_index_offset(Some(4))),
    ] {
        assert!(forged.is_err_and(|why| why.contains("an index of")));
    }
}
