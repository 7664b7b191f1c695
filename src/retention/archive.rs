//! `audit.record_archive`: what stands outside the database, verified by reading it back.

use super::declaration::{self, Runs};
use super::{exclusively, needed};
use crate::act::Act;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise, required};
use crate::ledger::sealed;
use crate::pg::query;
use crate::pg::role::ActAsSuperuser;
use crate::pg::snapshot::Snapshot;
use attest_log::tree::Frontier;
use attest_log::{Hash, hex};
use pgrx::prelude::*;
use serde_json::Value as Json;

/// `audit.record_archive(…)`; returns the event that records it.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // the SQL signature
fn record_archive(
    uri: Option<&str>,
    partition: Option<&str>,
    first_event_id: Option<i64>,
    last_event_id: Option<i64>,
    leaves: Option<pgrx::JsonB>,
    root: Option<&[u8]>,
    manifest_sha256: Option<&[u8]>,
    archived_at: Option<TimestampWithTimeZone>,
) -> i64 {
    let archive = Archive {
        uri: or_raise(needed(uri, "the archive's address", HINT)).to_owned(),
        partition: or_raise(needed(partition, "the partition's name", HINT)).to_owned(),
        first_event_id: or_raise(required(first_event_id, "first_event_id")),
        last_event_id: or_raise(required(last_event_id, "last_event_id")),
        leaves: or_raise(declaration::parse_runs(
            &or_raise(required(leaves, "leaves")).0,
        )),
        root: or_raise(hash(root, "root")),
        manifest: or_raise(hash(manifest_sha256, "manifest_sha256")),
        archived_at: or_raise(required(archived_at, "archived_at")).to_iso_string(),
    };
    or_raise(archive.record())
}

const HINT: &str = "attest archive calls audit.record_archive() itself.";

struct Archive {
    uri: String,
    partition: String,
    first_event_id: i64,
    last_event_id: i64,
    leaves: Runs,
    root: Hash,
    manifest: Hash,
    archived_at: String,
}

impl Archive {
    fn record(&self) -> Result<i64> {
        let _superuser = ActAsSuperuser::new();
        exclusively();
        let count = self.check_leaves()?;
        let manifest = hex(&self.manifest);
        let mut said = declaration::members(&self.leaves, count, &self.root);
        for (member, value) in [
            ("uri", Json::from(self.uri.as_str())),
            ("partition", self.partition.as_str().into()),
            ("first_event_id", self.first_event_id.into()),
            ("last_event_id", self.last_event_id.into()),
            ("manifest_sha256", manifest.into()),
            ("archived_at", self.archived_at.as_str().into()),
        ] {
            said.insert(member.into(), value);
        }
        Act {
            said,
            ..Act::new(EventKind::System, "archive")
        }
        .record()
    }

    /// Whether the log has these leaves with this root; their number.
    fn check_leaves(&self) -> Result<u64> {
        let snapshot = Snapshot::latest();
        let mut tree = Frontier::new();
        for run in self.leaves.iter() {
            sealed::each_hash(&snapshot, run.epoch, run.first, run.last, |hash| {
                tree.push(hash);
            })?;
        }
        let count = self.leaves.count();
        if count == Some(tree.size()) && tree.root() == self.root {
            return Ok(tree.size());
        }
        Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "the archive's leaves are not those of the log",
        )
        .detail(format!(
            "The log has {} of them, with {} root.",
            tree.size(),
            if tree.root() == self.root {
                "this"
            } else {
                "another"
            }
        ))
        .hint("Archive the partition again, and verify the log: SELECT * FROM audit.verify();"))
    }
}

fn hash(bytes: Option<&[u8]>, name: &str) -> Result<Hash> {
    let bytes = required(bytes, name)?;
    Hash::try_from(bytes).map_err(|_| {
        AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{name} is not a SHA-256 hash"),
        )
        .detail(format!("It has {} bytes.", bytes.len()))
        .hint("Give 32 bytes.")
    })
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
