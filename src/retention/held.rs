//! What active holds cover, asked once more before anything is removed or erased: as [`super::locked`], of the log's own rows and decided
//! here, without the views and functions that a plan is made by.
//!
//! The rules are those of `audit.holds` and `audit.hold_covers()`. What they cover and this does not is a row's events under keys that it
//! got, after the hold was placed, while its table had another OID.

use super::installation;
use super::locked::{PORTION, quoted, relation};
use super::plan::{cell, text};
use crate::attach::registry::oid;
use crate::error::Result;
use crate::pg::query::{self, Arg};
use crate::pg::{catalog, xact};
use pgrx::pg_sys;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A hold that was placed and not released.
struct Hold {
    name: String,
    /// The OIDs and the names (as SQL writes them) of its table.
    table: Option<(Vec<pg_sys::Oid>, Vec<String>)>,
    /// The keys of its row that were known when it was placed.
    keys: Option<BTreeSet<String>>,
    request_id: Option<String>,
    period: Option<String>,
}

/// A hold that covers one of these events of `table`, and the event. Superuser.
pub fn first(table: &str, ids: &[i64]) -> Result<Option<(String, String)>> {
    let holds = Hold::active()?;
    if ids.is_empty() || holds.is_empty() {
        return Ok(None);
    }
    let mut arguments = vec![String::new()];
    let mut cases = String::new();
    for (number, hold) in holds.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(
            cases,
            " WHEN {} THEN {number}",
            hold.condition(&mut arguments)?
        );
    }
    let sql = format!(
        "SELECT c.hold, c.event_id FROM (SELECT CASE{cases} END AS hold, e.event_id FROM {table} e \
             JOIN pg_catalog.unnest($1::pg_catalog.int8[]) AS gone (id) ON e.event_id = gone.id) c \
         WHERE c.hold IS NOT NULL ORDER BY 2 LIMIT 1"
    );
    for ids in ids.chunks(PORTION) {
        xact::give_way();
        arguments[0] = query::array(ids);
        let arguments: Vec<_> = arguments.iter().map(|text| Arg::Text(text)).collect();
        if let Some(row) = query::rows(&sql, &arguments)?.first() {
            let number: Option<usize> = text(row, 0).parse().ok();
            let hold = number.and_then(|number| holds.get(number));
            return Ok(hold.map(|hold| (hold.name.clone(), text(row, 1))));
        }
    }
    Ok(None)
}

impl Hold {
    /// Its members are picked out by PostgreSQL: beside them stands what the session's `audit.context` said, which may be anything.
    fn active() -> Result<Vec<Self>> {
        let here = installation()?;
        let rows = query::rows(
            "SELECT action, context ->> 'hold', context ->> 'installation', context ->> 'request_id', context ->> 'period', \
                 context -> 'row_keys', table_oid, schema_name, table_name, row_key FROM audit.audit_events \
             WHERE operation = 'system' AND action IN ('hold', 'release hold') ORDER BY event_id",
            &[],
        )?;
        // By name, those that no release follows at once.
        let mut active: BTreeMap<String, Vec<Self>> = BTreeMap::new();
        // The names of which the last act is a release.
        let mut released = BTreeSet::new();
        for row in rows {
            let name = text(&row, 1);
            let of_name = active.entry(name.clone()).or_default();
            if text(&row, 0) == "release hold" {
                if released.insert(name) {
                    of_name.pop();
                }
                continue;
            }
            released.remove(&name);
            let then = cell(&row, 6).map(|table| oid(&table));
            let then = then.filter(|_| cell(&row, 2).as_ref() == Some(&here));
            let table = cell(&row, 7).zip(cell(&row, 8)).map(|called| {
                let exists = |oid: &pg_sys::Oid| !catalog::qualified_name(*oid).is_empty();
                let now = then.filter(exists).or_else(|| relation(&called));
                let names = now.map(catalog::qualified_name).into_iter();
                (
                    then.into_iter().chain(now).collect(),
                    names.chain([quoted(&called.0, &called.1)]).collect(),
                )
            });
            let known: Vec<String> = serde_json::from_str(&text(&row, 5)).unwrap_or_default();
            let known = known.into_iter();
            of_name.push(Self {
                name,
                table,
                keys: cell(&row, 9).map(|key| known.chain([key]).collect()),
                request_id: cell(&row, 3),
                period: cell(&row, 4),
            });
        }
        Ok(active.into_values().flatten().collect())
    }

    /// What is so of the events that it covers, in SQL.
    fn condition(&self, arguments: &mut Vec<String>) -> Result<String> {
        let mut all = Vec::new();
        let mut and = |condition: &str, argument: String| {
            arguments.push(argument);
            all.push(condition.replace('?', &format!("${}", arguments.len())));
        };
        if let Some((oids, names)) = &self.table {
            let oids: Vec<_> = oids.iter().map(|oid| oid.to_u32()).collect();
            and(
                "(e.table_oid = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text(?::pg_catalog.jsonb -> 0)::pg_catalog.oid)) \
                  OR (e.table_name IS NOT NULL AND pg_catalog.format('%I.%I', e.schema_name, e.table_name) \
                      = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text(?::pg_catalog.jsonb -> 1)))))",
                json!([oids, names]).to_string(),
            );
        }
        if let Some(keys) = self.keys()? {
            and(
                "(e.row_key = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text(?::pg_catalog.jsonb))) \
                  OR e.old_row_key = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text(?::pg_catalog.jsonb))))",
                json!(keys).to_string(),
            );
        }
        if let Some(request) = &self.request_id {
            and("e.request_id = ?", request.clone());
        }
        if let Some(period) = &self.period {
            and("e.occurred_at <@ ?::pg_catalog.tstzrange", period.clone());
        }
        Ok(if all.is_empty() {
            "true".to_owned()
        } else {
            all.join(" AND ")
        })
    }

    /// All keys that its row is known to have had, from those that are recorded with the hold.
    fn keys(&self) -> Result<Option<BTreeSet<String>>> {
        let Some(mut keys) = self.keys.clone() else {
            return Ok(None);
        };
        // The OID that it had, or where another database's hold was restored, the one that its name has.
        let oids = self.table.iter().flat_map(|(oids, _)| oids);
        let Some(table) = oids.copied().next() else {
            return Ok(Some(keys));
        };
        let mut new: Vec<String> = keys.iter().cloned().collect();
        while let Some(key) = new.pop() {
            let beside = query::rows(
                "SELECT old_row_key FROM audit.audit_events \
                 WHERE table_oid = $1 AND row_key = $2 AND old_row_key IS NOT NULL \
                 UNION SELECT row_key FROM audit.audit_events \
                 WHERE table_oid = $1 AND old_row_key = $2 AND row_key IS NOT NULL",
                &[Arg::Oid(table), Arg::Text(&key)],
            )?;
            for key in beside.into_iter().flatten().flatten() {
                if keys.insert(key.clone()) {
                    new.push(key);
                }
            }
        }
        Ok(Some(keys))
    }
}
