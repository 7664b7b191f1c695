//! What was removed from an export: as declared, wherever the declaration stands, or otherwise.

#![allow(clippy::unwrap_used)]

mod common;

use attest_log::declaration::{Declaration, Place, Runs};
use attest_log::tree::Frontier;
use common::{Event, Left, Log};
use serde_json::Value as Json;
use std::ops::Range;

/// The event that declares these leaves of an epoch, rightly.
fn declaration(log: &Log, action: &'static str, epoch: usize, leaves: Range<usize>) -> Event {
    let places = leaves.clone().map(|index| Place {
        epoch: i32::try_from(epoch).unwrap(),
        index: index as u64,
    });
    let mut frontier = Frontier::new();
    for event in &log.epochs[epoch - 1][leaves.clone()] {
        frontier.push(event.leaf().hash());
    }
    let said = Declaration {
        runs: Runs::of(places),
        count: leaves.len() as u64,
        root: frontier.root(),
    };
    let context = Json::Object(said.members()).to_string();
    Event {
        system: Some((action, context)),
        ..Event::number(1_000_000 + leaves.start as u64)
    }
}

/// Takes from these events, as after the declaration.
fn take(log: &mut Log, epoch: usize, leaves: Range<usize>, left: Left) {
    for event in &mut log.epochs[epoch - 1][leaves] {
        event.left = left;
    }
}

/// A log of an epoch of so many leaves and one of 300.
fn two_epochs(leaves: u64) -> Log {
    let mut log = Log::of(leaves);
    log.every = 10_000;
    log.epochs
        .push((leaves..leaves + 300).map(Event::number).collect());
    log
}

/// Pruned and erased of the epochs.
fn counts(report: &Json) -> Vec<(u64, u64)> {
    let count = |epoch: &Json, what: &str| epoch[what].as_u64().unwrap();
    let epochs = report["epochs"].as_array().unwrap().iter();
    epochs
        .map(|epoch| (count(epoch, "pruned_events"), count(epoch, "erased_events")))
        .collect()
}

#[test]
fn a_declaration_may_stand_in_a_later_segment_or_epoch() {
    // Three segments. Gone are all of the first, some of the others, and the payload of a few.
    let mut log = two_epochs(140_000);
    log.epochs[0][139_000] = declaration(&log, "prune", 1, 0..70_000);
    log.epochs[1][100] = declaration(&log, "clear", 1, 135_000..135_020);
    log.epochs[1][101] = declaration(&log, "erase", 1, 80_000..80_003);
    log.epochs[1][290] = declaration(&log, "erase", 2, 50..51);
    take(&mut log, 1, 0..70_000, Left::Nothing);
    take(&mut log, 1, 135_000..135_020, Left::Nothing);
    take(&mut log, 1, 80_000..80_003, Left::AllButPayload);
    take(&mut log, 2, 50..51, Left::AllButPayload);
    let export = log.write();
    for threads in ["1", "2", "8"] {
        let (status, report) = export.verify(&["--threads", threads]);
        assert_eq!(
            (status, &report["counts"]),
            (0, &serde_json::json!({})),
            "{report:#}"
        );
        assert_eq!(counts(&report), [(70_020, 3), (0, 1)]);
        assert_eq!(report["epochs"][0]["last_good_checkpoint"], 140_000);
    }
}

#[test]
fn what_is_gone_and_not_declared_is_found() {
    let mut log = two_epochs(2000);
    log.epochs[1][100] = declaration(&log, "prune", 1, 10..20);
    log.epochs[1][101] = declaration(&log, "erase", 1, 30..40);
    take(&mut log, 1, 9..20, Left::Nothing);
    take(&mut log, 1, 30..41, Left::AllButPayload);
    // Of each kind of declaration only those of its kind may be.
    take(&mut log, 2, 5..6, Left::Nothing);
    log.epochs[1][102] = declaration(&log, "erase", 2, 5..6);
    let export = log.write();
    let (_, report) = export.verify(&[]);
    assert_eq!(counts(&report), [(10, 10), (0, 0)]);
    let findings = export.findings(&[]);
    assert_eq!(
        findings,
        [
            "missing event 9 -",
            "altered event 40 81",
            "missing event 5 -"
        ]
    );
    assert_eq!(report["epochs"][0]["first_bad_leaf"], 9);
}

#[test]
fn a_declaration_in_another_spelling_declares_nothing() {
    let mut log = Log::of(300);
    log.epochs[0][200] = declaration(&log, "prune", 1, 10..12);
    take(&mut log, 1, 10..12, Left::Nothing);
    let export = log.write();
    assert_eq!(export.findings(&[]), [""; 0]);
    export.edit("1/events/000.jsonl", |text| {
        text.replace("\"system\"", "\"\\u0073ystem\"")
    });
    assert_eq!(
        export.findings(&[]),
        ["missing event 10 -", "missing event 11 -"]
    );
}

#[test]
fn a_declaration_is_judged_though_nothing_is_gone() {
    // Two segments.
    let mut log = two_epochs(66_000);
    let right = declaration(&log, "prune", 1, 10..20);
    log.epochs[0][65_000] = right.clone();
    assert_eq!(log.write().findings(&[]), [""; 0]);
    // Another root, in another segment; and leaves that come later.
    let wrong = declaration(&log, "erase", 1, 11..21);
    let (_, context) = right.system.unwrap();
    let root = |context: &str| {
        let said: Json = serde_json::from_str(context).unwrap();
        said["root"].as_str().unwrap().to_owned()
    };
    let (action, other) = wrong.system.clone().unwrap();
    let edited = other.replace(&root(&other), &root(&context));
    log.epochs[0][65_900] = Event {
        system: Some((action, edited)),
        ..wrong.clone()
    };
    log.epochs[0][5] = wrong;
    let export = log.write();
    for threads in ["1", "2"] {
        let findings = export.findings(&["--threads", threads]);
        assert_eq!(
            findings,
            [
                "false declaration 5 2000023",
                "false declaration 65900 2000023"
            ]
        );
    }
}

#[test]
fn of_an_epoch_whose_beginning_is_gone_and_declared_the_binding_is_missed() {
    let mut log = two_epochs(300);
    log.epochs[1][100] = declaration(&log, "prune", 2, 0..1);
    take(&mut log, 2, 0..1, Left::Nothing);
    let findings = log.write().findings(&[]);
    assert!(
        findings.contains(&"broken checkpoint 0 -".to_owned()),
        "{findings:?}"
    );
}
