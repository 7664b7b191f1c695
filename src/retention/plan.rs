//! Which events of a partition are due, under which policy.

use super::count;
use super::newest::Cuts;
use crate::error::Result;
use crate::pg::cell::Backend;
use crate::pg::query::{self, Arg, Cells};
use crate::pg::xact;
use pgrx::pg_extern;
use serde_json::{Map, Value as Json, json};
use std::cell::Cell;

/// Events that are read together.
const PORTION: usize = 5_000;

/// A policy in force.
#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// As JSON prints it: `7 years`; None: for ever.
    pub keep: Option<String>,
    pub max_events: Option<u64>,
    pub locked: bool,
    pub require_archive: bool,
    /// What is older is due; `-infinity`: nothing is.
    pub cutoff: String,
    /// The event that set it last.
    pub event_id: String,
}

impl Policy {
    /// All that are in force.
    pub fn all() -> Result<Vec<Self>> {
        let rows = query::rows(
            "SELECT policy, audit.interval_text(keep), max_events, locked, require_archive, \
                    CASE WHEN pg_catalog.isfinite(cutoff) THEN pg_catalog.to_jsonb(cutoff) #>> '{}' ELSE '-infinity' END, event_id \
             FROM audit.retention_policies ORDER BY policy",
            &[],
        )?;
        Ok(rows
            .into_iter()
            .map(|row| Self {
                name: text(&row, 0),
                keep: cell(&row, 1),
                max_events: cell(&row, 2).and_then(|count| count.parse().ok()),
                locked: is(&row, 3),
                require_archive: is(&row, 4),
                cutoff: text(&row, 5),
                event_id: text(&row, 6),
            })
            .collect())
    }

    /// What a declaration says of it.
    pub fn to_json(&self) -> Json {
        json!({
            "policy": self.name,
            "keep": self.keep,
            "max_events": self.max_events,
            "locked": self.locked,
            "before": self.cutoff,
            "set_by_event": self.event_id.parse::<i64>().ok(),
        })
    }
}

/// A partition of the log.
#[derive(Clone)]
pub struct Partition {
    pub name: String,
    pub oid: String,
    pub is_default: bool,
    /// Whether its time ended a day ago at least: no transaction writes it any more.
    pub is_over: bool,
}

impl Partition {
    /// All of them, the newest first, the default partition last.
    pub fn all() -> Result<Vec<Self>> {
        let rows = query::rows(
            "SELECT name, partition::pg_catalog.oid, is_default, coalesce(ends < pg_catalog.now() - interval '24 hours', false) \
             FROM audit.log_partitions ORDER BY is_default, ends DESC",
            &[],
        )?;
        Ok(rows
            .into_iter()
            .map(|row| Self {
                name: text(&row, 0),
                oid: text(&row, 1),
                is_default: is(&row, 2),
                is_over: is(&row, 3),
            })
            .collect())
    }

    /// Its name as SQL writes it.
    pub fn sql(&self) -> String {
        format!("audit.\"{}\"", self.name.replace('"', "\"\""))
    }
}

/// A time, as JSON prints it, and an id: what stands before, in this order, is due.
pub type Cut = (String, i64);

/// Events of a partition that one policy decides over, for one reason: a table, a category.
pub struct Group {
    /// As `audit.retention_groups` tells them.
    pub key: Map<String, Json>,
    pub policy: usize,
    pub subject: String,
    pub events: u64,
    pub oldest: String,
    pub newest: String,
    cut: Cut,
}

/// The plan for a partition.
pub struct Plan {
    pub groups: Vec<Group>,
    /// All events of the partition, those without a policy too.
    pub events: u64,
}

impl Plan {
    /// What of the partition is due by age.
    pub fn by_age(partition: &Partition, policies: &[Policy]) -> Result<Self> {
        let rows = query::rows(
            "SELECT pg_catalog.to_jsonb(g) || pg_catalog.jsonb_build_object('subject', CASE \
                        WHEN g.is_event THEN coalesce('category ' || g.category, 'application events') \
                        WHEN g.table_name IS NOT NULL THEN 'table ' || pg_catalog.format('%I.%I', g.schema_name, g.table_name) \
                        ELSE 'others' END) \
             FROM audit.retention_groups($1::pg_catalog.oid::pg_catalog.regclass, $2::pg_catalog.jsonb) g \
             ORDER BY g.is_event, g.schema_name, g.table_name, g.category, g.table_oid, g.is_old",
            &[
                Arg::Text(&partition.oid),
                Arg::Text(&count::groups(partition)?),
            ],
        )?;
        let mut plan = Self {
            groups: Vec::new(),
            events: 0,
        };
        for row in rows {
            let Ok(Json::Object(key)) = serde_json::from_str(&text(&row, 0)) else {
                continue;
            };
            let string = |name: &str| {
                key.get(name)
                    .and_then(Json::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let events = key.get("events").and_then(Json::as_u64).unwrap_or_default();
            plan.events += events;
            let policy = string("policy");
            let Some(policy) = policies.iter().position(|known| known.name == policy) else {
                continue;
            };
            plan.groups.push(Group {
                policy,
                subject: string("subject"),
                events,
                oldest: string("oldest"),
                newest: string("newest"),
                cut: (policies[policy].cutoff.clone(), i64::MIN),
                key,
            });
        }
        Ok(plan)
    }

    /// All application events of a category, whatever its policy.
    pub fn of_category(partition: &Partition, category: &str) -> Result<Self> {
        let rows = query::rows(
            "SELECT pg_catalog.to_jsonb(g) FROM audit.retention_groups($1::pg_catalog.oid::pg_catalog.regclass, $2::pg_catalog.jsonb) g \
             WHERE g.is_event AND g.category = $3",
            &[
                Arg::Text(&partition.oid),
                Arg::Text(&count::groups(partition)?),
                Arg::Text(category),
            ],
        )?;
        let keys = rows
            .iter()
            .filter_map(|row| serde_json::from_str(&text(row, 0)).ok());
        let groups = keys.map(|key| Group {
            key,
            policy: 0,
            subject: format!("category {category}"),
            events: 0,
            oldest: String::new(),
            newest: String::new(),
            cut: ("infinity".to_owned(), i64::MAX),
        });
        Ok(Self {
            groups: groups.collect(),
            events: 0,
        })
    }

    /// Cuts off what is behind the newest so many events of each policy, where that is more than what is due by age.
    pub fn cut_off(&mut self, cuts: &Cuts) -> Result<()> {
        for group in &mut self.groups {
            if let Some(cut) = cuts.get(&group.policy)
                && later(&cut.0, &group.cut.0)?
            {
                group.cut = cut.clone();
            }
        }
        Ok(())
    }

    pub fn of(&self, policy: usize) -> impl Iterator<Item = &Group> {
        self.groups
            .iter()
            .filter(move |group| group.policy == policy)
    }

    /// The groups that may have due events, for `audit.next_events`.
    fn to_json(&self) -> Json {
        self.groups
            .iter()
            .map(|group| {
                let mut key = group.key.clone();
                key.insert("cut_time".into(), group.cut.0.clone().into());
                key.insert("cut_id".into(), group.cut.1.into());
                Json::Object(key)
            })
            .collect()
    }

    /// Whether anything can be due; how many events are not, at least.
    pub fn outlook(&self) -> Result<(bool, u64)> {
        let mut any = false;
        let mut kept = self.events - self.groups.iter().map(|group| group.events).sum::<u64>();
        for group in &self.groups {
            if !later(&group.oldest, &group.cut.0)? {
                any = true;
            }
            if !later(&group.cut.0, &group.newest)? {
                kept += group.events;
            }
        }
        Ok((any, kept))
    }

    /// The next events that are due, by ids: about `limit`, of as many events as it takes. `after` is where they are looked for from, and
    /// then where to go on; None at the end.
    pub fn next_due(
        &self,
        partition: &Partition,
        after: &mut Option<i64>,
        limit: usize,
    ) -> Result<Vec<Found>> {
        let mut due = Vec::new();
        while due.len() < limit / 2 && after.is_some() {
            let found = self.next(partition, after, limit)?;
            due.extend(found.into_iter().filter(|event| event.group.is_some()));
        }
        Ok(due)
    }

    /// The next so many events, by ids, whether they are due or not. For `after`, see [`Self::next_due`].
    pub fn next(
        &self,
        partition: &Partition,
        after: &mut Option<i64>,
        limit: usize,
    ) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(last) = *after
        {
            pgrx::check_for_interrupts!();
            let portion = self.read(partition, last)?;
            *after = portion
                .last()
                .filter(|_| portion.len() >= PORTION)
                .map(|event| event.event_id);
            found.extend(portion);
        }
        Ok(found)
    }

    /// The next events after an id.
    fn read(&self, partition: &Partition, last: i64) -> Result<Vec<Found>> {
        let rows = query::rows(
            "SELECT event_id, place, held, pg_catalog.encode(pg_catalog.timestamptz_send(occurred_at), 'hex') \
             FROM audit.next_events($1::pg_catalog.oid::pg_catalog.regclass, $2::pg_catalog.jsonb, \
                    $3::pg_catalog.int8, $4::pg_catalog.int4)",
            &[
                Arg::Text(&partition.oid),
                Arg::Text(&self.to_json().to_string()),
                Arg::Text(&last.to_string()),
                Arg::Text(&PORTION.to_string()),
            ],
        )?;
        let mut found: Vec<Found> = rows
            .into_iter()
            .map(|row| Found {
                event_id: text(&row, 0).parse().unwrap_or_default(),
                group: cell(&row, 1).and_then(|place| place.parse().ok()),
                held: is(&row, 2),
                occurred_at: micros(&row, 3),
            })
            .collect();
        found.sort_unstable_by_key(|event| event.event_id);
        Ok(found)
    }
}

/// `audit.give_way()`: true; gives way with every sixteenth row.
#[pg_extern(sql = false)]
fn give_way() -> bool {
    static ROWS: Backend<Cell<u8>> = Backend::cell(0);
    let row = ROWS.get().wrapping_add(1);
    ROWS.set(row);
    if row.is_multiple_of(16) {
        xact::give_way();
    }
    true
}

/// An event of the partition.
pub struct Found {
    pub event_id: i64,
    /// None: it is not due.
    pub group: Option<usize>,
    pub held: bool,
    /// Microseconds since 2000-01-01.
    pub occurred_at: i64,
}

/// Whether one time, as JSON prints it, is after another one.
fn later(one: &str, other: &str) -> Result<bool> {
    let rows = query::rows(
        "SELECT $1::pg_catalog.timestamptz OPERATOR(pg_catalog.>) $2::pg_catalog.timestamptz",
        &[Arg::Text(one), Arg::Text(other)],
    )?;
    Ok(rows.first().is_some_and(|row| is(row, 0)))
}

pub fn cell(row: &Cells, at: usize) -> Option<String> {
    row.get(at).cloned().flatten()
}

pub fn text(row: &Cells, at: usize) -> String {
    cell(row, at).unwrap_or_default()
}

pub fn is(row: &Cells, at: usize) -> bool {
    row.get(at).and_then(Option::as_deref) == Some("t")
}

/// A time as microseconds since 2000-01-01: what `timestamptz_send` gives, in hex.
pub fn micros(row: &Cells, at: usize) -> i64 {
    u64::from_str_radix(&text(row, at), 16)
        .unwrap_or_default()
        .cast_signed()
}
