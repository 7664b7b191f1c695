//! `attest export`: grows, and goes on where it was broken off.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use live_tests::{Sql, shared, wait_until};
use serde_json::Value as Json;

use super::{Auditor, sealed};

#[test]
fn an_export_verifies_and_grows() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let export = auditor.path("export");
        let mut last = 0;
        for rows in [1, 300, 700, 50_000, 5] {
            sealed(db, rows)?;
            auditor.attest(0, &["export", "--db", "DB", &export])?;
            let old = auditor.path(&format!("old{last}"));
            let mut arguments = vec!["verify", &export, "--json"];
            if last > 0 {
                arguments.extend(["--against", &old]);
            }
            let output = auditor.attest(0, &arguments)?;
            let report: Json = serde_json::from_slice(&output.stdout)?;
            let events = db
                .connect()?
                .number("SELECT count(*) FROM audit.audit_events")?;
            ensure!(
                report["epochs"][0]["events"] == events,
                "{events} events, but {report:#}"
            );
            auditor.attest(0, &["verify", "--db", "DB"])?;
            last = rows;
            std::fs::copy(
                format!("{export}/1/checkpoint"),
                auditor.path(&format!("old{last}")),
            )?;
        }
        // An export that grew is, file by file, one that was made at once.
        let fresh = auditor.path("fresh");
        auditor.attest(0, &["export", "--db", "DB", &fresh])?;
        ensure_same(&export, &fresh)?;
        Ok(())
    });
}

#[test]
fn an_export_that_was_broken_off_goes_on() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let (export, fresh) = (auditor.path("export"), auditor.path("fresh"));
        sealed(db, 400)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        let checkpoint = std::fs::read(format!("{export}/1/checkpoint"))?;
        sealed(db, 120_000)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        // As if it had been killed before its last act, in the middle of a line.
        std::fs::write(format!("{export}/1/checkpoint"), checkpoint)?;
        std::fs::write(format!("{export}/1/unfinished"), "")?;
        let events = format!("{export}/1/events/002.jsonl");
        let file = std::fs::OpenOptions::new().write(true).open(&events)?;
        file.set_len(file.metadata()?.len() - 1000)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        auditor.attest(0, &["export", "--db", "DB", &fresh])?;
        ensure_same(&export, &fresh)?;
        auditor.attest(0, &["verify", &export]).map(drop)
    });
}

/// Killed in the middle of its work, at a moment that nobody chose.
#[test]
fn an_export_that_was_killed_goes_on() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let (export, fresh) = (auditor.path("export"), auditor.path("fresh"));
        sealed(db, 150_000)?;
        let mut killed = auditor
            .command(&["export", "--db", "DB", &export])?
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let begun = Path::new(&export).join("1/events/000.jsonl");
        wait_until("the export to begin", || Ok(begun.exists().then_some(())))?;
        // SIGKILL
        killed.kill()?;
        killed.wait()?;
        ensure!(
            Path::new(&export).join("1/unfinished").exists(),
            "it was done before it was killed"
        );
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        auditor.attest(0, &["export", "--db", "DB", &fresh])?;
        ensure_same(&export, &fresh)?;
        auditor.attest(0, &["verify", &export]).map(drop)
    });
}

#[test]
fn a_person_at_a_terminal_sees_how_far_an_export_is() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        sealed(db, 300)?;
        let attest = auditor.command(&["export", "--db", "DB", &auditor.path("export")])?;
        let mut line = attest.get_program().to_string_lossy().into_owned();
        for argument in attest.get_args() {
            line = format!("{line} '{}'", argument.to_string_lossy());
        }
        // On a terminal of its own.
        let mut terminal = Command::new("script");
        terminal
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .envs(
                attest
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .env("TERM", "xterm")
            .stdin(Stdio::null());
        let output = terminal.output()?;
        let shown = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success()
                && shown.contains("exporting [")
                && shown.contains("/401 events"),
            "{output:?}"
        );
        Ok(())
    });
}

/// File by file.
fn ensure_same(export: &str, fresh: &str) -> Result<()> {
    let same = Command::new("diff").args(["-r", export, fresh]).output()?;
    let said = String::from_utf8_lossy(&same.stdout);
    ensure!(same.status.success(), "{said}");
    Ok(())
}
