//! A range of event ids, and which values its events have.

use super::groups::{self, Large};
use super::trigrams::Trigrams;
use crate::error::Result;
use crate::ledger::events::Events;
use crate::ledger::leaf::at;
use crate::pg::catalog;
use crate::pg::columns::Fields;
use crate::pg::snapshot::Snapshot;
use crate::pg::text;
use pgrx::pg_sys;
use serde_json::{Value as Json, json};
use std::collections::HashMap;

/// Of a value that so many events of a range have, the ids are kept.
const FEW: usize = 32;

/// Which texts are summarised, under which filter of `audit.events`.
const TEXTS: [(&str, usize); 10] = [
    ("session_user_name", at::SESSION_USER_NAME),
    ("app_user_id", at::APP_USER_ID),
    ("tenant_id", at::TENANT_ID),
    ("session_id", at::SESSION_ID),
    ("request_id", at::REQUEST_ID),
    ("process_id", at::PROCESS_ID),
    ("category", at::CATEGORY),
    ("severity", at::SEVERITY),
    ("action", at::ACTION),
    ("entity_type", at::ENTITY_TYPE),
];
const CHANGED_COLUMN: &str = "changed_column";

/// What is known of a range.
#[derive(Default)]
pub struct Range {
    pub first: i64,
    pub last: i64,
    pub events: i64,
    /// Microseconds since 2000-01-01.
    occurred: Option<(i64, i64)>,
    captured: Option<(i64, i64)>,
    xacts: Option<(i64, i64)>,
    texts: HashMap<&'static str, HashMap<Vec<u8>, Having>>,
    /// By table, and by the label of the operation.
    oids: HashMap<(&'static str, pg_sys::Oid), Having>,
    /// Of told events: what a search looks through.
    pub trigrams: Option<Trigrams>,
}

/// The events that have a value.
#[derive(Default)]
struct Having {
    events: usize,
    /// The first ones.
    ids: Vec<i64>,
    is_sampled: bool,
}

impl Having {
    fn add(&mut self, event_id: i64) {
        self.events += 1;
        self.is_sampled |= groups::is_sampled(event_id);
        if self.ids.len() < FEW {
            self.ids.push(event_id);
        }
    }

    fn to_json(&self, filter: &str, value: &str) -> Json {
        let is_whole = self.ids.len() == self.events;
        json!({
            "filter": filter,
            "value": value,
            "events": self.events,
            "ids": is_whole.then_some(&self.ids),
        })
    }
}

impl Range {
    /// Reads the events from the first to the last id.
    pub fn read(events: &Events, snapshot: &Snapshot, (first, last): (i64, i64)) -> Result<Self> {
        let mut range = Self {
            first,
            last,
            ..Self::default()
        };
        events.each(snapshot, first, last, |row| {
            pgrx::check_for_interrupts!();
            range.add(row);
            Ok(())
        })?;
        Ok(range)
    }

    fn add(&mut self, row: &Fields<'_>) {
        let event_id = row.int8(at::EVENT_ID).unwrap_or_default();
        widen(&mut self.occurred, row.int8(at::OCCURRED_AT));
        widen(&mut self.captured, row.int8(at::CAPTURED_AT));
        widen(&mut self.xacts, row.int8(at::XACT_ID));
        self.events += 1;
        for (filter, column) in TEXTS {
            if let Some(value) = row.bytes(column) {
                self.add_text(filter, value, event_id);
            }
        }
        for (filter, column) in [("target", at::TABLE_OID), ("operation", at::OPERATION)] {
            if let Some(oid) = row.oid(column) {
                self.oids.entry((filter, oid)).or_default().add(event_id);
            }
        }
        if row.bytes(at::ACTION).is_some() {
            let trigrams = self.trigrams.get_or_insert_default();
            let searched = [at::ACTION, at::ENTITY_NAME, at::DESCRIPTION];
            for text in searched.into_iter().filter_map(|column| row.bytes(column)) {
                trigrams.add(&text::lower(text));
            }
        }
        row.texts(at::CHANGED_COLUMNS, |name| {
            if let Some(name) = name {
                self.add_text(CHANGED_COLUMN, name, event_id);
            }
        });
    }

    fn add_text(&mut self, filter: &'static str, value: &[u8], event_id: i64) {
        let values = self.texts.entry(filter).or_default();
        if let Some(known) = values.get_mut(value) {
            known.add(event_id);
        } else {
            values.entry(value.to_vec()).or_default().add(event_id);
        }
    }

    /// The range itself, as columns of `audit.event_ranges`; times in microseconds since 2000-01-01, null for infinite ones.
    pub fn to_json(&self) -> Json {
        let finite = |time: i64| (time != i64::MIN && time != i64::MAX).then_some(time);
        let occurred = self.occurred.unwrap_or_default();
        let captured = self.captured.unwrap_or_default();
        let xacts = self.xacts.unwrap_or_default();
        json!({
            "first_id": self.first,
            "last_id": self.last,
            "events": self.events,
            "occurred_from": finite(occurred.0),
            "occurred_to": finite(occurred.1),
            "captured_from": finite(captured.0),
            "captured_to": finite(captured.1),
            "xact_from": xacts.0.cast_unsigned(),
            "xact_to": xacts.1.cast_unsigned(),
        })
    }

    /// The requests or processes that it has events of, and whether one of these is a sample.
    pub fn groups(&self, filter: &str) -> impl Iterator<Item = (&[u8], bool)> {
        let values = self.texts.get(filter).into_iter().flatten();
        values.map(|(value, having)| (value.as_slice(), having.is_sampled))
    }

    /// Its values, as columns of `audit.range_values`.
    pub fn values_to_json(&self, large: &Large) -> Json {
        let texts = self.texts.iter().flat_map(|(filter, values)| {
            values
                .iter()
                .filter(|(value, _)| large.has(filter, value))
                .map(|(value, having)| having.to_json(filter, &String::from_utf8_lossy(value)))
        });
        let oids = self.oids.iter().map(|((filter, oid), having)| {
            let label = catalog::enum_label(*oid).filter(|_| *filter == "operation");
            having.to_json(filter, &label.unwrap_or_else(|| oid.to_u32().to_string()))
        });
        texts.chain(oids).collect()
    }
}

/// Makes a span hold a number.
fn widen(span: &mut Option<(i64, i64)>, number: Option<i64>) {
    if let Some(number) = number {
        let (from, to) = span.unwrap_or((number, number));
        *span = Some((from.min(number), to.max(number)));
    }
}
