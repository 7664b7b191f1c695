//! A table's shape, as DDL events and attachments keep it: what lets history follow renamed, dropped and added columns.

use super::{fit, registry, triggers};
use crate::capture::image::ImageBuilder;
use crate::error::Result;
use crate::pg::datum::Varlena;
use crate::pg::pinned::Pinned;
use crate::pg::relation::{OpenRelation, lock};
use crate::pg::slot::Slot;
use crate::pg::{catalog, jsonb_text, query};
use crate::table_plan;
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
    let missing = missing(table)?;
    if !missing.is_empty() {
        shape.insert("missing".into(), Json::Object(missing));
    }
    Ok(shape)
}

/// As images show it: built by the same code, for SQL would call whatever cast to json the type's owner made, with our rights. Of
/// a partitioned table, its partitions tell. What is masked or excluded is left out.
fn missing(table: pg_sys::Oid) -> Result<Map<String, Json>> {
    let mut all = Map::new();
    let Some(known) = registry::settings_of(table)? else {
        return Ok(all);
    };
    // A column that this very command brought may be one to be masked.
    let settings = fit::to(table, &known, None);
    let argument = triggers::argument(&settings)?;
    let is_partitioned = only(table).is_empty();
    let members = if is_partitioned {
        catalog::inheritors(table, lock::ACCESS_SHARE)
    } else {
        vec![table]
    };
    for member in members {
        let opened = OpenRelation::table(member, lock::ACCESS_SHARE);
        let relation = opened.relation();
        let names = relation.columns_with_missing();
        if names.is_empty() {
            continue;
        }
        let plan = table_plan::of_relation(relation, Some(&argument))?;
        let _pinned = Pinned::new(plan.pin_names);
        let slot = Slot::before_columns(relation);
        let (mut image, mut text) = (Varlena::default(), Vec::new());
        ImageBuilder::default().build(&plan, slot.row(), None, &mut image);
        jsonb_text::write(&image.bytes()[size_of::<u32>()..], &mut text);
        let Ok(Json::Object(image)) = serde_json::from_slice(&text) else {
            continue;
        };
        all.extend(
            image
                .into_iter()
                .filter(|(name, _)| names.contains(name) && !settings.mask.contains(name)),
        );
    }
    Ok(all)
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
