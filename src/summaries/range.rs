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
use attest_log::hex;
use pgrx::pg_sys;
use serde_json::{Value as Json, json};
use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::hash::Hash;

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
const OIDS: [(&str, usize); 2] = [("target", at::TABLE_OID), ("operation", at::OPERATION)];

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
    /// In the order of [`TEXTS`].
    texts: [Values<Vec<u8>>; TEXTS.len()],
    changed_columns: Values<Vec<u8>>,
    /// In the order of [`OIDS`].
    oids: [Values<pg_sys::Oid>; OIDS.len()],
    /// Of told events: what a search looks through.
    trigrams: Option<Trigrams>,
}

/// The values of one filter, in the order in which they came.
#[derive(Default)]
struct Values<K> {
    having: Vec<(K, Having)>,
    places: HashMap<K, usize>,
    /// Where the one that came last stands.
    last: usize,
}

impl<K: Eq + Hash> Values<K> {
    fn add<Q>(&mut self, value: &Q, event_id: i64)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        // Mostly it is that of the event before, or (of changed columns) the one that came after it the last time.
        let is = |place: usize| {
            let known = self.having.get(place);
            known.is_some_and(|(known, _)| known.borrow() == value)
        };
        let place = if is(self.last) {
            self.last
        } else if is(self.last + 1) {
            self.last + 1
        } else if let Some(known) = self.places.get(value) {
            *known
        } else {
            let place = self.having.len();
            self.places.insert(value.to_owned(), place);
            self.having.push((value.to_owned(), Having::default()));
            place
        };
        self.having[place].1.add(event_id);
        self.last = place;
    }
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

    fn to_json(&self, last_id: i64, filter: &str, value: &str) -> Json {
        let is_whole = self.ids.len() == self.events;
        json!({
            "last_id": last_id,
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
            range.add(row);
            Ok(())
        })?;
        Ok(range)
    }

    /// Whether the last event that was added has the id of this one.
    pub fn ends_with(&self, row: &Fields<'_>) -> bool {
        self.events > 0 && row.int8(at::EVENT_ID) == Some(self.last)
    }

    /// Adds the event that comes next by its id: the range ends with it.
    pub fn extend(&mut self, row: &Fields<'_>) {
        let event_id = row.int8(at::EVENT_ID).unwrap_or_default();
        if self.events == 0 {
            self.first = event_id;
        }
        self.last = event_id;
        self.add(row);
    }

    fn add(&mut self, row: &Fields<'_>) {
        let event_id = row.int8(at::EVENT_ID).unwrap_or_default();
        widen(&mut self.occurred, row.int8(at::OCCURRED_AT));
        widen(&mut self.captured, row.int8(at::CAPTURED_AT));
        widen(&mut self.xacts, row.int8(at::XACT_ID));
        self.events += 1;
        for (values, (_, column)) in self.texts.iter_mut().zip(TEXTS) {
            if let Some(value) = row.bytes(column) {
                values.add(value, event_id);
            }
        }
        for (values, (_, column)) in self.oids.iter_mut().zip(OIDS) {
            if let Some(oid) = row.oid(column) {
                values.add(&oid, event_id);
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
                self.changed_columns.add(name, event_id);
            }
        });
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
        let texts = self.texts.iter().zip(TEXTS);
        let values = texts.filter(move |(_, (of, _))| *of == filter);
        values
            .flat_map(|(values, _)| &values.having)
            .map(|(value, having)| (value.as_slice(), having.is_sampled))
    }

    /// Its values, as columns of `audit.range_values`.
    pub fn values_to_json(&self, large: &Large) -> impl Iterator<Item = Json> {
        let texts = self.texts.iter().zip(TEXTS.map(|(filter, _)| filter));
        let texts = texts.chain([(&self.changed_columns, CHANGED_COLUMN)]);
        let texts = texts.flat_map(move |(values, filter)| {
            let having = values.having.iter();
            having
                .filter(move |(value, _)| large.has(filter, value))
                .map(move |(value, having)| (filter, String::from_utf8_lossy(value), having))
        });
        let oids = self
            .oids
            .iter()
            .zip(OIDS)
            .flat_map(|(values, (filter, _))| {
                values.having.iter().map(move |(oid, having)| {
                    let label = catalog::enum_label(*oid).filter(|_| filter == "operation");
                    let value = label.unwrap_or_else(|| oid.to_u32().to_string());
                    (filter, Cow::from(value), having)
                })
            });
        let all = texts.chain(oids);
        all.map(|(filter, value, having)| having.to_json(self.last, filter, &value))
    }

    /// Its texts' trigrams, as columns of `audit.range_texts`.
    pub fn trigrams_to_json(&self) -> Option<Json> {
        let trigrams = self.trigrams.as_ref()?;
        Some(json!({"last_id": self.last, "trigrams": hex(trigrams.bytes())}))
    }
}

/// Makes a span hold a number.
fn widen(span: &mut Option<(i64, i64)>, number: Option<i64>) {
    if let Some(number) = number {
        let (from, to) = span.unwrap_or((number, number));
        *span = Some((from.min(number), to.max(number)));
    }
}
