//! The chart: for each bulk statement, every system's time as a multiple of the unaudited one, on a
//! logarithmic scale. One self-contained SVG that follows the reader's light or dark colours.

use super::floor;
use super::results::{Results, Unit, number};
use super::system::{DIFF, FULL, UNAUDITED};
use std::fmt::Write;

const COLUMNS: usize = 3;
const PANEL: f64 = 330.0;
const ROW: f64 = 20.0;
/// Where the bars begin and how long they can be; their values stand behind them.
const LABELS: f64 = 128.0;
const BARS: f64 = 150.0;
const TOP: f64 = 64.0;
const HEAD: f64 = 24.0;
const FOOT: f64 = 34.0;
const TICKS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0];
/// The class of the floor's bar, which comes first.
const FLOOR: &str = "floor";
const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .panel { font-weight: 600 }
  .faint { fill: #57606a; font-size: 11px }
  .right { text-anchor: end }
  .middle { text-anchor: middle }
  line { stroke: #d0d7de }
  .peer { fill: #8c959f }
  .ours { fill: #0969da }
  .floor { fill: none; stroke: #57606a; stroke-dasharray: 3 2 }
  .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .faint { fill: #9198a1 }
    line { stroke: #30363d }
    .peer { fill: #6e7681 }
    .ours { fill: #4493f8 }
    .floor { stroke: #9198a1 }
    .page { fill: #0d1117 }
  }
";

struct Bar {
    label: String,
    class: &'static str,
    ratio: f64,
}

struct Panel {
    title: String,
    bars: Vec<Bar>,
}

/// None when no bulk statement was measured.
pub fn svg(results: &Results, machine: &str) -> Option<String> {
    let panels = panels(results);
    let ratios = panels
        .iter()
        .flat_map(|panel| &panel.bars)
        .map(|bar| bar.ratio);
    let greatest = ratios.fold(f64::NAN, f64::max);
    if greatest.is_nan() {
        return None;
    }
    let end = greatest.max(2.0);
    let most = panels.iter().map(|panel| panel.bars.len()).max()?;
    let height = HEAD + count(most) * ROW + FOOT;
    let across = count(COLUMNS.min(panels.len()));
    let down = count(panels.len().div_ceil(COLUMNS));
    let (page_width, page_height) = (across * PANEL + 20.0, TOP + down * height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {page_width} {page_height}\" \
         width=\"{page_width}\" height=\"{page_height}\" role=\"img\">\n\
         <title>Time of audited statements as a multiple of the unaudited statement</title>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"14\" y=\"26\">Time of a statement, as a multiple of the same statement without audit</text>\n\
         <text class=\"faint\" x=\"14\" y=\"45\">Logarithmic scale, shorter is better; medians. {}</text>\n",
        escaped(machine)
    );
    for (at, panel) in panels.iter().enumerate() {
        let x = 10.0 + count(at % COLUMNS) * PANEL;
        let y = TOP + count(at / COLUMNS) * height;
        // Writing to a String does not fail.
        let _ = write!(
            svg,
            "<g transform=\"translate({x} {y})\">\n{}</g>\n",
            draw(panel, end)
        );
    }
    Some(svg + "</svg>\n")
}

fn panels(results: &Results) -> Vec<Panel> {
    let mut panels = Vec::new();
    for (workload, table) in [("a", "8 columns"), ("b", "40 columns"), ("c", "8 columns")] {
        for case in results.cases(workload, Unit::Milliseconds) {
            let mut bars: Vec<Bar> = results
                .systems(workload, Unit::Milliseconds)
                .into_iter()
                .filter_map(|system| bar(results, workload, case, system))
                .collect();
            bars.sort_by_key(|bar| bar.class != FLOOR);
            let title = format!("({workload}) {case}, {table}");
            panels.push(Panel { title, bars });
        }
    }
    panels
}

/// None for what is not shown: the unaudited system, which is 1, and the second floor.
fn bar(results: &Results, workload: &str, case: &str, system: &str) -> Option<Bar> {
    if system == UNAUDITED || system == floor::name(DIFF) {
        return None;
    }
    let unit = Unit::Milliseconds;
    let ratio = results.ratio(workload, case, system, unit)?;
    let (label, class, ratio) = match system {
        FULL | DIFF => (system, "ours", ratio),
        _ if system == floor::name(FULL) => ("unaudited + floor", FLOOR, 1.0 + ratio),
        _ => (system, "peer", ratio),
    };
    Some(Bar {
        label: label.to_owned(),
        class,
        ratio,
    })
}

fn draw(panel: &Panel, end: f64) -> String {
    let place = |ratio: f64| BARS * ratio.max(1.0).ln() / end.ln();
    let bottom = HEAD + count(panel.bars.len()) * ROW;
    let mut svg = format!(
        "<text class=\"panel\" x=\"4\" y=\"14\">{}</text>\n",
        escaped(&panel.title)
    );
    for tick in TICKS.into_iter().filter(|tick| *tick <= end) {
        let x = LABELS + place(tick);
        let _ = write!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\n\
             <text class=\"faint middle\" x=\"{x:.1}\" y=\"{}\">{tick}</text>\n",
            bottom + 14.0
        );
    }
    for (at, bar) in panel.bars.iter().enumerate() {
        let y = HEAD + count(at) * ROW;
        let width = place(bar.ratio);
        let _ = write!(
            svg,
            "<text class=\"right\" x=\"{}\" y=\"{}\">{}</text>\n\
             <rect class=\"{}\" x=\"{LABELS}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{}</text>\n",
            LABELS - 6.0,
            y + 14.0,
            escaped(&bar.label),
            bar.class,
            y + 3.0,
            ROW - 6.0,
            LABELS + width + 5.0,
            y + 14.0,
            number(bar.ratio)
        );
    }
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[allow(clippy::cast_precision_loss)] // a handful of bars and panels
fn count(things: usize) -> f64 {
    things as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_and_bars_are_drawn_and_names_escaped() {
        let mut results = Results::default();
        for (system, value) in [(UNAUDITED, 10.0), (FULL, 20.0), ("a<b", 500.0)] {
            results.add("a", "INSERT", system, Unit::Milliseconds, value);
        }
        let svg = svg(&results, "machine").unwrap();
        assert_eq!(svg.matches("<rect class=\"ours\"").count(), 1);
        assert!(svg.contains("a&lt;b") && svg.contains(">50.0<") && svg.contains(">2.00<"));
        // On a scale that ends at 50, ×50 fills the whole length.
        assert!(svg.contains(&format!("width=\"{BARS:.1}\"")));
        assert!(super::svg(&Results::default(), "machine").is_none());
    }
}
