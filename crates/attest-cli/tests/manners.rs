//! Exit codes, keys and secrets.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Log, attest, run, write};
use std::os::unix::fs::PermissionsExt;

#[test]
fn help_tells_exit_codes_and_examples() {
    for command in [
        "verify",
        "export",
        "archive",
        "restore-archive",
        "witness",
        "timestamp",
        "keygen",
        "report",
    ] {
        let output = run(&[command, "--help"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(text.contains("Examples:"), "{command}: {text}");
    }
    let text = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(text.contains("3  fork or rollback"), "{text}");
}

#[test]
fn wrong_usage_and_missing_input_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    for arguments in [
        &["verify"][..],
        &["verify", "/nowhere"],
        &["verify", empty],
        &["verify", empty, "--key", "no key"],
        &["verify", "--db", "not a URL"],
        &["verify", "--db", "postgresql://ann@/shop?host=/nowhere"],
        &["verify", "ftp://db.example/shop"],
        &["verify", "s3://ann:secret@shop/archive"],
        &["archive", "--db", "postgresql:///shop"],
        &[
            "archive",
            "--db",
            "postgresql:///shop",
            empty,
            "--until",
            "soon",
        ],
        &["restore-archive", "--db", "postgresql:///shop"],
        &["restore-archive", "--db", "postgresql:///shop", empty],
        &["nothing"],
        &[
            "report",
            "--db",
            "postgresql:///shop",
            "--from",
            "2026-01-01",
            "x.html",
        ],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_report_is_of_days_of_the_calendar_and_replaces_nothing_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let report = |from: &str, to: &str, force: &[&str]| {
        let url = "postgresql://ann@/shop?host=/nowhere";
        let mut arguments = vec!["report", "--db", url, "--from", from, "--to", to];
        arguments.extend(force);
        arguments.push(page.to_str().unwrap());
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(report("2026-02-29", "2026-03-01", &[]).contains("one of the calendar"));
    assert!(report("2026-03-02", "2026-03-01", &[]).contains("ends before it begins"));
    assert!(report("2026-03-01", "2026-03-01", &[]).contains("cannot connect"));
    std::fs::write(&page, "kept").unwrap();
    assert!(report("2026-03-01", "2026-03-01", &[]).contains("--force replaces it"));
    assert!(report("2026-03-01", "2026-03-01", &["--force"]).contains("cannot connect"));
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "kept");
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    for url in [
        "postgresql://ann:secret@db.example/shop",
        "postgresql://ann@db.example/shop?password=secret",
    ] {
        let output = run(&["verify", "--db", url]);
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains("the URL has a password") && !told.contains("secret"),
            "{told}"
        );
    }
}

#[test]
fn a_new_key_is_its_owners_alone_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let file = path.to_str().unwrap();
    let made = run(&[
        "keygen",
        "--name",
        "witness.example/w",
        "--kind",
        "witness",
        file,
    ]);
    assert_eq!(made.status.code(), Some(0));
    let public = String::from_utf8(made.stdout).unwrap();
    public
        .trim()
        .parse::<attest_log::note::VerifierKey>()
        .unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let before = std::fs::read(&path).unwrap();
    assert_eq!(
        run(&["keygen", "--name", "w", "--kind", "witness", file])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let state = folder.path().join("state");
    let url = "postgresql://ann@/shop?host=/nowhere";
    let output = run(&[
        "witness",
        "--db",
        url,
        "--key-file",
        file,
        "--state",
        state.to_str().unwrap(),
        "--init",
        "--once",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("is open to others")
    );
}

#[test]
fn a_password_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "pgpass", "*:*:*:*:secret\n");
    let output = attest()
        .args(["verify", "--db", "postgresql://ann@/shop?host=/nowhere"])
        .env("PGPASSFILE", &file)
        .output()
        .unwrap();
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("is open to others")
    );
}

#[test]
fn the_report_for_a_person_ends_with_the_verdict() {
    let export = Log::of(300).write();
    let folder = export.path("");
    let output = run(&["verify", folder.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with("verified: 300 events, 0 findings"),
        "{text}"
    );
    assert!(text.contains("signatures are not verified"), "{text}");
    assert!(output.stderr.is_empty(), "progress where nobody watches");
}
