//! The fold key by key, for `capture => 'diff'`: an UPDATE's images hold the changed columns alone.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use postgres::Client;
use serde_json::value::RawValue;

use super::ordered::{Event, events};
use super::plan::Plan;
use super::report;
use crate::sql::Sql;

/// A row's columns, each value as its JSON text, so that `1.5` and `1.50` stay apart.
type Image = BTreeMap<String, String>;

pub fn check(client: &mut Client, plan: &Plan) -> Result<()> {
    ensure!(
        !plan.key.starts_with("NULL"),
        "a table without a key has no keyed fold"
    );
    let mut rows: HashMap<String, Image> = HashMap::new();
    for group in events(client, plan)?.chunk_by(|a, b| a.statement == b.statement) {
        if let Err(error) = apply(&mut rows, group) {
            let keys: Vec<String> = group
                .iter()
                .flat_map(|event| [event.key.clone(), event.old_key.clone()])
                .flatten()
                .collect();
            let shown = report::events(client, plan, &keys, &[])?;
            let (xact, statement) = &group[0].statement;
            bail!("transaction {xact} statement {statement}: {error:#}\n{shown}");
        }
    }
    let present = client.rows(&format!(
        "SELECT {}, ({})::text FROM {}",
        plan.key, plan.image, plan.from
    ))?;
    let mut text = String::new();
    let mut keys = Vec::new();
    for row in present {
        let [Some(key), Some(image)] = row.as_slice() else {
            bail!("a row without key or image")
        };
        let replayed = rows.remove(key);
        if replayed.as_ref() != Some(&parse(image)?) {
            let replayed = replayed.map_or("no row".into(), |image| format!("{image:?}"));
            writeln!(text, "  key {key}: the table has {}", report::cut(image))?;
            writeln!(text, "    the events give {}", report::cut(&replayed))?;
            keys.push(key.clone());
        }
    }
    for (key, image) in rows {
        writeln!(text, "  key {key}: by the events alone: {image:?}")?;
        keys.push(key);
    }
    if text.is_empty() {
        return Ok(());
    }
    bail!(
        "the events do not rebuild the rows:\n{text}{}",
        report::events(client, plan, &keys, &[])?
    )
}

/// One statement: first everything it took away, then everything it added (`1→2, 2→1`).
fn apply(rows: &mut HashMap<String, Image>, group: &[Event]) -> Result<()> {
    let mut added = Vec::new();
    for event in group {
        match event.operation.as_str() {
            "truncate" => rows.clear(),
            "insert" | "snapshot" => added.push((event, Image::new())),
            _ => {
                let key = event.key_before().context("an event without row_key")?;
                let row = rows
                    .remove(key)
                    .with_context(|| format!("no row {key} to change"))?;
                for (column, value) in parse(event.old.as_deref().unwrap_or("{}"))? {
                    let before = row.get(&column);
                    ensure!(
                        before == Some(&value),
                        "row {key}: old {column} is {value}, replay has {before:?}"
                    );
                }
                if event.operation == "update" {
                    added.push((event, row));
                }
            }
        }
    }
    for (event, mut row) in added {
        let key = event.key.clone().context("an event without row_key")?;
        row.extend(parse(event.new.as_deref().context("no new_values")?)?);
        ensure!(
            rows.insert(key.clone(), row).is_none(),
            "two live rows with key {key}"
        );
    }
    Ok(())
}

fn parse(image: &str) -> Result<Image> {
    let columns: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(image).with_context(|| format!("not an object: {image}"))?;
    Ok(columns
        .into_iter()
        .map(|(column, value)| (column, value.get().to_owned()))
        .collect())
}
