//! How many events of which group a partition has. Read from its heap, gently: a query would keep the disk from those who write.

use super::plan::Partition;
use crate::attach::registry::{self, first};
use crate::error::Result;
use crate::pg::columns::{Columns, Expected, Fields, column};
use crate::pg::context_source::to_utf8;
use crate::pg::heap_scan::HeapScan;
use crate::pg::relation::{OpenRelation, lock};
use crate::pg::snapshot::Snapshot;
use crate::pg::{catalog, time};
use pgrx::pg_sys;
use serde_json::{Value as Json, json};
use std::collections::HashMap;

/// What of an event decides its group, and its time.
const COLUMNS: [Expected; 7] = [
    column("event_id", pg_sys::INT8OID),
    column("occurred_at", pg_sys::TIMESTAMPTZOID),
    column("operation", pg_sys::InvalidOid),
    column("table_oid", pg_sys::OIDOID),
    column("schema_name", pg_sys::TEXTOID),
    column("table_name", pg_sys::TEXTOID),
    column("category", pg_sys::TEXTOID),
];

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

/// The groups of a partition, for `audit.retention_groups`, as `audit.group_counting` counts them.
pub fn groups(partition: &Partition) -> Result<String> {
    let floor = first("SELECT audit.oid_floor()", &[])?;
    let floor: i64 = floor.and_then(|id| id.parse().ok()).unwrap_or(i64::MIN);
    let table = OpenRelation::table(registry::oid(&partition.oid), lock::ACCESS_SHARE);
    let columns = Columns::of(table.relation(), &COLUMNS)?;
    let snapshot = Snapshot::latest();
    let mut scan = HeapScan::gentle(table.relation(), &snapshot, &columns)?;
    let mut counts: HashMap<Vec<u8>, (Group, Count)> = HashMap::new();
    let mut key = Vec::new();
    while scan.next().is_some() {
        scan.row(|row| {
            let is_old = row.int8(0).unwrap_or_default() <= floor;
            write_key(&row, is_old, &mut key);
            let at = row.int8(1).unwrap_or_default();
            if let Some((_, count)) = counts.get_mut(&key) {
                count.add(1, at, at);
            } else {
                let mut count = Count::default();
                count.add(1, at, at);
                counts.insert(key.clone(), (Group::of(&row, is_old), count));
            }
        });
    }
    // Of a table there is one for each operation.
    let mut groups: HashMap<Group, Count> = HashMap::new();
    for (group, count) in counts.into_values() {
        let all = groups.entry(group).or_default();
        all.add(count.events, count.oldest, count.newest);
    }
    let groups = groups
        .iter()
        .map(|(group, count)| group.to_json(count))
        .collect::<Json>();
    Ok(groups.to_string())
}

/// Makes `key` what an event has of its own of a group: no two of different groups have the same.
fn write_key(row: &Fields<'_>, is_old: bool, key: &mut Vec<u8>) {
    key.clear();
    key.push(is_old.into());
    for oid in [row.oid(2), row.oid(3)] {
        key.push(oid.is_some().into());
        key.extend(oid.unwrap_or_default().to_u32().to_ne_bytes());
    }
    for name in [row.bytes(4), row.bytes(5), row.bytes(6)] {
        key.extend(name.map_or(usize::MAX, <[u8]>::len).to_ne_bytes());
        key.extend(name.unwrap_or_default());
    }
}

/// A group, as `audit.retention_groups` tells it.
#[derive(PartialEq, Eq, Hash)]
struct Group {
    is_event: bool,
    is_system: bool,
    table_oid: Option<u32>,
    schema_name: Option<String>,
    table_name: Option<String>,
    category: Option<String>,
    is_old: bool,
}

impl Group {
    /// An event's.
    fn of(row: &Fields<'_>, is_old: bool) -> Self {
        let operation = row.oid(2).and_then(catalog::enum_label);
        Self {
            is_event: operation.as_deref() == Some("event"),
            is_system: operation.as_deref() == Some("system"),
            table_oid: row.oid(3).map(pg_sys::Oid::to_u32),
            schema_name: row.bytes(4).map(to_utf8),
            table_name: row.bytes(5).map(to_utf8),
            category: row.bytes(6).map(to_utf8),
            is_old,
        }
    }

    fn to_json(&self, count: &Count) -> Json {
        json!({
            "is_event": self.is_event,
            "is_system": self.is_system,
            "table_oid": self.table_oid,
            "schema_name": self.schema_name,
            "table_name": self.table_name,
            "category": self.category,
            "is_old": self.is_old,
            "events": count.events,
            "oldest": count.oldest(),
            "newest": count.newest(),
        })
    }
}
