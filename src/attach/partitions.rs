//! The months of `audit.audit_events`: made ahead, indexed, guarded; the default partition drained.
//!
//! Months are UTC. The DDL of one month stands in `sql/partition.sql`.

use crate::attach::ddl::OwnDdl;
use crate::attach::registry::{all, first};
use crate::capture::guard::Upkeep;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::query::{self, Arg};
use crate::pg::role::ActAsSuperuser;
use crate::pg::{guc, xact};
use crate::retention::upkeep;
use crate::summaries;
use pgrx::prelude::*;

/// The statements that make one month, `{name}`, `{from}` and `{to}` to be filled in.
const MONTH_SQL: &str = include_str!("../../sql/partition.sql");

/// How many months after the current one are kept ready.
const MONTHS_AHEAD: i32 = 12;

/// Makes the current month and the next twelve, where they are missing. Superuser.
pub fn ensure() -> Result<i64> {
    if missing()?.is_empty() {
        return Ok(0);
    }
    // A month cannot be made while the default partition holds its events: those of applications may come before the first attach.
    drain()?;
    // Two sessions may see the same month missing: one makes it, the other looks again.
    lock_log()?;
    let missing = missing()?;
    for month in &missing {
        make(month)?;
    }
    Ok(i64::try_from(missing.len()).unwrap_or(i64::MAX))
}

/// The first days of those months that nothing of the month's name exists for.
fn missing() -> Result<Vec<String>> {
    all(
        &format!(
            "SELECT pg_catalog.to_char(m, 'YYYY-MM-DD') FROM pg_catalog.generate_series( \
               pg_catalog.date_trunc('month', pg_catalog.now() AT TIME ZONE 'UTC'), \
               pg_catalog.date_trunc('month', pg_catalog.now() AT TIME ZONE 'UTC') \
                 + pg_catalog.make_interval(months => {MONTHS_AHEAD}), '1 month') m \
             WHERE pg_catalog.to_regclass('audit.audit_events_' || pg_catalog.to_char(m, 'YYYY_MM')) IS NULL"
        ),
        &[],
    )
}

/// Makes the partition of the month that begins on this day.
fn make(first_day: &str) -> Result<()> {
    let name = format!("audit_events_{}", first_day[..7].replace('-', "_"));
    let to = first(
        "SELECT pg_catalog.to_char(($1::pg_catalog.date + interval '1 month'), 'YYYY-MM-DD')",
        &[Arg::Text(first_day)],
    )?
    .unwrap_or_default();
    Spi::run(
        &MONTH_SQL
            .replace("{name}", &name)
            .replace("{from}", first_day)
            .replace("{to}", &to),
    )?;
    Ok(())
}

/// Warns of relations that have a month's name without being a partition of the log: that month's events go to the default
/// partition.
fn warn_of_strays() -> Result<()> {
    let strays = all(
        "SELECT c.relname FROM pg_catalog.pg_class c \
         WHERE c.relnamespace = 'audit'::pg_catalog.regnamespace AND c.relname ~ '^audit_events_[0-9]{4}_[0-9]{2}$' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i \
                         WHERE i.inhrelid = c.oid AND i.inhparent = 'audit.audit_events'::pg_catalog.regclass) \
         ORDER BY c.relname",
        &[],
    )?;
    for name in strays {
        AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("audit.{name} is not a partition of audit.audit_events"),
        )
        .detail("The events of its month are kept in the default partition.")
        .hint("Attach it again (ALTER TABLE audit.audit_events ATTACH PARTITION …) as long as the default partition has no events of its month, else move it away (ALTER TABLE … SET SCHEMA …); then SELECT audit.maintain();")
        .warning();
    }
    Ok(())
}

/// Moves what the default partition holds into months of its own; returns how many events it moved.
pub fn drain() -> Result<i64> {
    // What asks for its size keeps no lock of it. Whoever had read it would keep one, and be waited for by whom he waits for.
    let size = first(
        "SELECT pg_catalog.pg_relation_size('audit.audit_events_default')",
        &[],
    )?;
    if size.as_deref() == Some("0") {
        return Ok(0);
    }
    lock_log()?;
    if months_in_default()?.is_empty() {
        return Ok(0);
    }
    let _upkeep = Upkeep::new();
    // Writers to the default partition wait until the move is committed; they would be late for it otherwise. Only a snapshot
    // taken with the locks held sees all that they wrote, and TRUNCATE spares nothing: hence one statement per call.
    query::run(
        "LOCK TABLE audit.audit_events_default IN ACCESS EXCLUSIVE MODE",
        &[],
    )?;
    let months = months_in_default()?;
    let before = count_in_default()?;
    let drain = temporary_name()?;
    query::run(
        &format!(
            "CREATE TEMPORARY TABLE {drain} USING heap ON COMMIT DROP AS SELECT * FROM audit.audit_events_default"
        ),
        &[],
    )?;
    query::run("TRUNCATE audit.audit_events_default", &[])?;
    for month in &months {
        make(month)?;
    }
    query::run(
        &format!("INSERT INTO audit.audit_events SELECT * FROM {drain}"),
        &[],
    )?;
    query::run(&format!("DROP TABLE {drain}"), &[])?;
    // Where a month's name is taken by something else, its events came back.
    Ok(before - count_in_default()?)
}

/// Who makes months, or moves events into them, takes this lock first: one at a time.
fn lock_log() -> Result<()> {
    query::run(
        "LOCK TABLE ONLY audit.audit_events IN SHARE UPDATE EXCLUSIVE MODE",
        &[],
    )
}

/// A name that the session's own temporary tables leave free.
pub fn temporary_name() -> Result<String> {
    let name = first(
        "SELECT 'pg_temp.audit_drain_' || n FROM (SELECT pg_catalog.generate_series(1, 1000000)) AS numbers (n) \
         WHERE pg_catalog.to_regclass('pg_temp.audit_drain_' || n) IS NULL LIMIT 1",
        &[],
    )?;
    Ok(name.unwrap_or_default())
}

/// The first days of the months that the default partition holds events of, and that can be made.
fn months_in_default() -> Result<Vec<String>> {
    all(
        "SELECT DISTINCT pg_catalog.to_char(m, 'YYYY-MM-DD') FROM \
         (SELECT pg_catalog.date_trunc('month', occurred_at AT TIME ZONE 'UTC') FROM audit.audit_events_default) d (m) \
         WHERE pg_catalog.to_regclass('audit.audit_events_' || pg_catalog.to_char(m, 'YYYY_MM')) IS NULL",
        &[],
    )
}

fn count_in_default() -> Result<i64> {
    let count = first(
        "SELECT pg_catalog.count(*) FROM audit.audit_events_default",
        &[],
    )?;
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// Behind a lock that we wait for, writers and the sealer wait too: a reader with a long transaction must not hold them up. Whoever
/// calls has to come again. Until `ActAsSuperuser` ends.
pub fn wait_briefly() {
    /// Milliseconds.
    const LONGEST: i32 = 2000;
    if !(1..LONGEST).contains(&xact::lock_timeout()) {
        guc::save(c"lock_timeout", c"2s");
    }
}

/// `audit.maintain()`: partitions ahead, the default partition drained, what is due pruned, cleaned up and summarised.
#[pg_extern(sql = false)]
fn maintain() -> TableIterator<'static, (name!(task, &'static str), name!(done, i64))> {
    or_raise(upkeep::settle());
    let _superuser = ActAsSuperuser::new();
    let own = OwnDdl::new();
    wait_briefly();
    or_raise(warn_of_strays());
    or_raise(upkeep::warn_of_months());
    let pruned = or_raise(upkeep::prune_in_session());
    drop(own);
    let deleted = or_raise(upkeep::clean_up_in_session());
    let summarized = or_raise(summaries::in_session(i64::MAX));
    // Last: whoever reads the default partition, and the sealer, waits for its lock until the transaction ends.
    let (drained, made) = or_raise(upkeep::keep_months());
    TableIterator::new([
        ("partitions made", made),
        ("events moved out of the default partition", drained),
        ("events pruned", pruned),
        ("rows cleaned up", deleted),
        ("events summarised", summarized),
    ])
}
