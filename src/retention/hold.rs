//! `audit.hold` and `audit.release_hold`.

use super::{check_table, exclusively, installation, needed};
use crate::act::{self, Act};
use crate::attach::registry::{all, first};
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::query::Arg;
use crate::pg::role::ActAsSuperuser;
use pgrx::prelude::*;
use serde_json::Map;

/// `audit.hold_with(…)`: what `audit.hold` calls, with the period as text; returns the event that records it.
#[pg_extern(sql = false)]
fn hold_with(
    name: Option<&str>,
    target: Option<pg_sys::Oid>,
    row_key: Option<&str>,
    request_id: Option<&str>,
    period: Option<&str>,
    reason: Option<&str>,
) -> i64 {
    or_raise(hold(name, target, row_key, request_id, period, reason))
}

fn hold(
    name: Option<&str>,
    target: Option<pg_sys::Oid>,
    row_key: Option<&str>,
    request_id: Option<&str>,
    period: Option<&str>,
    reason: Option<&str>,
) -> Result<i64> {
    let hint = "SELECT audit.hold('name', target => 'schema.table', reason => 'why');";
    let name = needed(name, "the hold's name", hint)?;
    let reason = needed(reason, "a reason", hint)?;
    if target.is_none() && request_id.is_none() && period.is_none() {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "a hold needs a table, a request or a period",
        )
        .detail("It covers the events that fulfil all conditions given.")
        .hint("period => '(,)' holds everything."));
    }
    if row_key.is_some() && target.is_none() {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "a hold on a row needs the row's table",
        )
        .detail("A key says nothing without its table.")
        .hint(hint));
    }
    let _superuser = ActAsSuperuser::new();
    if let Some(table) = target {
        check_table(table)?;
    }
    // A period that cannot be read would make all holds unreadable.
    let period = match period {
        Some(period) => first(
            "SELECT audit.period_text($1::pg_catalog.tstzrange)",
            &[Arg::Text(period)],
        )?,
        None => None,
    };
    exclusively();
    if is_active(name)? {
        return Err(AttestError::new(
            SqlState::ERRCODE_DUPLICATE_OBJECT,
            format!("there is already a hold \"{name}\""),
        )
        .detail("Names of active holds are unique.")
        .hint("SELECT * FROM audit.holds WHERE active; shows them."));
    }
    let mut said = Map::new();
    said.insert("hold".into(), name.into());
    said.insert("installation".into(), installation()?.into());
    // What is not said is said to be nothing: the session's context could say something else.
    said.insert("request_id".into(), request_id.into());
    said.insert("period".into(), period.into());
    let keys = match (target, row_key) {
        (Some(table), Some(key)) => all(
            "SELECT k FROM audit.row_keys($1::pg_catalog.oid::pg_catalog.regclass, $2) k ORDER BY 1",
            &[Arg::Text(&table.to_u32().to_string()), Arg::Text(key)],
        )?,
        _ => Vec::new(),
    };
    said.insert("row_keys".into(), keys.into());
    Act {
        table: target.map(act::name_of).as_ref(),
        row_key,
        reason: Some(reason),
        said,
        ..Act::new(EventKind::System, "hold")
    }
    .record()
}

/// `audit.release_hold(name, reason)`.
#[pg_extern(sql = false)]
fn release_hold(name: Option<&str>, reason: Option<&str>) {
    or_raise(release(name, reason));
}

fn release(name: Option<&str>, reason: Option<&str>) -> Result<()> {
    let hint = "SELECT audit.release_hold('name', 'why');";
    let name = needed(name, "the hold's name", hint)?;
    let reason = needed(reason, "a reason", hint)?;
    let _superuser = ActAsSuperuser::new();
    exclusively();
    if !is_active(name)? {
        return Err(AttestError::new(
            SqlState::ERRCODE_UNDEFINED_OBJECT,
            format!("there is no active hold \"{name}\""),
        )
        .detail("It was released, or never placed.")
        .hint("SELECT * FROM audit.holds; shows all of them."));
    }
    let mut said = Map::new();
    said.insert("hold".into(), name.into());
    Act {
        reason: Some(reason),
        said,
        ..Act::new(EventKind::System, "release hold")
    }
    .record()
    .map(drop)
}

fn is_active(name: &str) -> Result<bool> {
    let found = first(
        "SELECT 'yes' FROM audit.holds WHERE active AND name = $1",
        &[Arg::Text(name)],
    )?;
    Ok(found.is_some())
}
