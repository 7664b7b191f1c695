//! `audit.record_archive`: what stands outside the database, verified by reading it back.
//!
//! That it was read back is the caller's word. Whatever else a manifest says of this log is checked against the log.

use super::declaration::{self, Runs};
use super::{exclusively, needed};
use crate::act::Act;
use crate::attach::registry::first;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::ledger::events::{Events, Partition};
use crate::ledger::leaf::at::EVENT_ID;
use crate::ledger::sealed;
use crate::pg::catalog;
use crate::pg::query::{self, Arg};
use crate::pg::role::ActAsSuperuser;
use crate::pg::snapshot::Snapshot;
use attest_log::hash::sha256;
use attest_log::tree::Frontier;
use attest_log::{Hash, hex};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use pgrx::prelude::*;
use serde::Deserialize;
use serde_json::Value as Json;

/// `audit.record_archive(uri, manifest)`; returns the event that records it.
#[pg_extern(sql = false)]
fn record_archive(uri: Option<&str>, manifest: Option<&str>) -> i64 {
    let hint = "attest archive calls audit.record_archive() itself.";
    let uri = or_raise(needed(uri, "the archive's address", hint));
    let manifest = or_raise(needed(manifest, "the archive's manifest", hint));
    or_raise(record(uri, manifest))
}

/// What of a manifest is about the log: docs/archive.md, "Manifest".
#[derive(Deserialize)]
struct Manifest {
    format: String,
    partition: String,
    from: i64,
    until: i64,
    archived_at: i64,
    first_event_id: i64,
    last_event_id: i64,
    leaves: Json,
    count: u64,
    root: String,
    epochs: Vec<Tree>,
    events: Vec<File>,
}

#[derive(Deserialize)]
#[allow(clippy::struct_field_names)] // its members are the format's
struct Tree {
    epoch: i32,
    origin: String,
    tree_size: u64,
    root: String,
}

#[derive(Deserialize)]
struct File {
    rows: u64,
}

const FORMAT: &str = "pg_attest/archive/v1";
/// Events that are looked for together.
const TOGETHER: usize = 1 << 16;

fn record(uri: &str, manifest_text: &str) -> Result<i64> {
    let manifest: Manifest = serde_json::from_str(manifest_text)
        .map_err(|error| refused(&format!("It is no manifest: {error}.")))?;
    let _superuser = ActAsSuperuser::new();
    exclusively();
    let runs = manifest.check()?;
    let mut said = declaration::members(&runs, manifest.count, &manifest.root()?);
    let archived_at = first(
        "SELECT pg_catalog.to_jsonb(pg_catalog.to_timestamp(0) + $1::pg_catalog.float8 * interval '1 microsecond') #>> '{}'",
        &[Arg::Text(&manifest.archived_at.to_string())],
    )?;
    for (member, value) in [
        ("uri", Json::from(uri)),
        ("partition", manifest.partition.into()),
        ("first_event_id", manifest.first_event_id.into()),
        ("last_event_id", manifest.last_event_id.into()),
        (
            "manifest_sha256",
            hex(&sha256(manifest_text.as_bytes())).into(),
        ),
        ("archived_at", archived_at.into()),
    ] {
        said.insert(member.into(), value);
    }
    Act {
        said,
        ..Act::new(EventKind::System, "archive")
    }
    .record()
}

impl Manifest {
    /// Whether it fits the log; its leaves.
    fn check(&self) -> Result<Runs> {
        if self.format != FORMAT {
            return Err(refused(&format!("Its format is not {FORMAT}.")));
        }
        let runs = declaration::parse_runs(&self.leaves)?;
        self.check_partition()?;
        self.check_trees(&runs)?;
        let rows = self
            .events
            .iter()
            .try_fold(0u64, |sum, file| sum.checked_add(file.rows));
        if runs.count() != Some(self.count) || rows != Some(self.count) {
            return Err(refused(
                "Its leaves, its rows and its count are not as many.",
            ));
        }
        self.check_leaves(&runs)?;
        Ok(runs)
    }

    fn root(&self) -> Result<Hash> {
        hash(&self.root)
    }

    /// The month is one of the log's, and was over.
    fn check_partition(&self) -> Result<()> {
        let fits = first(
            "SELECT 'yes' FROM audit.log_partitions WHERE name = $1 \
               AND (pg_catalog.extract('epoch', starts) * 1000000)::pg_catalog.int8 = $2::pg_catalog.int8 \
               AND (pg_catalog.extract('epoch', ends) * 1000000)::pg_catalog.int8 = $3::pg_catalog.int8 \
               AND $4::pg_catalog.int8 BETWEEN $3::pg_catalog.int8 AND pg_catalog.extract('epoch', pg_catalog.clock_timestamp()) * 1000000",
            &[
                Arg::Text(&self.partition),
                Arg::Text(&self.from.to_string()),
                Arg::Text(&self.until.to_string()),
                Arg::Text(&self.archived_at.to_string()),
            ],
        )?;
        fits.map(drop).ok_or_else(|| {
            refused(&format!(
                "The log has no partition {} with these bounds that was over when it was archived.",
                self.partition
            ))
        })
    }

    /// Each tree is one of the log's, at a checkpoint behind all of the archive's leaves.
    fn check_trees(&self, runs: &Runs) -> Result<()> {
        for run in runs.iter() {
            let tree = self.epochs.iter().find(|tree| tree.epoch == run.epoch);
            if tree.is_none_or(|tree| run.last >= tree.tree_size) {
                return Err(refused("It has leaves beyond its checkpoints."));
            }
        }
        for tree in &self.epochs {
            let is_there = first(
                "SELECT 'yes' FROM audit.checkpoints c JOIN audit.epochs e USING (epoch) \
                 WHERE c.epoch = $1::pg_catalog.int4 AND c.tree_size = $2::pg_catalog.int8 AND e.origin = $3 \
                   AND pg_catalog.encode(c.root, 'hex') = $4",
                &[
                    Arg::Text(&tree.epoch.to_string()),
                    Arg::Text(&tree.tree_size.to_string()),
                    Arg::Text(&tree.origin),
                    Arg::Text(&hex(&hash(&tree.root)?)),
                ],
            )?;
            if is_there.is_none() {
                return Err(refused(&format!(
                    "The log has no checkpoint of epoch {} with this size, root and origin.",
                    tree.epoch
                )));
            }
        }
        Ok(())
    }

    /// The log has these leaves with this root, and their events are the partition's, as far as they are still there.
    fn check_leaves(&self, runs: &Runs) -> Result<()> {
        let places = Places::open(&self.partition)?;
        let snapshot = Snapshot::latest();
        let mut tree = Frontier::new();
        let mut bounds: Option<(i64, i64)> = None;
        let mut ids = Vec::with_capacity(TOGETHER);
        for run in runs.iter() {
            sealed::each_leaf(&snapshot, run.epoch, run.first, run.last, |id, hash| {
                tree.push(hash);
                let (least, most) = bounds.get_or_insert((id, id));
                (*least, *most) = (id.min(*least), id.max(*most));
                ids.push(id);
                if ids.len() == TOGETHER {
                    places.check(&snapshot, &mut ids)?;
                    ids.clear();
                }
                Ok(())
            })?;
        }
        places.check(&snapshot, &mut ids)?;
        if tree.size() != self.count || tree.root() != self.root()? {
            let which = if tree.root() == self.root()? {
                "this"
            } else {
                "another"
            };
            return Err(refused(&format!(
                "The log has {} of its leaves, with {which} root.",
                tree.size()
            )));
        }
        if bounds != Some((self.first_event_id, self.last_event_id)) {
            return Err(refused(
                "Its first and last event are not those of its leaves.",
            ));
        }
        Ok(())
    }
}

/// Where events are: in the archived partition, or in others.
struct Places {
    events: Events,
    archived: pg_sys::Oid,
}

impl Places {
    fn open(partition: &str) -> Result<Self> {
        let events = Events::open()?;
        let archived = catalog::audit_relation(partition)
            .ok_or_else(|| refused(&format!("The log has no partition {partition}.")))?;
        Ok(Self { events, archived })
    }

    /// No other partition has an event of these ids, which this sorts. What other partitions have between the least and the
    /// greatest of them is asked for, and not where each of them is: months have few ids between one another's.
    fn check(&self, snapshot: &Snapshot, ids: &mut [i64]) -> Result<()> {
        ids.sort_unstable();
        let (Some(least), Some(most)) = (ids.first(), ids.last()) else {
            return Ok(());
        };
        let is_archived = |partition: &&Partition| partition.table.oid() == self.archived;
        let here = self.events.partitions().iter().find(is_archived);
        for other in self.events.partitions() {
            if is_archived(&other) {
                continue;
            }
            let mut scan = other.scan(snapshot, *least, *most);
            while let Some(id) = scan.next(|row| row.int8(EVENT_ID).unwrap_or_default()) {
                let is_here = |here: &Partition| here.scan(snapshot, id, id).next(|_| ()).is_some();
                if ids.binary_search(&id).is_ok() && !here.is_some_and(is_here) {
                    return Err(refused(&format!(
                        "Event {id}, one of its leaves', is in {}.",
                        catalog::qualified_name(other.table.oid())
                    )));
                }
            }
        }
        Ok(())
    }
}

/// A hash in base64.
fn hash(said: &str) -> Result<Hash> {
    let bytes = BASE64_STANDARD.decode(said).ok();
    let hash = bytes.and_then(|bytes| bytes.try_into().ok());
    hash.ok_or_else(|| refused("A root in it is not 32 bytes in base64."))
}

fn refused(why: &str) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
        "the manifest is not that of an archive of this log",
    )
    .detail(why)
    .hint("Archive the partition again, and verify the log: SELECT * FROM audit.verify();")
}

/// The leaves that archives hold.
pub fn archived() -> Result<Vec<Runs>> {
    let rows = query::rows("SELECT leaves::pg_catalog.text FROM audit.archives", &[])?;
    let texts = rows.into_iter().flatten().flatten();
    Ok(texts
        .filter_map(|text| serde_json::from_str(&text).ok())
        .filter_map(|json: Json| Runs::parse(&json))
        .collect())
}
