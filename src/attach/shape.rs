//! A table's shape, as DDL events and attachments keep it: what lets history follow renamed, dropped and added columns.

use super::{fit, registry};
use crate::error::Result;
use crate::pg::query::{self, Arg};
use crate::pg::relation::{OpenRelation, lock};
use pgrx::pg_sys;
use serde_json::{Map, Value as Json};

/// `columns`: which number has which name from now on. `missing`: what rows from before have in columns that were added with a
/// default (`attmissingval`), for no event tells it.
pub fn describe(table: pg_sys::Oid) -> Result<Map<String, Json>> {
    let opened = OpenRelation::table(table, lock::ACCESS_SHARE);
    let columns: Map<String, Json> = opened
        .relation()
        .column_names()
        .into_iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty())
        .map(|(index, name)| ((index + 1).to_string(), name.into()))
        .collect();
    let mut shape = Map::from_iter([("columns".to_owned(), Json::Object(columns))]);
    if let Some(Json::Object(mut missing)) = missing(table)? {
        // A column that this very command brought may be one to be masked.
        if let Some(known) = registry::settings_of(table)? {
            let settings = fit::to(table, &known, None);
            missing.retain(|name, _| {
                !settings.mask.contains(name) && !settings.exclude.contains(name)
            });
        }
        shape.insert("missing".into(), Json::Object(missing));
    }
    Ok(shape)
}

/// Of a partitioned table, its partitions tell.
fn missing(table: pg_sys::Oid) -> Result<Option<Json>> {
    let rows = query::rows(
        "SELECT pg_catalog.jsonb_object_agg(a.attname, pg_catalog.array_to_json(a.attmissingval)::pg_catalog.jsonb -> 0) \
         FROM pg_catalog.pg_attribute a \
         WHERE a.atthasmissing AND NOT a.attisdropped \
         AND (a.attrelid = $1 OR a.attrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1)))",
        &[Arg::Oid(table)],
    )?;
    let text = rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next().flatten());
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Whether the table has no rows: then the log knows all of it from now on.
pub fn is_empty(table: pg_sys::Oid, name: &str) -> Result<bool> {
    let rows = query::rows(
        &format!("SELECT 1 FROM {} {name} LIMIT 1", only(table)),
        &[],
    )?;
    Ok(rows.is_empty())
}

/// Members of an inheritance tree are recorded each for itself.
fn only(table: pg_sys::Oid) -> &'static str {
    let opened = OpenRelation::table(table, lock::ACCESS_SHARE);
    if opened.relation().kind() == 'p' {
        ""
    } else {
        "ONLY"
    }
}
