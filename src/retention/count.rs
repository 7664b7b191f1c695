//! How many events of which group a partition has, counted in portions: one query over all of it would be worth a parallel plan to the
//! planner, which takes the processors and the disk from those who write.

use super::plan::{Partition, micros, text};
use crate::attach::registry::first;
use crate::error::Result;
use crate::pg::query::{self, Arg};
use crate::pg::time;
use serde_json::{Map, Value as Json};
use std::collections::HashMap;

/// Pages that are counted together.
const PAGES: usize = 512;

/// How many events, and of which time.
#[derive(Clone)]
pub struct Count {
    pub events: u64,
    /// Microseconds since 2000-01-01.
    oldest: i64,
    newest: i64,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            events: 0,
            oldest: i64::MAX,
            newest: i64::MIN,
        }
    }
}

impl Count {
    pub fn add(&mut self, events: u64, oldest: i64, newest: i64) {
        self.events += events;
        self.oldest = self.oldest.min(oldest);
        self.newest = self.newest.max(newest);
    }

    /// As JSON prints it.
    pub fn oldest(&self) -> String {
        time::to_json(self.oldest)
    }

    pub fn newest(&self) -> String {
        time::to_json(self.newest)
    }
}

/// The groups of a partition, for `audit.retention_groups`: counted portion by portion, and put together as it goes.
pub fn groups(partition: &Partition) -> Result<String> {
    let pages = first(
        "SELECT pg_catalog.pg_relation_size($1::pg_catalog.oid::pg_catalog.regclass) / pg_catalog.current_setting('block_size')::pg_catalog.int8",
        &[Arg::Text(&partition.oid)],
    )?;
    let pages: i64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let mut counts: HashMap<String, Count> = HashMap::new();
    for page in (0..pages).step_by(PAGES) {
        pgrx::check_for_interrupts!();
        let rows = query::rows(
            "SELECT pg_catalog.to_jsonb(g) - '{events,oldest,newest}'::pg_catalog.text[], events, \
                    pg_catalog.encode(pg_catalog.timestamptz_send(oldest), 'hex'), pg_catalog.encode(pg_catalog.timestamptz_send(newest), 'hex') \
             FROM audit.group_counts($1::pg_catalog.oid::pg_catalog.regclass, $2::pg_catalog.int8, $3::pg_catalog.int8) g",
            &[
                Arg::Text(&partition.oid),
                Arg::Text(&page.to_string()),
                Arg::Text(&PAGES.to_string()),
            ],
        )?;
        for row in rows {
            let events: u64 = text(&row, 1).parse().unwrap_or_default();
            let count = counts.entry(text(&row, 0)).or_default();
            count.add(events, micros(&row, 2), micros(&row, 3));
        }
    }
    let groups = counts.into_iter().filter_map(|(key, count)| {
        let mut group: Map<String, Json> = serde_json::from_str(&key).ok()?;
        group.insert("events".into(), count.events.into());
        group.insert("oldest".into(), count.oldest().into());
        group.insert("newest".into(), count.newest().into());
        Some(Json::Object(group))
    });
    Ok(groups.collect::<Json>().to_string())
}
