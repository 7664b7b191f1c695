//! What an archive says of itself: docs/archive.md, "Manifest". Written last: without it there is no archive.

use super::columns::{COLUMNS, Column};
use super::tiles::Runs;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";
/// Bytes of a manifest at most.
pub const MOST_BYTES: u64 = 64 << 20;
const FORMAT: &str = "pg_attest/archive/v1";

/// Members without an explanation mean what they mean in the log: docs/log-format.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub partition: String,
    /// The partition's bounds: times of its events, the second one excluded.
    pub from: i64,
    pub until: i64,
    pub archived_at: i64,
    /// The snapshot of the database that the archive is of.
    pub snapshot: String,
    pub first_event_id: i64,
    pub last_event_id: i64,
    /// The leaves of the events: epoch, first and last one of each run.
    pub leaves: Vec<(u32, u64, u64)>,
    pub count: u64,
    /// The Merkle tree hash over these leaves, in base64.
    pub root: String,
    pub epochs: Vec<Epoch>,
    pub events: Vec<EventFile>,
    pub columns: Vec<ColumnType>,
}

/// A tree that leaves are in.
#[expect(clippy::struct_field_names, reason = "its members are the format's")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    pub epoch: u32,
    pub origin: String,
    pub tree_size: u64,
    /// In base64.
    pub root: String,
    pub checkpoint: Object,
    pub tiles: Object,
    /// By level, the tiles that are there: first and last one of each run.
    pub levels: Vec<Runs>,
}

/// An object of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// A Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFile {
    #[serde(flatten)]
    pub object: Object,
    pub rows: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnType {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// The name of the n-th Parquet file.
pub fn events_path(number: usize) -> String {
    format!("events/{number:03}.parquet")
}

/// The name of an epoch's checkpoint, a note.
pub fn checkpoint_path(epoch: u32) -> String {
    format!("checkpoints/{epoch}")
}

/// The name of an epoch's tiles.
pub fn tiles_path(epoch: u32) -> String {
    format!("tiles/{epoch}")
}

impl Manifest {
    /// The only values that the format allows for what is the same in every archive.
    pub fn constant() -> (String, Vec<ColumnType>) {
        let column = |column: &Column| ColumnType {
            name: column.name.to_owned(),
            kind: column.kind.name().to_owned(),
        };
        (FORMAT.to_owned(), COLUMNS.iter().map(column).collect())
    }

    /// As it is written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a manifest and demands that it makes sense by itself.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Any {
            format: Option<String>,
        }
        let any: Any = serde_json::from_slice(bytes).context("it is not JSON")?;
        let (format, columns) = Self::constant();
        let said = any.format.unwrap_or_default();
        ensure!(
            said == format,
            "its format is {said:?}; this program knows {format:?}"
        );
        let manifest: Self = serde_json::from_slice(bytes)?;
        ensure!(
            manifest.columns == columns,
            "its columns are not those of {format}"
        );
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.from < self.until, "its bounds are the wrong way round");
        ensure!(
            self.first_event_id <= self.last_event_id,
            "its event ids are the wrong way round"
        );
        // No log has as many; sums of sizes stay within 64 bits.
        ensure!(
            self.epochs.iter().all(|tree| tree.tree_size < 1 << 48),
            "a tree is too large"
        );
        let mut count = 0_u64;
        let mut before: Option<(u32, u64)> = None;
        for (epoch, first, last) in self.leaves.iter().copied() {
            let ascends = before.is_none_or(|before| (epoch, first) > before);
            ensure!(ascends && first <= last, "its leaves do not ascend");
            let tree = self.epochs.iter().find(|tree| tree.epoch == epoch);
            ensure!(
                tree.is_some_and(|tree| last < tree.tree_size),
                "it has leaves beyond its checkpoints"
            );
            count = count.saturating_add(last - first + 1);
            before = Some((epoch, last));
        }
        ensure!(
            count == self.count,
            "its leaves are {count}, its count is {}",
            self.count
        );
        let rows = self
            .events
            .iter()
            .fold(0_u64, |rows, file| rows.saturating_add(file.rows));
        ensure!(
            rows == self.count,
            "its files have {rows} rows, its count is {}",
            self.count
        );
        ensure!(
            self.epochs
                .windows(2)
                .all(|pair| pair[0].epoch < pair[1].epoch),
            "its epochs do not ascend"
        );
        for (number, file) in self.events.iter().enumerate() {
            let path = events_path(number);
            ensure!(
                file.object.path == path,
                "{} stands where {path} should",
                file.object.path
            );
        }
        for tree in &self.epochs {
            let runs = self.leaves.iter().filter(|run| run.0 == tree.epoch);
            ensure!(
                tree.checkpoint.path == checkpoint_path(tree.epoch)
                    && tree.tiles.path == tiles_path(tree.epoch)
                    && runs.count() > 0,
                "epoch {} is not what it should be",
                tree.epoch
            );
        }
        Ok(())
    }

    /// The runs of one epoch's leaves.
    pub fn runs(&self, epoch: u32) -> Runs {
        let runs = self.leaves.iter().filter(|run| run.0 == epoch);
        runs.map(|(_, first, last)| (*first, *last)).collect()
    }

    /// The names of all objects of the archive.
    pub fn paths(&self) -> Vec<&str> {
        let trees = self
            .epochs
            .iter()
            .flat_map(|tree| [&tree.checkpoint, &tree.tiles]);
        let objects = self.events.iter().map(|file| &file.object).chain(trees);
        let mut paths: Vec<_> = objects.map(|object| object.path.as_str()).collect();
        paths.push(MANIFEST);
        paths
    }
}
