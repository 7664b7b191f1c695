//! The results for people: Markdown tables, the same on the screen and in the file.

use super::results::{Results, Unit, number, told};
use super::system::UNAUDITED;

const UNITS: [Unit; 7] = [
    Unit::Milliseconds,
    Unit::MicrosPerStatement,
    Unit::MicrosPerEvent,
    Unit::Tps,
    Unit::BytesPerEvent,
    Unit::IndexBytesPerEvent,
    Unit::Megabytes,
];

pub fn print(results: &Results) {
    for workload in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        print!("{}", tables(results, workload));
    }
}

/// All tables of one workload: one for each unit.
pub fn tables(results: &Results, workload: &str) -> String {
    UNITS
        .into_iter()
        .filter(|unit| !results.cases(workload, *unit).is_empty())
        .map(|unit| table(results, workload, unit))
        .collect()
}

fn table(results: &Results, workload: &str, unit: Unit) -> String {
    let cases = results.cases(workload, unit);
    let mut rows = vec![vec![format!("({workload}) {}", unit.name())]];
    rows[0].extend(cases.iter().map(|case| (*case).to_owned()));
    for system in results.systems(workload, unit) {
        let mut row = vec![system.to_owned()];
        row.extend(
            cases
                .iter()
                .map(|case| cell(results, workload, case, system, unit)),
        );
        rows.push(row);
    }
    format!("\n{}", markdown(&rows))
}

/// Median, range, and what it is against the unaudited system.
fn cell(results: &Results, workload: &str, case: &str, system: &str, unit: Unit) -> String {
    let rounds = results.rounds(workload, case, system, unit);
    if rounds.is_empty() {
        return String::new();
    }
    let told = told(rounds);
    let comparison = match unit {
        _ if system == UNAUDITED => None,
        Unit::Milliseconds | Unit::Tps => results
            .ratio(workload, case, system, unit)
            .map(|ratio| format!("**×{}**", number(ratio))),
        Unit::MicrosPerStatement => results
            .against_unaudited(workload, case, system, unit, |with, without| with - without)
            .map(|added| {
                format!(
                    "**{}{}**",
                    if added < 0.0 { "" } else { "+" },
                    number(added)
                )
            }),
        _ => None,
    };
    match comparison {
        Some(comparison) => format!("{comparison} {told}"),
        None => told,
    }
}

/// Rows of cells, the first of them the header, with aligned columns.
pub fn markdown(rows: &[Vec<String>]) -> String {
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
    let rule: String = widths
        .iter()
        .map(|width| format!("|{}", "-".repeat(width + 2)))
        .collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        text += &line(row);
        if at == 0 {
            text += &format!("{rule}|\n");
        }
    }
    text
}
