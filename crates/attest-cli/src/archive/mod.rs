//! Archives: closed months of the log as Parquet files that anyone can read and verify, in a folder or an object store.
//!
//! docs/archive.md says what they hold. `write` makes one, `verify` reads it back, `restore` brings it into a database; `store`
//! is where they are, `manifest` what they say of themselves.

pub mod args;
mod columns;
mod events;
mod files;
mod leaf_set;
mod manifest;
mod partitions;
mod record;
mod restore;
mod row_group;
mod rows;
mod schema;
mod statistics;
mod store;
#[cfg(test)]
mod tests;
mod tiles;
mod tree;
mod upload;
mod verify;
mod write;

use crate::verify::{Check, Options, Report};
use anyhow::{Result, ensure};
use manifest::MANIFEST;
use store::Store;

/// Verifies an archive, or all archives of a folder; None where there is neither.
pub fn verify(
    place: &str,
    options: &Options,
    manifest_sha256: Option<&str>,
) -> Result<Option<Vec<Report>>> {
    let store = Store::open(place)?;
    if let Some(report) = verify_one(&store, options, manifest_sha256)? {
        return Ok(Some(vec![report]));
    }
    let mut reports = Vec::new();
    let folders = store.folders()?;
    let broken_off = folders
        .iter()
        .any(|name| write::FOLDERS.contains(&name.as_str()));
    for name in folders {
        if let Some(report) = verify_one(&store.inside(&name), options, None)? {
            reports.push(report);
        }
    }
    ensure!(
        manifest_sha256.is_none() || reports.is_empty(),
        "--manifest-sha256 is of one archive, and {place} holds several"
    );
    ensure!(
        !reports.is_empty() || !(broken_off || store::is_url(place)),
        "{place} is no archive and holds none: there is no {MANIFEST} (an attempt that was broken off has none)"
    );
    Ok(Some(reports).filter(|reports| !reports.is_empty()))
}

fn verify_one(
    store: &Store,
    options: &Options,
    manifest_sha256: Option<&str>,
) -> Result<Option<Report>> {
    Ok(match verify::open(store)? {
        None => None,
        Some(Err(error)) => Some(verify::broken(store, &error)),
        Some(Ok(opened)) => {
            let mut report = verify::verify(store, &opened, options)?;
            if manifest_sha256.is_some_and(|wanted| wanted != opened.sha256) {
                let detail = format!("{MANIFEST}: its SHA-256 is not the one that was asked for");
                report.add(tree::finding(Check::AlteredArchive, 0, None, detail));
                report.finish(report.seconds);
            }
            Some(report)
        }
    })
}
