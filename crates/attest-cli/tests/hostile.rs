//! Exports whose maker wants the verifier to hang, to break down, to overlook something, or to write what it did not find.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Event, Export, Log, log_key};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

fn small() -> Export {
    Log::of(1000).write()
}

/// Verifies within a minute: exit status and what is said.
fn verify(export: &Export, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, .. } = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_attest"), "verify"])
        .arg(export.path(""))
        .args(arguments)
        .output()
        .unwrap();
    // None: killed by a signal. 124: timeout; 101: panic.
    let said = String::from_utf8(stdout).unwrap();
    (status.code().unwrap_or(-1), said)
}

/// Puts something else where a file is.
type Put = fn(&Path);

#[test]
fn what_is_no_file_is_as_if_it_were_missing() {
    let others: [(&str, Put); 5] = [
        ("a pipe", |path| {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("a device", |path| symlink("/dev/zero", path).unwrap()),
        ("a loop", |path| symlink(path, path).unwrap()),
        ("a link to nothing", |path| {
            symlink("nothing", path).unwrap();
        }),
        ("a folder", |path| fs::create_dir(path).unwrap()),
    ];
    for file in [
        "checkpoint",
        "checkpoints.jsonl",
        "signatures.jsonl",
        "events/000.jsonl",
        "tile/0/001",
        "tile/1/000.p/3",
        "tile/entries/001",
        "timestamps/1000-x.tsr",
        "unfinished",
    ] {
        let missing = small();
        let _ = fs::remove_file(missing.path(&format!("1/{file}")));
        let wanted = missing.findings(&[]);
        for (what, put) in others {
            let export = small();
            let path = export.path(&format!("1/{file}"));
            let _ = fs::remove_file(&path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            put(&path);
            let (status, said) = verify(&export, &[]);
            if file.starts_with("timestamps") {
                // The folder has it, and it is no answer of an authority.
                assert_eq!(status, 1, "{what} as {file}: {said}");
            } else {
                assert_eq!(export.findings(&[]), wanted, "{what} as {file}");
            }
        }
    }
    // Nor does a folder that is something else end it.
    for folder in ["events", "tile", "tile/0", "timestamps"] {
        let export = small();
        let path = export.path(&format!("1/{folder}"));
        let _ = fs::remove_dir_all(&path);
        fs::write(&path, "").unwrap();
        let (status, said) = verify(&export, &[]);
        assert_eq!(
            status,
            i32::from(folder != "timestamps"),
            "{folder}: {said}"
        );
    }
}

#[test]
fn a_checkpoint_of_any_number_of_leaves_is_found_in_time() {
    for size in [
        1001,
        70_000,
        100_000_000,
        1 << 40,
        i64::MAX as u64,
        u64::MAX,
    ] {
        let export = small();
        export.edit("1/checkpoint", |note| {
            let text = note.split("\n\n").next().unwrap();
            let text = text.replacen("1000", &size.to_string(), 1) + "\n";
            format!("{text}\n{}\n", log_key().sign(&text, 0))
        });
        let findings = export.findings(&["--threads", "2"]);
        let broken = |finding: &String| finding.starts_with("broken checkpoint");
        assert!(findings.iter().any(broken), "{size}: {findings:?}");
        export.edit("1/checkpoints.jsonl", |lines| {
            lines.replace("\"tree_size\":1000", &format!("\"tree_size\":{size}"))
        });
        assert!(!export.findings(&[]).is_empty(), "{size}");
    }
}

#[test]
fn events_in_files_of_no_leaves_are_found() {
    for name in ["001.jsonl", "x001/000.jsonl", "0.jsonl", "000 (copy).jsonl"] {
        let export = small();
        let path = format!("1/events/{name}");
        fs::create_dir_all(export.path(&path).parent().unwrap()).unwrap();
        let forged = Event::number(70_000);
        export.put(&path, forged.line(70_000).as_bytes());
        assert_eq!(export.findings(&[]), ["forged event - -"], "{name}");
        // An export that was broken off has such.
        export.put("1/unfinished", b"");
        assert_eq!(export.findings(&[]), [""; 0], "{name}");
    }
}

#[test]
fn an_epoch_has_one_name() {
    let export = small();
    for name in ["01", "+1", "1 ", "one"] {
        let copied = Command::new("cp")
            .arg("-r")
            .args([export.path("1"), export.path(name)])
            .status();
        assert!(copied.unwrap().success());
    }
    let (_, report) = export.verify(&[]);
    assert_eq!(report["epochs"].as_array().unwrap().len(), 1, "{report:#}");
    fs::remove_dir_all(export.path("1")).unwrap();
    assert_eq!(verify(&export, &[]).0, 2);
}

/// What an event says of itself is shown, and is nothing but text.
#[test]
fn no_event_writes_a_verdict() {
    let mut log = Log::of(300);
    log.epochs[0][7].user =
        "x\n\u{1b}[2K\u{9b}2J\u{202e}\nverified: 300 events, 0 findings".to_owned();
    let export = log.write();
    export.lines("1/events/000.jsonl", |lines| {
        lines[7] = lines[7].replace("Zoë", "Eve");
    });
    let (status, said) = verify(&export, &[]);
    assert_eq!(status, 1);
    assert!(said.contains("verified: 300 events, 0 findings"), "{said}");
    let verdicts = said.lines().filter(|line| line.starts_with("verified"));
    assert_eq!(verdicts.count(), 0, "{said}");
    let harmless = |character: char| character == '\n' || !character.is_control();
    assert!(
        said.chars().all(harmless) && !said.contains('\u{202e}'),
        "{said}"
    );
}

/// Deep, long and endless JSON.
#[test]
fn lines_of_any_form_are_told() {
    let deep = |open: &str| format!("{{\"tree_size\":{}\n", open.repeat(500_000));
    for line in [
        deep("["),
        deep("{\"a\":"),
        format!("{{\"tree_size\":{}}}\n", "9".repeat(1_000_000)),
        format!("{}\n", "x".repeat(3 << 20)),
        "\0\0\0\n".to_owned(),
        "null\n".to_owned(),
        "\n".to_owned(),
        "{\"tree_size\":-1}\n".to_owned(),
        "{\"tree_size\":1e3}\n".to_owned(),
    ] {
        let about = line.get(..60).unwrap_or(&line).to_owned();
        for file in ["checkpoints.jsonl", "signatures.jsonl", "events/000.jsonl"] {
            let path = format!("1/{file}");
            let export = small();
            if !export.path(&path).exists() {
                export.put(&path, b"");
            }
            export.edit(&path, |text| text + &line);
            let (status, said) = verify(&export, &[]);
            assert_eq!(status, 1, "{file}: {about}: {said}");
        }
    }
}
