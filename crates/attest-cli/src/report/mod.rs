//! `attest report`: what happened in a period, on one page that needs nothing else.

mod args;
mod chart;
mod page;
mod period;
mod read;
mod sections;
mod text;

pub use args::Report;

use crate::db::Database;
use crate::progress::Progress;
use crate::{time, verify};
use anyhow::{Context, Result, ensure};
use askama::Template;
use page::{Line, Page, Verification};
use period::Period;
use std::io::Write;
use std::path::Path;

/// Findings that are listed; the rest is counted.
const FINDINGS: usize = 50;

/// The page as HTML, and whether the log verified. What it tells is read from the snapshot that was verified.
pub fn make(
    mut database: Database,
    period: &Period,
    options: &verify::Options,
) -> Result<(String, bool)> {
    let report = verify::verify(&mut database, options)?;
    let reading = Progress::spinner("reading the period");
    let content = read::content(&mut database, period)?;
    reading.finish();
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        database: content.database,
        period: period.to_string(),
        made: time::utc(time::now()),
        verification: verification(&report),
        facts: content.facts,
        chart: content.chart,
        sections: content.sections,
    };
    Ok((page.render().context("the page cannot be made")?, report.ok))
}

/// Writes the page so that it is there whole or not at all.
pub fn write(path: &Path, html: &str, replace: bool) -> Result<()> {
    let about = || format!("cannot write {}", path.display());
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(about)?;
    file.write_all(html.as_bytes()).with_context(about)?;
    file.as_file().sync_all().with_context(about)?;
    if replace {
        file.persist(path).with_context(about)?;
    } else {
        file.persist_noclobber(path).with_context(about)?;
    }
    Ok(())
}

/// Before the work, rather than after it.
pub fn check_free(path: &Path) -> Result<()> {
    ensure!(
        !path.exists(),
        "{} is already there; --force replaces it",
        path.display()
    );
    Ok(())
}

fn verification(report: &verify::Report) -> Verification {
    let findings: u64 = report.counts.values().sum();
    let events: u64 = report.epochs.iter().map(|epoch| epoch.events).sum();
    let (verdict, about) = if report.ok {
        (
            "Verified".to_owned(),
            format!(
                "All {} sealed events of the log are what was sealed: every event was hashed anew, and every tile, root and checkpoint computed.",
                text::grouped(events)
            ),
        )
    } else {
        (
            "Not verified".to_owned(),
            format!(
                "The log is not what was sealed: {} findings in {} events. What this page tells may be false.",
                text::grouped(findings),
                text::grouped(events)
            ),
        )
    };
    let mut lines: Vec<String> = report
        .findings
        .iter()
        .take(FINDINGS)
        .map(ToString::to_string)
        .collect();
    let more = findings - lines.len() as u64;
    if more > 0 {
        lines.push(format!(
            "… and {} more: attest verify lists them",
            text::grouped(more)
        ));
    }
    let epochs = report.epochs.iter().map(|epoch| {
        let mut lines = vec![
            line("Log", &epoch.origin),
            line("Tree", format!("{} leaves", text::grouped(epoch.tree_size))),
            line("Root", &epoch.root),
            line("Checkpoints", text::grouped(epoch.checkpoints)),
        ];
        for signed in &epoch.signed {
            let time = signed.time.map(|time| format!(" at {}", time::utc(time)));
            lines.push(line(
                "Signed by",
                format!(
                    "{}, up to {} leaves{}",
                    signed.key,
                    text::grouped(signed.tree_size),
                    time.unwrap_or_default()
                ),
            ));
        }
        lines
    });
    Verification {
        ok: report.ok,
        verdict,
        about,
        findings: lines,
        epochs: epochs.collect(),
        notes: report.notes.clone(),
    }
}

fn line(name: &'static str, value: impl Into<String>) -> Line {
    Line {
        name,
        value: value.into(),
    }
}
