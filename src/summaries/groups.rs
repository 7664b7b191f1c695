//! Groups of events: requests and processes. Most have few events, which their indexes find; a row per range for each would be as
//! many rows as the log has. So large groups alone are summarised.
//!
//! Invariant: a group that any range has a row for has one for every range with events of it.

use super::range::Range;
use crate::error::Result;
use crate::pg::query::{self, Arg};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Their filters of `audit.events`.
pub const FILTERS: [&str; 2] = ["request_id", "process_id"];

/// Whether the groups of this event are looked at: one in 256, by the highest bits of a multiplication that spreads ids (Knuth, 6.4).
pub fn is_sampled(event_id: i64) -> bool {
    event_id.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56 == 0
}

/// Large groups among those of some ranges.
#[derive(Default)]
pub struct Large(HashMap<&'static str, HashSet<Vec<u8>>>);

impl Large {
    /// Finds those of new ranges: groups that earlier ranges have rows for, and those that have become large; for the latter the
    /// rows of the earlier ranges are written.
    pub fn find(ranges: &[Range]) -> Result<Self> {
        let mut large = Self::default();
        for filter in FILTERS {
            let mut groups: BTreeMap<&[u8], bool> = BTreeMap::new();
            for (value, is_sampled) in ranges.iter().flat_map(|range| range.groups(filter)) {
                *groups.entry(value).or_default() |= is_sampled;
            }
            if groups.is_empty() {
                continue;
            }
            let sampled = groups.iter().filter(|(_, is_sampled)| **is_sampled);
            let sampled = list(sampled.map(|(value, _)| *value));
            let found = query::rows(
                "SELECT value, is_new FROM audit.large_groups($1::audit.summarized, $2::pg_catalog.jsonb, $3::pg_catalog.jsonb)",
                &[
                    Arg::Text(filter),
                    Arg::Text(&list(groups.keys().copied())),
                    Arg::Text(&sampled),
                ],
            )?;
            let known = large.0.entry(filter).or_default();
            for mut row in found {
                let value = row[0].take().unwrap_or_default();
                if row[1].as_deref() == Some("t") {
                    query::run(
                        "INSERT INTO audit.range_values (last_id, events, filter, value, ids) \
                         SELECT last_id, events, $1::audit.summarized, $2, ids FROM audit.group_ranges($1::audit.summarized, $2)",
                        &[Arg::Text(filter), Arg::Text(&value)],
                    )?;
                }
                known.insert(value.into_bytes());
            }
        }
        Ok(large)
    }

    /// Whether a value is summarised: that of any other filter is.
    pub fn has(&self, filter: &str, value: &[u8]) -> bool {
        !FILTERS.contains(&filter)
            || self
                .0
                .get(filter)
                .is_some_and(|known| known.contains(value))
    }
}

/// Texts as a JSON array.
fn list<'a>(values: impl Iterator<Item = &'a [u8]>) -> String {
    values
        .map(|value| Json::from(String::from_utf8_lossy(value)))
        .collect::<Json>()
        .to_string()
}
