//! `audit.erase`: the values of a row leave the log, and the proof that there were events stays.

use super::{check_table, exclusively, held, needed, removal};
use crate::act::{self, Act};
use crate::attach::registry::{all, oids};
use crate::capture::event::EventKind;
use crate::capture::guard::Upkeep;
use crate::error::{AttestError, Result, SqlState, or_raise, required};
use crate::ledger::events::Events;
use crate::ledger::leaf::LeafMaker;
use crate::ledger::seal;
use crate::pg::query::{self, Arg};
use crate::pg::role::ActAsSuperuser;
use crate::pg::snapshot::Snapshot;
use crate::pg::{catalog, context_source, page_hole, progress, xact};
use crate::summaries;
use attest_log::hex;
use pgrx::prelude::*;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

/// `audit.erase(target, row_key, reason)`; returns how many events it was.
#[pg_extern(sql = false)]
fn erase(target: Option<pg_sys::Oid>, row_key: Option<&str>, reason: Option<&str>) -> i64 {
    or_raise(erase_row(target, row_key, reason))
}

/// `audit.wipe_free_space(part)`: of one partition, or of all.
#[pg_extern(sql = false)]
fn wipe_free_space(part: Option<pg_sys::Oid>) -> i64 {
    or_raise(wipe(part))
}

fn wipe(part: Option<pg_sys::Oid>) -> Result<i64> {
    xact::prevent_if_read_only(c"audit.wipe_free_space()");
    let _superuser = ActAsSuperuser::new();
    let partitions = oids(
        "SELECT partition::pg_catalog.oid FROM audit.log_partitions ORDER BY name",
        &[],
    )?;
    let mut pages = 0;
    for partition in partitions {
        if part.is_none_or(|part| part == partition) {
            for relation in page_hole::storage_of(partition) {
                pages += page_hole::wipe(&relation);
            }
        }
    }
    Ok(pages.cast_signed())
}

fn erase_row(
    target: Option<pg_sys::Oid>,
    row_key: Option<&str>,
    reason: Option<&str>,
) -> Result<i64> {
    let hint = "SELECT audit.erase('schema.table', 'key', 'why');";
    let target = required(target, "target")?;
    let row_key = needed(row_key, "the row's key", hint)?;
    let reason = needed(reason, "a reason", hint)?;
    let _superuser = ActAsSuperuser::new();
    xact::prevent_if_read_only(c"audit.erase()");
    check_table(target)?;
    exclusively();
    seal::now()?;
    xact::command_counter_increment();
    progress::show(&format!(
        "erasing a row of {}",
        catalog::qualified_name(target)
    ));
    let mut ids: Vec<i64> = all(
        "SELECT l FROM audit.row_life($1::pg_catalog.oid::pg_catalog.regclass, $2) l ORDER BY 1",
        &[Arg::Text(&target.to_u32().to_string()), Arg::Text(row_key)],
    )?
    .iter()
    .filter_map(|id| id.parse().ok())
    .collect();
    ids.dedup();
    if ids.is_empty() {
        return Ok(0);
    }
    check_holds(&ids)?;
    let leaves = removal::leaves(&ids)?;
    let mut payloads = String::from("{");
    let snapshot_of = Events::open()?;
    let snapshot = Snapshot::latest();
    let mut maker = LeafMaker::new();
    for id in &ids {
        pgrx::check_for_interrupts!();
        let data = snapshot_of.find(&snapshot, *id, |row| maker.leaf(row).data);
        let sealed = leaves.get(id).map(|(_, hash)| hash);
        match (data, sealed) {
            (Some(data), Some(hash)) if data.hash() == *hash => {
                if payloads.len() > 1 {
                    payloads.push(',');
                }
                payloads.push_str(&hex(&data.payload()));
            }
            (_, None) => return Err(not_sealed(*id)),
            _ => return Err(altered(*id)),
        }
    }
    payloads.push('}');
    drop((snapshot, snapshot_of));
    let count = ids.len();
    let mut said = Map::new();
    said.insert("row_key".into(), key_proof(row_key));
    let act = Act {
        table: Some(&act::name_of(target)),
        reason: Some(reason),
        ..Act::new(EventKind::System, "erase")
    };
    removal::declare(leaves.into_values().collect(), said, act)?;
    remove(&ids, &payloads)?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Takes payload and salt away; the payload's commitment stays.
fn remove(ids: &[i64], payloads: &str) -> Result<()> {
    summaries::removed(ids)?;
    let _upkeep = Upkeep::new();
    query::run(
        "UPDATE audit.audit_events e \
         SET row_key = NULL, old_row_key = NULL, old_values = NULL, new_values = NULL, entity_id = NULL, entity_name = NULL, \
             description = NULL, context = NULL, salt = NULL, payload_hash = pg_catalog.decode(p.hash, 'hex') \
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int8[]), pg_catalog.unnest($2::pg_catalog.text[])) AS p (id, hash) \
         WHERE e.event_id = p.id",
        &[Arg::Text(&query::array(ids)), Arg::Text(payloads)],
    )
}

/// Which row it was, for whoever knows its key: the key itself may be personal.
fn key_proof(row_key: &str) -> serde_json::Value {
    let mut nonce = [0; 16];
    // A failing generator gives zeroes: the hash can then be compared between rows, no more.
    context_source::random_bytes(&mut nonce);
    let mut digest = Sha256::new();
    digest.update(nonce);
    digest.update(row_key.as_bytes());
    json!({"nonce": hex(&nonce), "sha256": hex(&digest.finalize())})
}

fn check_holds(ids: &[i64]) -> Result<()> {
    let covers = all("SELECT audit.hold_covers()", &[])?
        .pop()
        .unwrap_or_default();
    let covers = covers.replace("format(", "pg_catalog.format(");
    let mut holds = all(
        &format!(
            "SELECT h.name FROM audit.holds_in_force h WHERE EXISTS ( \
                 SELECT FROM audit.audit_events e WHERE e.event_id = ANY ($1::pg_catalog.int8[]) AND {covers}) ORDER BY 1"
        ),
        &[Arg::Text(&query::array(ids))],
    )?;
    if holds.is_empty() {
        // Whatever the view has become.
        holds.extend(held::first("audit.audit_events", ids)?.map(|(hold, _)| hold));
    }
    if holds.is_empty() {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_OBJECT_IN_USE,
        "cannot erase the row: a hold covers it",
    )
    .detail(format!("Holds: {}.", holds.join(", ")))
    .hint("SELECT audit.release_hold('name', 'why'); releases one."))
}

fn not_sealed(event_id: i64) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("cannot erase event {event_id}: it is not sealed"),
    )
    .detail("Only what stands in the tree can be shown to have been there.")
    .hint("Commit the changes, SELECT audit.seal(); and erase the row again.")
}

fn altered(event_id: i64) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_DATA_CORRUPTED,
        format!("cannot erase event {event_id}: it is not what was sealed"),
    )
    .detail("Erasing it would hide that it was altered.")
    .hint(format!(
        "SELECT * FROM audit.verify_event({event_id}); says what is wrong."
    ))
}
