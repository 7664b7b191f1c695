//! What is done to archives, and to the program that writes them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use live_tests::{Sql, shared, wait_until};

use crate::archive::{manifest, months};
use crate::attest_cli::{Auditor, findings, tamper};

#[test]
fn a_tampered_log_is_not_archived() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let month = months(db, 300)?;
        let dest = auditor.path("archive");
        let id = db
            .connect()?
            .one(&format!("SELECT min(event_id) + 100 FROM audit.{month}"))?;
        tamper(
            db,
            &format!("UPDATE audit.audit_events SET new_values = '{{}}' WHERE event_id = {id}"),
        )?;
        let output = auditor.attest(1, &["archive", "--db", "DB", &dest, "--partition", &month])?;
        let said = String::from_utf8(output.stdout)?;
        ensure!(
            said.contains("altered event") && said.contains(&format!("event {id}")),
            "{said}"
        );
        ensure!(
            !Path::new(&format!("{dest}/{month}/manifest.json")).exists(),
            "there is a manifest"
        );
        let recorded = db
            .connect()?
            .number("SELECT count(*) FROM audit.archives")?;
        ensure!(recorded == 0, "it was recorded");
        auditor
            .attest(
                2,
                &["restore-archive", &format!("{dest}/{month}"), "--db", "DB"],
            )
            .map(drop)
    });
}

/// Changes an archive.
type Harm = fn(&str) -> Result<()>;

#[test]
fn what_is_done_to_an_archive_is_found() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let month = months(db, 3000)?;
        let dest = auditor.path("archive");
        auditor.attest(0, &["archive", "--db", "DB", &dest, "--partition", &month])?;
        let whole = format!("{dest}/{month}");
        let cases: [(&str, &str, Harm); 8] = [
            ("altered archive", "events/000.parquet", |archive| {
                flip(archive, "events/000.parquet")
            }),
            ("altered archive", "tiles/1", |archive| {
                flip(archive, "tiles/1")
            }),
            ("altered archive", "checkpoints/1", |archive| {
                flip(archive, "checkpoints/1")
            }),
            ("altered archive", "manifest.json", |archive| {
                let path = format!("{archive}/manifest.json");
                let text = std::fs::read_to_string(&path)?;
                Ok(std::fs::write(
                    &path,
                    text.replace("\"count\": ", "\"count\": 1"),
                )?)
            }),
            ("altered archive", "events/000.parquet", |archive| {
                let file = std::fs::OpenOptions::new()
                    .write(true)
                    .open(format!("{archive}/events/000.parquet"))?;
                Ok(file.set_len(file.metadata()?.len() / 2)?)
            }),
            ("missing event", "events/000.parquet", |archive| {
                Ok(std::fs::remove_file(format!(
                    "{archive}/events/000.parquet"
                ))?)
            }),
            ("altered archive", "tiles/1", |archive| {
                Ok(std::fs::remove_file(format!("{archive}/tiles/1"))?)
            }),
            ("altered archive", "events/001.parquet", |archive| {
                std::fs::copy(
                    format!("{archive}/events/000.parquet"),
                    format!("{archive}/events/001.parquet"),
                )?;
                Ok(())
            }),
        ];
        for (number, (check, named, harm)) in cases.into_iter().enumerate() {
            let archive = auditor.path(&format!("harmed{number}"));
            let copy = Command::new("cp").args(["-r", &whole, &archive]).status()?;
            ensure!(copy.success(), "cannot copy");
            harm(&archive)?;
            let output = auditor.attest(1, &["verify", &archive, "--json"])?;
            let report = String::from_utf8_lossy(&output.stdout);
            ensure!(
                findings(&output)?
                    .iter()
                    .any(|line| line.starts_with(check))
                    && report.contains(named),
                "{check}, {named}: {report}"
            );
            let output = auditor.attest(1, &["restore-archive", &archive, "--db", "DB"])?;
            ensure!(
                String::from_utf8_lossy(&output.stdout).contains("NOT VERIFIED"),
                "{output:?}"
            );
        }
        let restored = db
            .connect()?
            .number("SELECT count(*) FROM audit.archived_events")?;
        ensure!(
            restored == 0,
            "{restored} events of a harmed archive were restored"
        );
        auditor.attest(0, &["verify", &whole]).map(drop)
    });
}

/// Changes a byte in the middle of a file.
fn flip(archive: &str, name: &str) -> Result<()> {
    let path = format!("{archive}/{name}");
    let mut bytes = std::fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(std::fs::write(path, bytes)?)
}

/// Memory of the program at most, whatever the month: a row group, its pages, a segment of leaves.
const BOUND_KB: u64 = 256 * 1024;

#[test]
fn an_archive_that_was_killed_is_none_and_the_next_one_is_whole() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let month = months(db, 300_000)?;
        let dest = auditor.path("archive");
        let archive = format!("{dest}/{month}");
        let arguments = ["archive", "--db", "DB", &dest, "--partition", &month];
        let mut killed = auditor.command(&arguments)?.stdout(Stdio::null()).spawn()?;
        // In the middle of its first file.
        wait_until("the first file to grow", || {
            let grown = std::fs::read_dir(format!("{archive}/events")).is_ok_and(|mut files| {
                files.any(|file| {
                    file.and_then(|file| file.metadata())
                        .is_ok_and(|file| file.len() > 0)
                })
            });
            Ok(grown.then_some(()))
        })?;
        killed.kill()?;
        ensure!(!killed.wait()?.success(), "it was not killed");
        let output = auditor.attest(2, &["verify", &archive])?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(said.contains("no archive"), "{said}");
        auditor.attest(2, &["restore-archive", &archive, "--db", "DB"])?;

        let peak = auditor.peak(&arguments)?;
        ensure!(peak < BOUND_KB, "{peak} kB, allowed are {BOUND_KB} kB");
        auditor.attest(0, &["verify", &archive])?;
        let left = Command::new("find")
            .args([&archive, "-name", "*#*"])
            .output()?;
        ensure!(
            left.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&left.stdout)
        );
        let held = db
            .connect()?
            .number(&format!("SELECT count(*) FROM audit.{month}"))?;
        ensure!(
            manifest(&archive)?["count"] == held,
            "not all of {held} events"
        );
        Ok(())
    });
}
