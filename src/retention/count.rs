//! How many events of which group a partition has: one query over all of it would be worth a parallel plan to the planner, which
//! takes the processors and the disk from those who write.

use super::plan::{Partition, micros, text};
use crate::attach::registry::first;
use crate::error::Result;
use crate::pg::query::{self, Arg};
use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Pages that are counted together.
const PAGES: i64 = 512;

/// The events of a group, as far as they are counted. Times as JSON prints them, and in microseconds since 2000-01-01.
struct Count {
    events: u64,
    oldest: (i64, String),
    newest: (i64, String),
}

/// The groups of a partition, for `audit.retention_groups`: counted portion by portion, and put together as it goes.
pub fn groups(partition: &Partition) -> Result<String> {
    let pages = first(
        "SELECT pg_catalog.pg_relation_size($1::pg_catalog.oid::pg_catalog.regclass) / pg_catalog.current_setting('block_size')::pg_catalog.int8",
        &[Arg::Text(&partition.oid)],
    )?;
    let pages: i64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let mut counts: HashMap<String, Count> = HashMap::new();
    let mut page = 0;
    while page < pages {
        pgrx::check_for_interrupts!();
        let rows = query::rows(
            "SELECT pg_catalog.to_jsonb(g) - '{events,oldest,newest}'::pg_catalog.text[], events, \
                    pg_catalog.encode(pg_catalog.timestamptz_send(oldest), 'hex'), pg_catalog.to_jsonb(oldest) #>> '{}', \
                    pg_catalog.encode(pg_catalog.timestamptz_send(newest), 'hex'), pg_catalog.to_jsonb(newest) #>> '{}' \
             FROM audit.group_counts($1::pg_catalog.oid::pg_catalog.regclass, $2::pg_catalog.int8, $3::pg_catalog.int8) g",
            &[
                Arg::Text(&partition.oid),
                Arg::Text(&page.to_string()),
                Arg::Text(&PAGES.to_string()),
            ],
        )?;
        for row in rows {
            let events: u64 = text(&row, 1).parse().unwrap_or_default();
            let (oldest, newest) = (
                (micros(&row, 2), text(&row, 3)),
                (micros(&row, 4), text(&row, 5)),
            );
            match counts.entry(text(&row, 0)) {
                Entry::Vacant(new) => {
                    new.insert(Count {
                        events,
                        oldest,
                        newest,
                    });
                }
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.events += events;
                    if oldest.0 < known.oldest.0 {
                        known.oldest = oldest;
                    }
                    if newest.0 > known.newest.0 {
                        known.newest = newest;
                    }
                }
            }
        }
        page += PAGES;
    }
    let groups = counts.into_iter().filter_map(|(key, count)| {
        let mut group: Map<String, Json> = serde_json::from_str(&key).ok()?;
        group.insert("events".into(), count.events.into());
        group.insert("oldest".into(), count.oldest.1.into());
        group.insert("newest".into(), count.newest.1.into());
        Some(Json::Object(group))
    });
    Ok(groups.collect::<Json>().to_string())
}
