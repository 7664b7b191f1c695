//! What the page tells, read from the database: the period's sections, the timeline, and the numbers above them.

use super::chart::{Chart, Count, Stretch};
use super::page::{Cell, Column, Line, Section};
use super::period::Period;
use super::sections::{SECTIONS, Wanted};
use super::{line, text};
use crate::db::Database;
use anyhow::{Context, Result};
use postgres::Client;
use postgres::types::ToSql;

/// Rows of a section that are shown; the rest is counted.
const SHOWN: i64 = 200;

/// What was read.
pub struct Content {
    pub database: String,
    pub facts: Vec<Line>,
    pub chart: Chart,
    pub sections: Vec<Section>,
}

/// Reads all of it, in the database's snapshot.
pub fn content(database: &mut Database, period: &Period) -> Result<Content> {
    let client = database.client();
    // Days are those of UTC, and nothing is compiled for queries that run once.
    client.batch_execute("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'")?;
    let name = client.query_one("SELECT pg_catalog.current_database()::text", &[])?;
    let bounds = [seconds(period.start()), seconds(period.end())];
    let counts = counts(client, period, &bounds)?;
    let mut sections = Vec::new();
    for wanted in &SECTIONS {
        let section = section(client, wanted, &bounds);
        sections
            .push(section.with_context(|| format!("cannot read the section {}", wanted.title))?);
    }
    Ok(Content {
        database: name.get(0),
        facts: facts(client, &bounds, &sections)?,
        chart: Chart::new(period, Stretch::of(period), &counts),
        sections,
    })
}

/// A moment as `to_timestamp` reads it.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact for the years of a calendar"
)]
fn seconds(time: u64) -> f64 {
    time as f64
}

/// The timeline's numbers.
fn counts(client: &mut Client, period: &Period, bounds: &[f64; 2]) -> Result<Vec<Count>> {
    let sql = format!(
        "SELECT extract(epoch FROM at)::bigint, tags ->> 'operation', sum(value)::bigint
         FROM audit.metrics('{}', to_timestamp($1), to_timestamp($2), '{{events}}')
         WHERE field = 'count' GROUP BY 1, 2",
        Stretch::of(period).interval
    );
    let rows = client.query(&sql, &[&bounds[0], &bounds[1]])?;
    Ok(rows
        .iter()
        .map(|row| Count {
            at: row.get::<_, i64>(0).cast_unsigned(),
            kind: row.get(1),
            events: row.get::<_, i64>(2).cast_unsigned(),
        })
        .collect())
}

/// A section's rows, as text, and how many there are.
fn section(client: &mut Client, wanted: &Wanted, bounds: &[f64; 2]) -> Result<Section> {
    let parameters: [&(dyn ToSql + Sync); 2] = [&bounds[0], &bounds[1]];
    let columns: Vec<String> = (0..wanted.columns.len())
        .map(|place| format!("c{place}::text"))
        .collect();
    let names: Vec<String> = (0..wanted.columns.len())
        .map(|place| format!("c{place}"))
        .collect();
    let sql = format!(
        "SELECT count(*) OVER (), {} FROM ({}) AS r ({}) LIMIT {SHOWN}",
        columns.join(", "),
        wanted.sql,
        names.join(", ")
    );
    let rows = client.query(&sql, &parameters)?;
    let total = rows
        .first()
        .map_or(0, |row| row.get::<_, i64>(0).cast_unsigned());
    let texts = rows.iter().map(|row| {
        let cells = (1..=wanted.columns.len())
            .map(|place| row.get::<_, Option<String>>(place).unwrap_or_default());
        cells.collect::<Vec<_>>()
    });
    Ok(wanted.section(texts.collect(), total))
}

impl Wanted {
    /// Numbers are grouped; those of the last column, where it has numbers, get bars.
    fn section(&self, texts: Vec<Vec<String>>, total: u64) -> Section {
        let last = self.columns.len() - 1;
        let number = |text: &str| text.parse::<u64>().ok();
        let highest = texts.iter().filter_map(|row| number(&row[last])).max();
        let cell = |(place, text): (usize, String)| {
            let is_number = self.columns[place].1;
            let value = number(&text).filter(|_| is_number);
            Cell {
                share: value
                    .filter(|_| place == last)
                    .and_then(|value| (value * 100).checked_div(highest?)),
                text: value.map_or(text, text::grouped),
                number: is_number,
            }
        };
        let row = |row: Vec<String>| row.into_iter().enumerate().map(cell).collect();
        Section {
            id: self.id,
            title: self.title,
            about: self.about,
            none: self.none,
            columns: self
                .columns
                .iter()
                .map(|(name, number)| Column {
                    name: (*name).to_owned(),
                    number: *number,
                })
                .collect(),
            rows: texts.into_iter().map(row).collect(),
            total,
        }
    }
}

/// The numbers above all: those of the sections, and how many events there are at all.
fn facts(client: &mut Client, bounds: &[f64; 2], sections: &[Section]) -> Result<Vec<Line>> {
    let row = client.query_one(
        "SELECT (SELECT count(*) FROM audit.events_between(to_timestamp($1), to_timestamp($2))),
                (SELECT coalesce(sum(inserts + updates + deletes + truncates), 0)::bigint
                 FROM audit.report_changes(to_timestamp($1), to_timestamp($2), 'day')),
                (SELECT coalesce(sum(without_reason), 0)::bigint FROM audit.report_reasons(to_timestamp($1), to_timestamp($2))),
                (SELECT coalesce(sum(changes), 0)::bigint FROM audit.report_privileged(to_timestamp($1), to_timestamp($2)))",
        &[&bounds[0], &bounds[1]],
    )?;
    let names = [
        "events",
        "changes of data",
        "without a reason",
        "privileged",
    ];
    let mut facts: Vec<Line> = names
        .into_iter()
        .enumerate()
        .map(|(place, name)| {
            line(
                name,
                text::grouped(row.get::<_, i64>(place).cast_unsigned()),
            )
        })
        .collect();
    for (id, name) in [
        ("tables", "tables changed"),
        ("users", "users"),
        ("ddl", "acts on structure and audit"),
        ("reviews", "reviews"),
    ] {
        if let Some(section) = sections.iter().find(|section| section.id == id) {
            facts.push(line(name, section.total()));
        }
    }
    Ok(facts)
}
