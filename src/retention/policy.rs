//! `audit.set_retention` and `audit.drop_retention`.

use super::{check_table, exclusively, installation};
use crate::act::{self, Act};
use crate::attach::registry::all;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::catalog;
use crate::pg::query::{self, Arg, Cells};
use crate::pg::role::ActAsSuperuser;
use pgrx::prelude::*;
use serde_json::Map;
use std::fmt::Write;

/// Of 1,000 years, with months of 31 days. Much longer times reach back to before the first timestamp: with one such policy in the
/// log, what is due could not be computed any more.
const MOST_DAYS: i64 = 372_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What a policy applies to.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Table(pg_sys::Oid),
    Category(&'a str),
    Default,
}

impl<'a> Subject<'a> {
    fn of(target: Option<pg_sys::Oid>, category: Option<&'a str>) -> Result<Self> {
        match (target, category) {
            (None, None) => Ok(Self::Default),
            (Some(table), None) => check_table(table).map(|()| Self::Table(table)),
            (None, Some(category)) => Ok(Self::Category(category)),
            (Some(_), Some(_)) => Err(AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                "a policy is for a table or for a category, not for both",
            )
            .detail("Row changes have a table, application events a category.")
            .hint("Set two policies.")),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Table(table) => format!("table {}", catalog::qualified_name(table)),
            Self::Category(category) => format!("category {category}"),
            Self::Default => "default".to_owned(),
        }
    }

    /// The policy in force: its name, whether it is locked.
    fn in_force(self) -> Result<Option<(String, bool)>> {
        let (condition, argument) = match self {
            Self::Table(table) => (
                "target::pg_catalog.oid = $1::pg_catalog.oid",
                table.to_u32().to_string(),
            ),
            Self::Category(category) => ("category = $1", category.to_owned()),
            Self::Default => ("policy = $1", "default".to_owned()),
        };
        let rows = query::rows(
            &format!("SELECT policy, locked FROM audit.retention_policies WHERE {condition}"),
            &[Arg::Text(&argument)],
        )?;
        Ok(rows.into_iter().next().and_then(|row| {
            let mut cells = row.into_iter();
            let name = cells.next()??;
            Some((name, cells.next()?.as_deref() == Some("t")))
        }))
    }

    /// A name for a policy: another table may have had this one's name, and a policy of it.
    fn new_name(self) -> Result<String> {
        let name = self.describe();
        let Self::Table(_) = self else {
            return Ok(name);
        };
        let taken = all(
            "SELECT DISTINCT context ->> 'policy' FROM audit.audit_events WHERE operation = 'system' AND action = 'set retention'",
            &[],
        )?;
        let others = (2..).map(|number| format!("{name} #{number}"));
        let mut names = std::iter::once(name.clone()).chain(others);
        Ok(names.find(|name| !taken.contains(name)).unwrap_or(name))
    }
}

/// `audit.set_retention(…)`.
#[pg_extern(sql = false)]
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn set_retention(
    keep: Option<Interval>,
    target: Option<pg_sys::Oid>,
    category: Option<&str>,
    max_events: Option<i64>,
    locked: Option<bool>,
    require_archive: Option<bool>,
) -> String {
    let limits = Limits {
        keep: keep.map(|keep| or_raise(iso(&keep))),
        max_events,
    };
    or_raise(set(target, category, &limits, locked, require_archive))
}

/// `audit.drop_retention(target, category)`.
#[pg_extern(sql = false)]
fn drop_retention(target: Option<pg_sys::Oid>, category: Option<&str>) {
    or_raise(drop_policy(target, category));
}

struct Limits {
    /// ISO 8601.
    keep: Option<String>,
    max_events: Option<i64>,
}

fn set(
    target: Option<pg_sys::Oid>,
    category: Option<&str>,
    limits: &Limits,
    locked: Option<bool>,
    require_archive: Option<bool>,
) -> Result<String> {
    if limits.max_events.is_some_and(|count| count < 0) {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "max_events must not be negative",
        )
        .detail(format!("It is {}.", limits.max_events.unwrap_or_default()))
        .hint("Leave it out to limit the events by their age alone."));
    }
    let _superuser = ActAsSuperuser::new();
    let subject = Subject::of(target, category)?;
    exclusively();
    let known = subject.in_force()?;
    let mut locked = locked;
    let mut require_archive = require_archive;
    if let Some((name, is_locked)) = &known {
        if *is_locked {
            check_longer(name, limits, locked, require_archive)?;
        }
        let before = current(name)?;
        locked = locked.or(Some(before.0));
        require_archive = require_archive.or(Some(before.1));
    }
    let name = match known {
        Some((name, _)) => name,
        None => subject.new_name()?,
    };
    let mut said = Map::new();
    said.insert("policy".into(), name.clone().into());
    said.insert("keep".into(), limits.keep.clone().into());
    said.insert("max_events".into(), limits.max_events.into());
    said.insert("locked".into(), locked.unwrap_or(false).into());
    said.insert(
        "require_archive".into(),
        require_archive.unwrap_or(false).into(),
    );
    record(subject, "set retention", said)?;
    Ok(name)
}

/// Whether the policy is locked, and whether it asks for an archive.
fn current(policy: &str) -> Result<(bool, bool)> {
    let rows = query::rows(
        "SELECT locked, require_archive FROM audit.retention_policies WHERE policy = $1",
        &[Arg::Text(policy)],
    )?;
    let row = rows.into_iter().next().unwrap_or_default();
    let is = |at: usize| row.get(at).and_then(Option::as_deref) == Some("t");
    Ok((is(0), is(1)))
}

/// Refuses what would shorten a locked policy. Whether an interval is longer than another depends on the day: it has to be so on
/// every first of a month from 2096 to 2104, which has years with and without a leap day.
fn check_longer(
    policy: &str,
    limits: &Limits,
    locked: Option<bool>,
    require_archive: Option<bool>,
) -> Result<()> {
    let keep = limits.keep.as_deref().unwrap_or_default();
    let count = limits.max_events.map(|count| count.to_string());
    let rows = query::rows(
        "SELECT ($2 = '' OR (p.keep IS NOT NULL AND NOT EXISTS ( \
                   SELECT FROM pg_catalog.generate_series('2096-01-01'::pg_catalog.timestamp, '2104-12-01', '1 month') d \
                   WHERE d - nullif($2, '')::pg_catalog.interval > d - p.keep))), \
                ($3 = '' OR (p.max_events IS NOT NULL AND nullif($3, '')::pg_catalog.int8 >= p.max_events)), \
                p.require_archive, audit.interval_text(p.keep), p.max_events \
         FROM audit.retention_policies p WHERE p.policy = $1",
        &[
            Arg::Text(policy),
            Arg::Text(keep),
            Arg::Text(count.as_deref().unwrap_or_default()),
        ],
    )?;
    let row = rows.into_iter().next().unwrap_or_default();
    let cell = |at: usize| row.get(at).and_then(Option::as_deref);
    let shortens = cell(0) != Some("t") || cell(1) != Some("t");
    let loosens = locked == Some(false) || (require_archive == Some(false) && cell(2) == Some("t"));
    if !shortens && !loosens {
        return Ok(());
    }
    Err(
        refused_by_lock(policy, if shortens { "shorten" } else { "loosen" }).detail(format!(
            "It keeps {}{}.",
            cell(3).map_or("its events for ever".to_owned(), |keep| format!(
                "its events for {keep}"
            )),
            cell(4).map_or(String::new(), |count| format!(
                ", the newest {count} of them"
            )),
        )),
    )
}

fn refused_by_lock(policy: &str, verb: &str) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("cannot {verb} the retention policy \"{policy}\": it is locked"),
    )
    .hint("A locked policy can be lengthened, by anybody who may set policies; nobody can shorten or drop it.")
}

fn drop_policy(target: Option<pg_sys::Oid>, category: Option<&str>) -> Result<()> {
    let _superuser = ActAsSuperuser::new();
    let subject = Subject::of(target, category)?;
    exclusively();
    let Some((name, locked)) = subject.in_force()? else {
        return Err(AttestError::new(
            SqlState::ERRCODE_UNDEFINED_OBJECT,
            format!("there is no retention policy \"{}\"", subject.describe()),
        )
        .detail("Nothing was dropped.")
        .hint("SELECT * FROM audit.retention_policies; shows the policies."));
    };
    if locked {
        return Err(refused_by_lock(&name, "drop").detail("Its events stay as long as it says."));
    }
    let mut said = Map::new();
    said.insert("policy".into(), name.into());
    record(subject, "drop retention", said)
}

fn record(
    subject: Subject<'_>,
    action: &str,
    mut said: Map<String, serde_json::Value>,
) -> Result<()> {
    said.insert("installation".into(), installation()?.into());
    let name = match subject {
        Subject::Table(table) => Some(act::name_of(table)),
        _ => None,
    };
    // Not in the event's own category: among the application's events of it, this is none. NULL, too, is said, or the session's context
    // could say something else.
    let category = match subject {
        Subject::Category(category) => Some(category),
        _ => None,
    };
    said.insert("category".into(), category.into());
    Act {
        table: name.as_ref(),
        said,
        ..Act::new(EventKind::System, action)
    }
    .record()
    .map(drop)
}

/// Writes anew the policies of tables that were renamed: a dump takes names along, and no OIDs. Superuser.
pub fn follow_renames() -> Result<()> {
    if renamed()?.is_empty() {
        return Ok(());
    }
    exclusively();
    for row in renamed()? {
        let Ok([Some(table), Some(_), Some(context)]) = <[_; 3]>::try_from(row) else {
            continue;
        };
        let Ok(serde_json::Value::Object(said)) = serde_json::from_str(&context) else {
            continue;
        };
        let subject = Subject::Table(crate::attach::registry::oid(&table));
        record(subject, "set retention", said)?;
    }
    Ok(())
}

/// The policies of renamed tables: the table, the policy, and what was said of it last.
fn renamed() -> Result<Vec<Cells>> {
    query::rows(
        "SELECT p.target::pg_catalog.oid, p.policy, e.context FROM audit.retention_policies p \
         JOIN audit.audit_events e ON e.event_id = p.event_id AND e.operation = 'system' AND e.action = 'set retention' \
         JOIN pg_catalog.pg_class c ON c.oid = p.target JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE (n.nspname, c.relname) <> (e.schema_name, e.table_name)",
        &[],
    )
}

/// An interval as ISO 8601 has it, which no setting reads differently.
pub fn iso(keep: &Interval) -> Result<String> {
    let (months, days, micros) = (keep.months(), keep.days(), keep.micros());
    let parts = [i64::from(months), i64::from(days), micros];
    if parts.iter().any(|part| *part < 0) || parts.iter().all(|part| *part == 0) {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "keep must be a time above zero",
        )
        .detail(format!(
            "It has {months} months, {days} days and {micros} microseconds."
        ))
        .hint("For example keep => '7 years'; NULL keeps events for ever."));
    }
    let longest = i64::from(months) * 31 + i64::from(days) + micros / MICROS_PER_DAY;
    if longest > MOST_DAYS {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "keep must be at most 1000 years",
        )
        .detail(format!(
            "It has {months} months, {days} days and {micros} microseconds."
        ))
        .hint("NULL keeps events for ever."));
    }
    // Writing to a String cannot fail.
    let mut text = "P".to_owned();
    for (count, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if micros > 0 {
        let _ = write!(text, "T{}.{:06}S", micros / 1_000_000, micros % 1_000_000);
    }
    Ok(text)
}
