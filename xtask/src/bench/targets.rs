//! What pg_attest promises itself, and whether a run kept it.

use super::results::{Results, Unit, number, round_by_round};
use super::system::{DIFF, FULL, UNAUDITED};
use super::{archive, floor, growth, ledger, memory, reading, retention, session, tpcb};
use crate::stats::median;
use serde::Serialize;

/// One promise about one figure.
#[derive(Serialize)]
pub struct Target {
    pub workload: &'static str,
    pub what: String,
    pub bound: String,
    pub found: String,
    pub met: bool,
}

/// The targets of everything that was measured. `sizes` are those of (f).
pub fn check(results: &Results, sizes: &[u64]) -> Vec<Target> {
    let mut all = Vec::new();
    bulk(results, &mut all);
    tpcb_and_single(results, &mut all);
    for workload in ["a", "b", "c", "d", "e"] {
        all.extend(ahead(results, workload));
    }
    growth_memory_session(results, sizes, &mut all);
    ledgers(results, &mut all);
    archives(results, &mut all);
    reads(results, &mut all);
    prunes(results, &mut all);
    all
}

fn bulk(results: &Results, all: &mut Vec<Target>) {
    for system in [FULL, DIFF] {
        for (case, bound) in [("INSERT", 2.2), ("UPDATE", 2.3), ("DELETE", 6.0)] {
            let ratio = results.ratio("a", case, system, Unit::Milliseconds);
            let what = format!("{case}, {system}, ratio to unaudited");
            all.extend(at_most("a", what, bound, ratio));
        }
        for case in ["INSERT", "UPDATE", "DELETE"] {
            let what = format!("{case}, {system}, total ÷ (unaudited + storage floor)");
            all.extend(at_most(
                "a",
                what,
                1.25,
                over_floor(results, "a", case, system),
            ));
        }
    }
    for (case, system, bound) in [("INSERT", FULL, 420.0), ("UPDATE", DIFF, 300.0)] {
        let bytes = results.median("a", case, system, Unit::BytesPerEvent);
        let what = format!("{case}, {system}, bytes per event, heap and indexes");
        all.extend(at_most("a", what, bound, bytes));
    }
    for system in [FULL, DIFF] {
        let ratio = results.ratio("c", "COPY", system, Unit::Milliseconds);
        all.extend(at_most(
            "c",
            format!("COPY, {system}, ratio to unaudited"),
            2.2,
            ratio,
        ));
    }
}

fn tpcb_and_single(results: &Results, all: &mut Vec<Target>) {
    let commits = [("off", 0.93, [4].as_slice()), ("on", 0.97, &[1, 4, 16])];
    for (commit, bound, clients) in commits {
        for clients in clients {
            let case = tpcb::case(*clients, commit);
            let ratio = results.ratio("d", &case, FULL, Unit::Tps);
            let what = format!("{case}, {FULL}, tps to unaudited");
            all.extend(at_least("d", what, bound, ratio));
        }
    }
    for case in results.cases("e", Unit::MicrosPerStatement) {
        let unit = Unit::MicrosPerStatement;
        let added =
            results.against_unaudited("e", case, FULL, unit, |with, without| with - without);
        let what = format!("{case}, {FULL}, µs added to a statement of one row");
        all.extend(at_most("e", what, 15.0, added));
    }
}

fn growth_memory_session(results: &Results, sizes: &[u64], all: &mut Vec<Target>) {
    let cost = |size: &u64| results.median("f", &growth::told(*size), FULL, Unit::MicrosPerEvent);
    for size in sizes.iter().skip(1) {
        let ratio = cost(size)
            .zip(cost(&sizes[0]))
            .map(|(late, early)| late / early);
        let (size, first) = (growth::told(*size), growth::told(sizes[0]));
        let what = format!("capture cost per event at {size} to that at {first}");
        all.extend(at_most("f", what, 1.1, ratio));
    }
    for size in sizes {
        let case = format!("{}, {}", growth::LOOK_UP, growth::told(*size));
        let time = results.median("f", &case, FULL, Unit::Milliseconds);
        all.extend(at_most(
            "f",
            format!("ms of a row's history, {case}"),
            2.0,
            time,
        ));
    }
    let peak = |system| results.median("g", memory::CASE, system, Unit::Megabytes);
    let beyond = peak(FULL)
        .zip(peak(UNAUDITED))
        .map(|(with, without)| with - without);
    let what = format!("{FULL}, MB beyond the unaudited statement's peak");
    all.extend(at_most("g", what, 64.0, beyond));
    let value = |case, unit| results.median("h", case, FULL, unit);
    let both = |unit| value(session::END, unit).zip(value(session::START, unit));
    let slower = both(Unit::MicrosPerStatement).map(|(end, start)| end / start);
    let what = format!("{FULL}, latency at the end to that at the start");
    all.extend(at_most("h", what, 1.1, slower));
    let grown = both(Unit::Megabytes).map(|(end, start)| end - start);
    let what = format!("{FULL}, MB that the session grew by");
    all.extend(at_most("h", what, 1.0, grown));
}

fn ledgers(results: &Results, all: &mut Vec<Target>) {
    let per_second = |what, unit| {
        let cases = results.cases("i", unit);
        let case = cases.into_iter().find(|case| case.starts_with(what))?;
        Some(1e6 / results.median("i", case, FULL, unit)?)
    };
    for (what, bound) in [
        (ledger::SEAL, 250_000.0),
        (ledger::VERIFY, 400_000.0),
        (ledger::VERIFY_IN_PARALLEL, 600_000.0),
        (ledger::VERIFY_OUTSIDE, 800_000.0),
    ] {
        let rate = per_second(what, Unit::MicrosPerEvent);
        all.extend(at_least(
            "i",
            format!("{what}, events a second"),
            bound,
            rate,
        ));
    }
    for case in results.cases("i", Unit::Milliseconds) {
        let time = results.median("i", case, FULL, Unit::Milliseconds);
        all.extend(at_most("i", format!("ms of {case}"), 5.0, time));
    }
    for case in results.cases("i", Unit::BytesPerEvent) {
        let bound = if case == ledger::WAL { 4096.0 } else { 48.0 };
        let bytes = results.median("i", case, FULL, Unit::BytesPerEvent);
        all.extend(at_most("i", format!("{case}, bytes"), bound, bytes));
    }
    let tps = |case| results.rounds("i", case, FULL, Unit::Tps);
    let (on, off) = (tps(ledger::SEALER_ON), tps(ledger::SEALER_OFF));
    let ratio = round_by_round(on, off, |on, off| on / off);
    let what = format!("{}, tps to that with it off", ledger::SEALER_ON);
    all.extend(at_least("i", what, 0.97, ratio));
}

fn archives(results: &Results, all: &mut Vec<Target>) {
    for case in results.cases("p", Unit::MicrosPerEvent) {
        if !case.starts_with(archive::ARCHIVE) {
            continue;
        }
        let time = results.median("p", case, FULL, Unit::MicrosPerEvent);
        let what = format!("{case}, µs an event, written and read back");
        all.extend(at_most("p", what, 5.0, time));
        let peak = results.median("p", case, FULL, Unit::Megabytes);
        all.extend(at_most(
            "p",
            format!("{case}, MB of the program"),
            256.0,
            peak,
        ));
        let size = |what| {
            let case = case.replacen(archive::ARCHIVE, what, 1);
            results.median("p", &case, FULL, Unit::BytesPerEvent)
        };
        let ratio = size(archive::PARQUET)
            .zip(size(archive::HEAP))
            .map(|(parquet, heap)| parquet / heap);
        all.extend(at_most(
            "p",
            format!("{case}, Parquet to heap"),
            0.25,
            ratio,
        ));
    }
}

fn reads(results: &Results, all: &mut Vec<Target>) {
    let ms = |case, row| results.median("r", case, row, Unit::Milliseconds);
    for (case, bound) in [
        (reading::HISTORY, 2.0),
        (reading::LINEAGE, 20.0),
        (reading::AS_OF, 2000.0),
    ] {
        all.extend(at_most("r", format!("ms of {case}"), bound, ms(case, FULL)));
    }
    for case in [reading::FIRST_PAGE, reading::FAR_PAGE] {
        for filter in results.systems("r", Unit::Milliseconds) {
            let what = format!("ms of the {case}, {filter}");
            all.extend(at_most("r", what, 5.0, ms(case, filter)));
        }
    }
    let time = results.median("r", reading::LOG_EVENT, FULL, Unit::MicrosPerEvent);
    let what = format!("µs of {} inside a transaction", reading::LOG_EVENT);
    all.extend(at_most("r", what, 20.0, time));
}

fn prunes(results: &Results, all: &mut Vec<Target>) {
    for case in results.cases("t", Unit::Milliseconds) {
        let Some(size) = case.strip_prefix(retention::DROP) else {
            continue;
        };
        let value = |what, unit| results.median("t", &format!("{what}{size}"), FULL, unit);
        let time = value(retention::DROP, Unit::Milliseconds);
        let what = format!("ms for which {case} shuts it");
        all.extend(at_most("t", what, 200.0, time));
        let p99 = |what| value(what, Unit::Milliseconds);
        let slower = p99(retention::DURING)
            .zip(p99(retention::BEFORE))
            .map(|(during, before)| during / before);
        let what = format!("{}{size}, to before", retention::DURING);
        all.extend(at_most("t", what, 2.0, slower));
        let rate = value(retention::DELETE, Unit::MicrosPerEvent).map(|micros| 1e6 / micros);
        let what = format!("{}{size}, events a second", retention::DELETE);
        all.extend(at_least("t", what, 50_000.0, rate));
    }
}

/// Total time ÷ (unaudited + storage floor), the median of the rounds' quotients.
pub fn over_floor(results: &Results, workload: &str, case: &str, system: &str) -> Option<f64> {
    let rounds = |system: &str| results.rounds(workload, case, system, Unit::Milliseconds);
    let each: Vec<f64> = rounds(system)
        .iter()
        .zip(rounds(UNAUDITED))
        .zip(rounds(&floor::name(system)))
        .map(|((total, unaudited), floor)| total / (unaudited + floor))
        .collect();
    (!each.is_empty()).then(|| median(&each))
}

/// Whether both modes of pg_attest are ahead of every peer in every case of a workload.
fn ahead(results: &Results, workload: &'static str) -> Option<Target> {
    let mut behind = Vec::new();
    let mut compared = false;
    for unit in [Unit::Milliseconds, Unit::Tps, Unit::MicrosPerStatement] {
        for case in results.cases(workload, unit) {
            for peer in results
                .systems(workload, unit)
                .into_iter()
                .filter(|name| is_peer(name))
            {
                for ours in [FULL, DIFF] {
                    let pair = results
                        .median(workload, case, ours, unit)
                        .zip(results.median(workload, case, peer, unit));
                    let Some((ours_value, peers_value)) = pair else {
                        continue;
                    };
                    compared = true;
                    let better = if unit == Unit::Tps {
                        ours_value > peers_value
                    } else {
                        ours_value < peers_value
                    };
                    if !better {
                        behind.push(format!("{case}: {ours} behind {peer}"));
                    }
                }
            }
        }
    }
    compared.then(|| Target {
        workload,
        what: "ahead of every other system in every case".into(),
        bound: "yes".into(),
        met: behind.is_empty(),
        found: if behind.is_empty() {
            "yes".into()
        } else {
            behind.join("; ")
        },
    })
}

fn is_peer(name: &str) -> bool {
    name != UNAUDITED && name != FULL && name != DIFF && !name.starts_with(floor::PREFIX)
}

fn at_most(workload: &'static str, what: String, bound: f64, found: Option<f64>) -> Option<Target> {
    found.map(|found| Target {
        workload,
        what,
        bound: format!("≤ {}", plain(bound)),
        found: number(found),
        met: found <= bound,
    })
}

fn at_least(
    workload: &'static str,
    what: String,
    bound: f64,
    found: Option<f64>,
) -> Option<Target> {
    found.map(|found| Target {
        workload,
        what,
        bound: format!("≥ {}", plain(bound)),
        found: number(found),
        met: found >= bound,
    })
}

/// A bound as it is written: without digits that say nothing.
fn plain(bound: f64) -> String {
    format!("{bound}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_faster_once_is_told() {
        let mut results = Results::default();
        for (case, ours, peers) in [("INSERT", 100.0, 200.0), ("DELETE", 100.0, 90.0)] {
            for (system, value) in [(UNAUDITED, 50.0), (FULL, ours), ("other", peers)] {
                results.add("a", case, system, Unit::Milliseconds, value);
            }
        }
        let target = ahead(&results, "a").unwrap();
        assert!(!target.met);
        assert_eq!(target.found, format!("DELETE: {FULL} behind other"));
        assert!(ahead(&results, "b").is_none());
    }

    #[test]
    fn the_floor_counts_with_the_unaudited_statement() {
        let mut results = Results::default();
        for (system, value) in [
            (UNAUDITED, 50.0),
            (FULL, 180.0),
            (&floor::name(FULL), 100.0),
        ] {
            results.add("a", "INSERT", system, Unit::Milliseconds, value);
        }
        let targets = check(&results, &[]);
        let over = targets
            .iter()
            .find(|target| target.what.contains('÷'))
            .unwrap();
        assert_eq!((over.found.as_str(), over.met), ("1.20", true));
        let ratio = targets
            .iter()
            .find(|target| target.what.contains("ratio"))
            .unwrap();
        assert_eq!((ratio.found.as_str(), ratio.met), ("3.60", false));
    }
}
