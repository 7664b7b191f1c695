//! The months of `audit.audit_events`: made ahead, indexed, guarded; the default partition drained.
//!
//! Months are UTC. The DDL of one month stands in `sql/partition.sql`.

use crate::attach::ddl::OwnDdl;
use crate::attach::registry::{all, first};
use crate::capture::guard::Upkeep;
use crate::error::{Result, or_raise};
use crate::pg::role::ActAsSuperuser;
use pgrx::prelude::*;

/// The statements that make one month, `{name}`, `{from}` and `{to}` to be filled in.
const MONTH_SQL: &str = include_str!("../../sql/partition.sql");

/// How many months after the current one are kept ready.
const MONTHS_AHEAD: i32 = 12;

/// Makes the current month and the next twelve, where they are missing. Superuser.
pub fn ensure() -> Result<i64> {
    let missing: Vec<String> = all(
        "SELECT pg_catalog.to_char(m, 'YYYY-MM-DD') FROM pg_catalog.generate_series( \
           pg_catalog.date_trunc('month', pg_catalog.now() AT TIME ZONE 'UTC'), \
           pg_catalog.date_trunc('month', pg_catalog.now() AT TIME ZONE 'UTC') + pg_catalog.make_interval(months => $1), \
           '1 month') m \
         WHERE pg_catalog.to_regclass('audit.audit_events_' || pg_catalog.to_char(m, 'YYYY_MM')) IS NULL",
        &[MONTHS_AHEAD.into()],
    )?;
    for month in &missing {
        make(month)?;
    }
    Ok(i64::try_from(missing.len()).unwrap_or(i64::MAX))
}

/// Makes the partition of the month that begins on this day.
fn make(first_day: &str) -> Result<()> {
    let name = format!("audit_events_{}", first_day[..7].replace('-', "_"));
    let to: String = first(
        "SELECT pg_catalog.to_char(($1::pg_catalog.date + interval '1 month'), 'YYYY-MM-DD')",
        &[first_day.into()],
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

/// Moves what the default partition holds into months of its own; returns how many events it moved.
fn drain() -> Result<i64> {
    let months: Vec<String> = all(
        "SELECT DISTINCT pg_catalog.to_char(pg_catalog.date_trunc('month', occurred_at AT TIME ZONE 'UTC'), 'YYYY-MM-DD') \
         FROM audit.audit_events_default",
        &[],
    )?;
    if months.is_empty() {
        return Ok(0);
    }
    let _upkeep = Upkeep::new();
    // Writers to the default partition wait until the move is committed; they would be late for it otherwise.
    Spi::run(
        "LOCK TABLE audit.audit_events_default IN ACCESS EXCLUSIVE MODE; \
         CREATE TEMPORARY TABLE audit_drain ON COMMIT DROP AS SELECT * FROM audit.audit_events_default; \
         TRUNCATE audit.audit_events_default",
    )?;
    for month in &months {
        let exists: Option<bool> = first(
            "SELECT pg_catalog.to_regclass('audit.audit_events_' || pg_catalog.to_char($1::pg_catalog.date, 'YYYY_MM')) IS NOT NULL",
            &[month.as_str().into()],
        )?;
        if exists != Some(true) {
            make(month)?;
        }
    }
    let moved: Option<i64> = first(
        "WITH moved AS (INSERT INTO audit.audit_events SELECT * FROM pg_temp.audit_drain RETURNING 1) \
         SELECT pg_catalog.count(*) FROM moved",
        &[],
    )?;
    Spi::run("DROP TABLE pg_temp.audit_drain")?;
    Ok(moved.unwrap_or(0))
}

/// `audit.maintain()`: partitions ahead, the default partition drained.
#[pg_extern(sql = false)]
fn maintain() -> TableIterator<'static, (name!(task, &'static str), name!(done, i64))> {
    let _superuser = ActAsSuperuser::new();
    let _own = OwnDdl::new();
    let drained = or_raise(drain());
    let made = or_raise(ensure());
    TableIterator::new([
        ("partitions made", made),
        ("events moved out of the default partition", drained),
    ])
}
