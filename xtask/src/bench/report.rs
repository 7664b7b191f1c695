//! The results for people and for machines: Markdown tables, the same on the screen and in the
//! file, JSON and a chart.

use super::results::{Results, Unit, number, told};
use super::system::UNAUDITED;
use super::targets::{Target, over_floor};
use super::{Workload, chart, floor};
use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::path::Path;

const UNITS: [Unit; 7] = [
    Unit::Milliseconds,
    Unit::MicrosPerStatement,
    Unit::MicrosPerEvent,
    Unit::Tps,
    Unit::BytesPerEvent,
    Unit::IndexBytesPerEvent,
    Unit::Megabytes,
];

/// Everything about one run.
#[derive(Serialize)]
pub struct Report {
    /// As it was typed.
    pub command: String,
    /// Whether the sizes are smaller than the titles say.
    pub quick: bool,
    /// When it began, in UTC.
    pub date: String,
    /// The commit of the checkout; with a mark when it was changed.
    pub commit: Option<String>,
    pub machine: String,
    pub settings: Vec<(String, String)>,
    #[serde(flatten)]
    pub results: Results,
    pub targets: Vec<Target>,
}

impl Report {
    /// All tables, in Markdown.
    pub fn markdown(&self) -> String {
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        let commit = self.commit.as_ref();
        let mut parts = vec![format!(
            "`{}`{}, {}{}\n\n{}\n\n{}\n",
            self.command,
            if self.quick {
                " (a quick run: sizes are a tenth of what the titles say, or less)"
            } else {
                ""
            },
            self.date,
            commit.map_or(String::new(), |commit| format!(", commit {commit}")),
            self.machine,
            settings.join(", ")
        )];
        for workload in Workload::value_variants() {
            let tables = tables(&self.results, workload.letter());
            if !tables.is_empty() {
                let (letter, title) = (workload.letter(), workload.title());
                parts.push(format!("## ({letter}) {title}\n{tables}"));
            }
        }
        if !self.targets.is_empty() {
            parts.push(format!("## Targets\n\n{}", targets(&self.targets)));
        }
        parts.join("\n")
    }

    /// Writes `table.md`, `results.json` and `chart.svg`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        let chart = chart::svg(&self.results, &self.machine);
        for (name, text) in [
            ("table.md", Some(self.markdown())),
            ("results.json", Some(json)),
            ("chart.svg", chart),
        ] {
            if let Some(text) = text {
                let path = folder.join(name);
                std::fs::write(&path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// All tables of one workload: one for each unit, and one against the storage floor.
fn tables(results: &Results, workload: &str) -> String {
    let mut text = String::new();
    for unit in UNITS {
        if !results.cases(workload, unit).is_empty() {
            text += &table(results, workload, unit);
        }
        if unit == Unit::Milliseconds {
            text += &floor_table(results, workload);
        }
    }
    text
}

fn table(results: &Results, workload: &str, unit: Unit) -> String {
    let cases = results.cases(workload, unit);
    let systems = results.systems(workload, unit);
    rows(unit.name(), &systems, &cases, |system, case| {
        cell(results, workload, case, system, unit)
    })
}

/// Total time ÷ (unaudited + storage floor).
fn floor_table(results: &Results, workload: &str) -> String {
    let cases = results.cases(workload, Unit::Milliseconds);
    let systems: Vec<&str> = results
        .systems(workload, Unit::Milliseconds)
        .into_iter()
        .filter_map(|name| name.strip_prefix(floor::PREFIX))
        .collect();
    if systems.is_empty() {
        return String::new();
    }
    rows(
        "total ÷ (unaudited + floor)",
        &systems,
        &cases,
        |system, case| over_floor(results, workload, case, system).map_or(String::new(), number),
    )
}

fn rows(
    title: &str,
    systems: &[&str],
    cases: &[&str],
    cell: impl Fn(&str, &str) -> String,
) -> String {
    let header = std::iter::once(title).chain(cases.iter().copied());
    let mut rows = vec![header.map(str::to_owned).collect()];
    for system in systems {
        let cells = cases.iter().map(|case| cell(system, case));
        rows.push(std::iter::once((*system).to_owned()).chain(cells).collect());
    }
    format!("\n{}", aligned(&rows))
}

/// What it is against the unaudited system, then median and range.
fn cell(results: &Results, workload: &str, case: &str, system: &str, unit: Unit) -> String {
    let rounds = results.rounds(workload, case, system, unit);
    if rounds.is_empty() {
        return String::new();
    }
    let comparison = match unit {
        _ if system == UNAUDITED => None,
        Unit::Milliseconds | Unit::Tps => results
            .ratio(workload, case, system, unit)
            .map(|ratio| format!("**×{}** ", number(ratio))),
        Unit::MicrosPerStatement | Unit::Megabytes => results
            .against_unaudited(workload, case, system, unit, |with, without| with - without)
            .map(|added| {
                format!(
                    "**{}{}** ",
                    if added < 0.0 { "" } else { "+" },
                    number(added)
                )
            }),
        _ => None,
    };
    format!("{}{}", comparison.unwrap_or_default(), told(rounds))
}

fn targets(targets: &[Target]) -> String {
    let header = ["", "what", "target", "found", "met"]
        .map(str::to_owned)
        .to_vec();
    let rows = targets.iter().map(|target| {
        vec![
            format!("({})", target.workload),
            target.what.clone(),
            target.bound.clone(),
            target.found.clone(),
            if target.met { "yes" } else { "**no**" }.to_owned(),
        ]
    });
    aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// Rows of cells, the first of them the header, as a Markdown table with aligned columns.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let widest = rows
                .iter()
                .map(|row| cell(row, column).chars().count())
                .max();
            widest.unwrap_or(0).max(3)
        })
        .collect();
    let line = |row: &[String]| {
        let cells: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(column, width)| format!(" {:width$} ", cell(row, column)))
            .collect();
        format!("|{}|\n", cells.join("|"))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let mut lines: Vec<String> = rows.iter().map(|row| line(row)).collect();
    lines.insert(lines.len().min(1), format!("|{}|\n", rule.join("|")));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_compares_with_the_unaudited_rounds() {
        let mut results = Results::default();
        for (system, rounds) in [
            (UNAUDITED, [10.0, 20.0, 30.0]),
            ("mine", [20.0, 80.0, 30.0]),
        ] {
            for value in rounds {
                results.add("a", "INSERT", system, Unit::Milliseconds, value);
            }
        }
        assert_eq!(
            tables(&results, "a"),
            "
| ms        | INSERT                     |
|-----------|----------------------------|
| unaudited | 20.0 (10.0–30.0)           |
| mine      | **×2.00** 30.0 (20.0–80.0) |
"
        );
    }
}
