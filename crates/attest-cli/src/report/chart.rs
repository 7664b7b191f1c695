//! The timeline: stacked bars, one for each stretch of the period, as geometry that the template draws.

use super::period::Period;

/// Size of the drawing, in its own units.
pub const WIDTH: f64 = 960.0;
pub const HEIGHT: f64 = 250.0;
/// Room for the numbers at the left, and for the dates below.
pub const LEFT: f64 = 56.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 10.0;

/// What is stacked, from the bottom up; the names are the styles' too.
pub const KINDS: [&str; 4] = ["insert", "update", "delete", "other"];

/// The stretch of time that a bar stands for: at most a hundred of them in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub seconds: u64,
    /// For the caption.
    pub name: &'static str,
    /// As PostgreSQL reads it.
    pub interval: &'static str,
}

impl Stretch {
    /// Weeks begin on Mondays, as those of `audit.metrics` do.
    pub fn of(period: &Period) -> Self {
        let (days, name, interval) = match period.days() {
            0..=3 => {
                return Self {
                    seconds: 3600,
                    name: "hour",
                    interval: "1 hour",
                };
            }
            4..=100 => (1, "day", "1 day"),
            101..=700 => (7, "week", "7 days"),
            701..=2800 => (28, "four weeks", "28 days"),
            _ => (364, "52 weeks", "364 days"),
        };
        Self {
            seconds: days * 86_400,
            name,
            interval,
        }
    }
}

/// Events of one kind that began in a stretch.
#[derive(Debug, Clone)]
pub struct Count {
    /// Beginning of the stretch, in seconds since the Unix epoch.
    pub at: u64,
    pub kind: String,
    pub events: u64,
}

/// A part of a bar.
#[derive(Debug)]
pub struct Part {
    pub kind: &'static str,
    pub y: String,
    pub height: String,
}

/// A bar that is not empty.
#[derive(Debug)]
pub struct Bar {
    pub x: String,
    pub width: String,
    /// What is shown where somebody points at it, and read aloud.
    pub title: String,
    pub parts: Vec<Part>,
}

/// A line across, or a date below.
#[derive(Debug)]
pub struct Tick {
    pub at: String,
    pub text: String,
}

#[derive(Debug)]
pub struct Chart {
    pub stretch: &'static str,
    pub bars: Vec<Bar>,
    pub lines: Vec<Tick>,
    pub dates: Vec<Tick>,
    /// The kinds that occur.
    pub kinds: Vec<&'static str>,
}

impl Chart {
    pub fn new(period: &Period, stretch: Stretch, counts: &[Count]) -> Self {
        let starts = starts(period, stretch);
        let mut stacks = vec![[0_u64; KINDS.len()]; starts.len()];
        for count in counts {
            let kind = KINDS.iter().position(|kind| *kind == count.kind);
            // What lies outside is not of this period.
            if let Ok(place) = starts.binary_search(&count.at) {
                stacks[place][kind.unwrap_or(KINDS.len() - 1)] += count.events;
            }
        }
        let highest = stacks.iter().map(|stack| stack.iter().sum::<u64>()).max();
        let (step, top) = scale(highest.unwrap_or(0));
        let room = (WIDTH - LEFT) / to_f64(starts.len() as u64).max(1.0);
        let height = HEIGHT - TOP - BOTTOM;
        let y = |events: u64| TOP + height * (1.0 - to_f64(events) / to_f64(top));
        let mut bars = Vec::new();
        for (place, stack) in stacks.iter().enumerate() {
            if stack.iter().sum::<u64>() == 0 {
                continue;
            }
            let mut below = 0;
            let mut parts = Vec::new();
            for (kind, events) in KINDS
                .into_iter()
                .zip(*stack)
                .filter(|(_, events)| *events > 0)
            {
                let (lower, upper) = (y(below), y(below + events));
                below += events;
                parts.push(Part {
                    kind,
                    y: short(upper),
                    height: short((lower - upper).max(0.5)),
                });
            }
            bars.push(Bar {
                x: short(LEFT + room * (to_f64(place as u64) + 0.12)),
                width: short(room * 0.76),
                title: title(starts[place], stretch, stack),
                parts,
            });
        }
        let lines = (0..=top / step).map(|line| Tick {
            at: short(y(line * step)),
            text: super::text::grouped(line * step),
        });
        let every = starts.len().div_ceil(8).max(1);
        let dates = starts
            .iter()
            .enumerate()
            .step_by(every)
            .map(|(place, at)| Tick {
                at: short(LEFT + room * (to_f64(place as u64) + 0.5)),
                text: short_label(*at, stretch),
            });
        let occurs = |place: usize| stacks.iter().any(|stack| stack[place] > 0);
        Self {
            stretch: stretch.name,
            bars,
            lines: lines.collect(),
            dates: dates.collect(),
            kinds: (0..KINDS.len())
                .filter(|place| occurs(*place))
                .map(|place| KINDS[place])
                .collect(),
        }
    }
}

/// The beginnings of all stretches that the period touches. 2001-01-01, a Monday, is one.
fn starts(period: &Period, stretch: Stretch) -> Vec<u64> {
    const MONDAY: u64 = 978_307_200;
    let offset = MONDAY % stretch.seconds;
    let first = period.start() - (period.start() + stretch.seconds - offset) % stretch.seconds;
    let count = (period.end() - first).div_ceil(stretch.seconds);
    (0..count)
        .map(|place| first + place * stretch.seconds)
        .collect()
}

/// The distance of the lines, which is 1, 2 or 5 of a power of ten, and the highest line.
fn scale(highest: u64) -> (u64, u64) {
    let mut step = 1_u64;
    for factor in [2, 5, 10].into_iter().cycle() {
        if highest / step < 5 {
            break;
        }
        let power = 10_u64.pow(step.ilog10());
        step = power.saturating_mul(factor);
    }
    (step, highest.div_ceil(step).max(1).saturating_mul(step))
}

fn title(at: u64, stretch: Stretch, stack: &[u64]) -> String {
    let kinds = KINDS.iter().zip(stack).filter(|(_, events)| **events > 0);
    let kinds: Vec<String> = kinds
        .map(|(kind, events)| format!("{} {kind}", super::text::grouped(*events)))
        .collect();
    format!("{}: {}", label(at, stretch), kinds.join(", "))
}

fn label(at: u64, stretch: Stretch) -> String {
    let text = crate::time::utc(at);
    let length = if stretch.seconds < 86_400 { 16 } else { 10 };
    text.chars().take(length).collect()
}

/// Below the bars: of hours, without the year.
fn short_label(at: u64, stretch: Stretch) -> String {
    let text = label(at, stretch);
    text.get(if text.len() > 10 { 5 } else { 0 }..)
        .map_or_else(String::new, ToOwned::to_owned)
}

fn short(number: f64) -> String {
    format!("{number:.1}")
}

/// Exact enough for a drawing.
#[expect(clippy::cast_precision_loss)]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn period(first: &str, last: &str) -> Period {
        Period::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    }

    #[test]
    fn lines_stand_at_round_numbers_above_all_bars() {
        for highest in (0..2000).chain([9_999, 10_001, 123_456_789]) {
            let (step, top) = scale(highest);
            assert!(
                top >= highest && top - step < highest.max(1),
                "{highest}: {step} {top}"
            );
            assert!(top / step <= 5, "{highest}: {step} {top}");
            let digit = step / 10_u64.pow(step.ilog10());
            assert!([1, 2, 5].contains(&digit), "{highest}: {step}");
        }
    }

    #[test]
    fn stretches_cover_the_period_and_are_not_many() {
        for last in [
            "2026-01-01",
            "2026-01-03",
            "2026-02-15",
            "2026-12-31",
            "2029-06-01",
            "2044-01-01",
        ] {
            let period = period("2026-01-01", last);
            let stretch = Stretch::of(&period);
            let starts = starts(&period, stretch);
            assert!(starts.len() <= 102, "{last}: {}", starts.len());
            assert!(starts[0] <= period.start() && starts[0] + stretch.seconds > period.start());
            let end = starts.last().unwrap() + stretch.seconds;
            assert!(end >= period.end() && end - stretch.seconds < period.end());
            assert!(
                (starts[0] + stretch.seconds - 978_307_200 % stretch.seconds)
                    .is_multiple_of(stretch.seconds)
            );
        }
    }

    #[test]
    fn bars_stack_what_was_counted() {
        let period = period("2026-01-01", "2026-01-10");
        let count = |day: u64, kind: &str, events| Count {
            at: period.start() + day * 86_400,
            kind: kind.to_owned(),
            events,
        };
        let counts = [
            count(0, "insert", 3),
            count(0, "ddl", 1),
            count(0, "event", 1),
            count(9, "delete", 10),
            count(11, "insert", 9),
        ];
        let chart = Chart::new(&period, Stretch::of(&period), &counts);
        assert_eq!(chart.bars.len(), 2);
        assert_eq!(chart.bars[0].title, "2026-01-01: 3 insert, 2 other");
        assert_eq!(chart.bars[1].parts[0].height, chart.bars[1].parts[0].height);
        assert_eq!(chart.kinds, ["insert", "delete", "other"]);
        assert_eq!(chart.lines.last().unwrap().text, "10");
        assert_eq!(chart.dates.first().unwrap().text, "2026-01-01");
    }
}
