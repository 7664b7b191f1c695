//! The tamper drill on exports: every trick is found, and named as what it is.

#![allow(clippy::unwrap_used)]

mod common;

use attest_log::checkpoint::Checkpoint;
use attest_log::note::Note;
use common::{Event, Export, Log, log_key};
use std::fs;

/// 1,000 leaves: three full tiles, and one of 232.
fn small() -> Export {
    Log::of(1000).write()
}

#[test]
fn a_good_log_verifies() {
    for leaves in [1, 2, 255, 256, 257, 1000, 65_535, 65_536, 65_537, 140_000] {
        let export = Log::of(leaves).write();
        let (status, report) = export.verify(&["--threads", "2"]);
        assert_eq!(status, 0, "{leaves} leaves: {report:#}");
        assert_eq!(report["epochs"][0]["events"], leaves);
        assert_eq!(report["epochs"][0]["tree_size"], leaves);
        assert_eq!(report["epochs"][0]["last_good_checkpoint"], leaves);
        assert_eq!(report["epochs"][0]["signed"][1]["time"], 1_767_225_660);
        assert_eq!(report["notes"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn an_altered_event_is_named_with_the_part_that_was_altered() {
    for (what, to, part) in [
        ("Zoë", "Eve", "payload"),
        (
            "\"session_user_name\":\"app\"",
            "\"session_user_name\":\"eve\"",
            "meta",
        ),
        ("\"occurred_at\":17", "\"occurred_at\":18", "time"),
        ("\"xact_id\":7", "\"xact_id\":8", "transaction"),
    ] {
        let export = small();
        export.lines("1/events/000.jsonl", |lines| {
            lines[300] = lines[300].replace(what, to);
        });
        let (_, report) = export.verify(&[]);
        assert_eq!(export.findings(&[]), ["altered event 300 601"], "{what}");
        let detail = report["findings"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{detail}");
        assert_eq!(report["epochs"][0]["first_bad_leaf"], 300);
        assert_eq!(report["epochs"][0]["last_good_checkpoint"], 300);
    }
}

#[test]
fn an_altered_event_of_the_last_tile_is_told_from_an_altered_tile() {
    let export = small();
    export.lines("1/events/000.jsonl", |lines| {
        lines[999] = lines[999].replace("Zoë", "Eve");
    });
    assert_eq!(export.findings(&[]), ["altered event 999 1999"]);
    let export = small();
    export.flip("1/tile/0/003.p/232", 32 * 231);
    assert_eq!(export.findings(&[]), ["altered tile 999 -"]);
}

#[test]
fn event_and_entry_altered_together_are_an_altered_event() {
    let export = small();
    let forged = Event {
        value: "{}".to_owned(),
        ..Event::number(300)
    };
    export.lines("1/events/000.jsonl", |lines| lines[300] = forged.line(300));
    let mut bundle = fs::read(export.path("1/tile/entries/001")).unwrap();
    bundle[44 * 108 + 2..45 * 108].copy_from_slice(forged.leaf().as_bytes());
    export.put("1/tile/entries/001", &bundle);
    assert_eq!(export.findings(&[]), ["altered event 300 601"]);
    // And with the tile: the tile above still knows better.
    let mut tile = fs::read(export.path("1/tile/0/001")).unwrap();
    tile[44 * 32..45 * 32].copy_from_slice(&forged.leaf().hash());
    export.put("1/tile/0/001", &tile);
    assert_eq!(
        export.findings(&[]),
        ["altered tile 256 -", "broken checkpoint 300 -"]
    );
}

#[test]
fn missing_swapped_doubled_and_inserted_events_are_named() {
    let export = small();
    export.lines("1/events/000.jsonl", |lines| drop(lines.remove(300)));
    assert_eq!(export.findings(&[]), ["missing event 300 601"]);

    let export = small();
    export.lines("1/events/000.jsonl", |lines| {
        let (one, other) = (Event::number(300), Event::number(301));
        lines[300] = other.line(300);
        lines[301] = one.line(301);
    });
    assert_eq!(
        export.findings(&[]),
        ["altered event 300 603", "altered event 301 601"]
    );

    let export = small();
    export.lines("1/events/000.jsonl", |lines| lines.swap(300, 301));
    assert_eq!(
        export.findings(&[]),
        ["missing event 300 601", "forged event 300 601"]
    );

    let export = small();
    export.lines("1/events/000.jsonl", |lines| {
        lines.insert(300, lines[300].clone());
    });
    assert_eq!(export.findings(&[]), ["forged event 300 601"]);

    let export = small();
    export.lines("1/events/000.jsonl", |lines| {
        lines.push(Event::number(1000).line(1000));
    });
    assert_eq!(export.findings(&[]), ["forged event - 2001"]);
}

#[test]
fn what_is_no_event_is_malformed() {
    let export = small();
    export.lines("1/events/000.jsonl", |lines| {
        lines[300] = "{\"leaf_index\":300}\n".to_owned();
    });
    assert_eq!(
        export.findings(&[]),
        ["malformed event - -", "missing event 300 601"]
    );
    let export = small();
    export.lines("1/events/000.jsonl", |lines| {
        let salt = lines[300].find("\"salt\"").unwrap();
        lines[300].replace_range(salt..salt + 42, "");
    });
    assert_eq!(
        export.findings(&[]),
        ["missing event 300 601", "malformed event 300 601"]
    );
}

#[test]
fn altered_and_missing_tiles_are_named_and_their_events_are_good() {
    let export = small();
    export.flip("1/tile/0/001", 44 * 32);
    assert_eq!(export.findings(&[]), ["altered tile 300 -"]);

    let export = small();
    fs::remove_file(export.path("1/tile/0/001")).unwrap();
    assert_eq!(export.findings(&[]), ["altered tile 256 -"]);

    let export = small();
    export.flip("1/tile/1/000.p/3", 40);
    assert_eq!(export.findings(&[]), ["altered tile 256 -"]);

    let export = small();
    export.flip("1/tile/entries/001", 44 * 108 + 80);
    assert_eq!(export.findings(&[]), ["altered tile 300 601"]);

    let export = small();
    let mut bundle = fs::read(export.path("1/tile/entries/001")).unwrap();
    bundle.push(0);
    export.put("1/tile/entries/001", &bundle);
    assert_eq!(export.findings(&[]), ["altered tile 256 -"]);

    let export = small();
    export.put("1/tile/entries/001", b"short");
    assert!(
        export
            .findings(&[])
            .iter()
            .all(|finding| finding.starts_with("altered tile"))
    );

    let export = Log::of(140_000).write();
    export.flip("1/tile/2/000.p/2", 33);
    assert_eq!(export.findings(&[]), ["altered tile 65536 -"]);
}

#[test]
fn checkpoints_that_were_changed_removed_or_redated_are_broken() {
    let path = "1/checkpoints.jsonl";
    for change in [
        |lines: &mut Vec<String>| drop(lines.remove(3)),
        |lines: &mut Vec<String>| lines.swap(3, 4),
        |lines: &mut Vec<String>| {
            lines[3] = lines[3].replace("\"sealed_at\":17", "\"sealed_at\":16");
        },
        |lines: &mut Vec<String>| lines[3] = lines[3].replace("\"root\":\"", "\"root\":\"A"),
        |lines: &mut Vec<String>| lines.truncate(9),
    ] {
        let export = small();
        export.lines(path, change);
        let findings = export.findings(&[]);
        assert!(
            !findings.is_empty() && findings.iter().all(|f| f.starts_with("broken checkpoint")),
            "{findings:?}"
        );
    }
}

#[test]
fn a_deleted_end_is_found_while_the_checkpoint_stands() {
    let export = small();
    export.lines("1/events/000.jsonl", |lines| lines.truncate(998));
    assert_eq!(
        export.findings(&[]),
        ["missing event 998 1997", "missing event 999 1999"]
    );
}

#[test]
fn signatures_must_hold_and_be_trusted() {
    let export = small();
    export.edit("1/checkpoint", |note| {
        let mut other = Note::parse(&note).unwrap();
        let forged = log_key().sign("another text\n", 0);
        other = Note::new(other.text().to_owned()).unwrap();
        other.add(forged);
        other.to_string()
    });
    let findings = export.findings(&[]);
    assert_eq!(findings, ["bad signature - -", "bad signature 999 -"]);

    // Signatures of older checkpoints, beside the newest one's.
    let export = small();
    let head: Checkpoint = Note::parse(&export.text("1/checkpoint"))
        .unwrap()
        .text()
        .parse()
        .unwrap();
    let good = log_key().sign(&head.to_string(), 0);
    export.put(
        "1/signatures.jsonl",
        format!(
            "{}\n",
            serde_json::json!({"tree_size": 1000, "line": good.to_string()})
        )
        .as_bytes(),
    );
    assert_eq!(export.findings(&[]), [""; 0]);
    export.put(
        "1/signatures.jsonl",
        format!(
            "{}\n",
            serde_json::json!({"tree_size": 900, "line": good.to_string()})
        )
        .as_bytes(),
    );
    assert_eq!(export.findings(&[]), ["bad signature 899 -"]);
    export.put(
        "1/signatures.jsonl",
        format!(
            "{}\n",
            serde_json::json!({"tree_size": 901, "line": good.to_string()})
        )
        .as_bytes(),
    );
    assert_eq!(export.findings(&[]), ["bad signature - -"]);
}

/// The attacker rewrote everything consistently, and signed it with the stolen key.
#[test]
fn a_resigned_fork_verifies_but_not_against_an_older_checkpoint() {
    let honest = Log::of(1000);
    let kept = honest.write();
    let mut log = Log::of(1500);
    assert_eq!(
        log.write()
            .findings(&["--against", kept.path("1/checkpoint").to_str().unwrap()]),
        [""; 0]
    );
    log.epochs[0][700].value = "{}".to_owned();
    let fork = log.write();
    assert_eq!(fork.findings(&[]), [""; 0]);
    let findings = fork.findings(&["--against", kept.path("1/checkpoint").to_str().unwrap()]);
    assert_eq!(findings, ["two trees 1000 -"]);
}

#[test]
fn a_rolled_back_log_and_another_log_are_found_against_an_older_checkpoint() {
    let kept = small();
    let kept = kept.path("1/checkpoint");
    let back = Log::of(800).write();
    assert_eq!(
        back.findings(&["--against", kept.to_str().unwrap()]),
        ["two trees 800 -"]
    );
    let note = fs::read_to_string(&kept)
        .unwrap()
        .replace("7387654321098765432", "1");
    let other = kept.with_file_name("other");
    fs::write(&other, note).unwrap();
    let findings = Log::of(1500)
        .write()
        .findings(&["--against", other.to_str().unwrap()]);
    assert!(
        findings.contains(&"two trees - -".to_owned()),
        "{findings:?}"
    );
}

#[test]
fn epochs_are_bound_to_each_other() {
    let mut log = Log::of(300);
    log.epochs.push((300..500).map(Event::number).collect());
    let export = log.write();
    assert_eq!(export.findings(&[]), [""; 0]);
    // The first epoch is exchanged for another good one.
    let mut other = Log::of(300);
    other.epochs[0][5].value = "{}".to_owned();
    let other = other.write();
    for file in [
        "checkpoint",
        "checkpoints.jsonl",
        "events/000.jsonl",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ] {
        let path = format!("1/{file}");
        export.put(&path, &fs::read(other.path(&path)).unwrap());
    }
    let findings = export.findings(&[]);
    assert!(
        findings.contains(&"broken checkpoint 0 601".to_owned()),
        "{findings:?}"
    );
    fs::remove_dir_all(export.path("1")).unwrap();
    assert!(!export.findings(&[]).is_empty());
}
