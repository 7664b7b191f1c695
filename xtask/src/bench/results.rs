//! What was measured: one series of values, round by round, for each workload, case, system and unit.

use super::system::UNAUDITED;
use crate::stats::{median, range};
use serde::Serialize;

/// What a value counts, and so how it compares with the unaudited system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "µs per statement")]
    MicrosPerStatement,
    #[serde(rename = "µs per event")]
    MicrosPerEvent,
    #[serde(rename = "tps")]
    Tps,
    #[serde(rename = "bytes per event")]
    BytesPerEvent,
    #[serde(rename = "bytes of indexes per event")]
    IndexBytesPerEvent,
    #[serde(rename = "MB")]
    Megabytes,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::MicrosPerStatement => "µs per statement",
            Self::MicrosPerEvent => "µs per event",
            Self::Tps => "tps",
            Self::BytesPerEvent => "bytes per event",
            Self::IndexBytesPerEvent => "of which indexes, bytes per event",
            Self::Megabytes => "MB",
        }
    }
}

#[derive(Serialize)]
pub struct Series {
    pub workload: &'static str,
    pub case: String,
    pub system: String,
    pub unit: Unit,
    /// One value a round.
    pub rounds: Vec<f64>,
}

#[derive(Default, Serialize)]
pub struct Results {
    pub series: Vec<Series>,
}

impl Results {
    /// Adds a round's value.
    pub fn add(
        &mut self,
        workload: &'static str,
        case: &str,
        system: &str,
        unit: Unit,
        value: f64,
    ) {
        let same = |series: &&mut Series| {
            series.workload == workload
                && series.case == case
                && series.system == system
                && series.unit == unit
        };
        if let Some(series) = self.series.iter_mut().find(same) {
            series.rounds.push(value);
            return;
        }
        self.series.push(Series {
            workload,
            case: case.to_owned(),
            system: system.to_owned(),
            unit,
            rounds: vec![value],
        });
    }

    /// The values of one series; empty when it was not measured.
    pub fn rounds(&self, workload: &str, case: &str, system: &str, unit: Unit) -> &[f64] {
        self.series
            .iter()
            .find(|series| {
                series.workload == workload
                    && series.case == case
                    && series.system == system
                    && series.unit == unit
            })
            .map_or(&[], |series| &series.rounds)
    }

    /// The median of the rounds; none when it was not measured.
    pub fn median(&self, workload: &str, case: &str, system: &str, unit: Unit) -> Option<f64> {
        let rounds = self.rounds(workload, case, system, unit);
        (!rounds.is_empty()).then(|| median(rounds))
    }

    /// A system against the unaudited one, round by round.
    pub fn against_unaudited(
        &self,
        workload: &str,
        case: &str,
        system: &str,
        unit: Unit,
        compare: impl Fn(f64, f64) -> f64,
    ) -> Option<f64> {
        let with = self.rounds(workload, case, system, unit);
        let without = self.rounds(workload, case, UNAUDITED, unit);
        round_by_round(with, without, compare)
    }

    /// The median of the rounds' ratios to the unaudited system.
    pub fn ratio(&self, workload: &str, case: &str, system: &str, unit: Unit) -> Option<f64> {
        self.against_unaudited(workload, case, system, unit, |with, without| with / without)
    }

    /// The workload's cases in the order in which they were measured.
    pub fn cases(&self, workload: &str, unit: Unit) -> Vec<&str> {
        distinct(self.of(workload, unit).map(|series| series.case.as_str()))
    }

    /// The workload's systems in the order in which they were measured.
    pub fn systems(&self, workload: &str, unit: Unit) -> Vec<&str> {
        distinct(self.of(workload, unit).map(|series| series.system.as_str()))
    }

    fn of(&self, workload: &str, unit: Unit) -> impl Iterator<Item = &Series> {
        self.series
            .iter()
            .filter(move |series| series.workload == workload && series.unit == unit)
    }
}

/// The median of the rounds' comparisons; none where no round has both.
pub fn round_by_round(
    with: &[f64],
    without: &[f64],
    compare: impl Fn(f64, f64) -> f64,
) -> Option<f64> {
    let each: Vec<f64> = with
        .iter()
        .zip(without)
        .map(|(with, without)| compare(*with, *without))
        .collect();
    (!each.is_empty()).then(|| median(&each))
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// A median with its range, for people: `203 (198–215)`.
pub fn told(values: &[f64]) -> String {
    if let [value] = values {
        return number(*value);
    }
    let (least, greatest) = range(values);
    format!(
        "{} ({}–{})",
        number(median(values)),
        number(least),
        number(greatest)
    )
}

/// Three digits that count: `0.42`, `4.20`, `42.0`, `4200`.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
