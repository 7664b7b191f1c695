//! Verification of an archive: no database, nothing believed. Files against the manifest, rows against leaves, leaves against
//! tiles, tiles against the checkpoint, the checkpoint against its signatures.

use super::events::Events;
use super::leaf_set::{LeafSet, SharedLeafSet};
use super::manifest::{EventFile, MANIFEST, MOST_BYTES, Manifest, Object};
use super::rows;
use super::store::{Fetched, Store, sha256_hex};
use super::tree::{self, Tree, finding};
use crate::progress::Progress;
use crate::verify::{Check, Options, Report};
use anyhow::{Context, Result, ensure};
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use attest_log::tree::Frontier;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// A manifest that makes sense by itself.
pub struct Opened {
    pub manifest: Manifest,
    /// Its text, as it is written.
    pub text: String,
    pub sha256: String,
}

/// Reads an archive's manifest; None where there is none.
pub fn open(store: &Store) -> Result<Option<Result<Opened>>> {
    let Some(bytes) = store.get(MANIFEST, MOST_BYTES)? else {
        return Ok(None);
    };
    let sha256 = sha256_hex(&bytes);
    let manifest = Manifest::parse(&bytes);
    Ok(Some(manifest.and_then(|manifest| {
        let text = String::from_utf8(bytes)?;
        Ok(Opened {
            manifest,
            text,
            sha256,
        })
    })))
}

/// A report that says that the manifest is none.
pub fn broken(store: &Store, error: &anyhow::Error) -> Report {
    let mut report = Report {
        source: store.name().to_owned(),
        ..Report::default()
    };
    let detail = format!("{MANIFEST}: {error:#}");
    report.add(finding(Check::AlteredArchive, 0, None, detail));
    report.finish(0.0);
    report
}

/// Verifies all of an archive.
pub fn verify(store: &Store, opened: &Opened, options: &Options) -> Result<Report> {
    let said = &opened.manifest;
    let note = format!(
        "archive of {}, events {} to {}; manifest SHA-256 {}",
        said.partition, said.first_event_id, said.last_event_id, opened.sha256
    );
    let (mut report, root) = read_back(store, said, options)?;
    report.notes.insert(0, note);
    if root.is_some_and(|root| BASE64_STANDARD.encode(root) != said.root) {
        let detail = format!("{MANIFEST}: its root is not that of its leaves");
        report.add(finding(Check::AlteredArchive, 0, None, detail));
        report.finish(report.seconds);
    }
    Ok(report)
}

/// Verifies all of an archive but the root over its leaves, which it gives: it is made of tiles that were compared with the
/// checkpoint. None where they are not all there, which is a finding.
pub fn read_back(
    store: &Store,
    manifest: &Manifest,
    options: &Options,
) -> Result<(Report, Option<Hash>)> {
    let start = Instant::now();
    let mut report = Report {
        source: store.name().to_owned(),
        ..Report::default()
    };
    if options.keys.is_empty() {
        report.note("no trusted key was given: signatures are not verified");
    }
    for kept in &options.against {
        let kept: Checkpoint = kept.text().parse()?;
        ensure!(
            manifest
                .epochs
                .iter()
                .any(|tree| tree.origin == kept.origin()),
            "the archive has no tree of origin {}, of which --against has a checkpoint",
            kept.origin()
        );
    }
    if let Some(wanted) = &options.origin
        && manifest
            .epochs
            .last()
            .is_none_or(|tree| tree.origin != *wanted)
    {
        let detail = format!("its origin is not {wanted}");
        report.add(finding(Check::BrokenCheckpoint, 0, None, detail));
    }
    strangers(store, manifest, &mut report)?;
    let mut trees = Vec::new();
    for said in &manifest.epochs {
        let note = object(store, &said.checkpoint, &mut report)?;
        let note = note.map(|fetched| -> Result<Vec<u8>> {
            let mut note = Vec::new();
            fetched.file.take(MOST_BYTES).read_to_end(&mut note)?;
            Ok(note)
        });
        let checkpoint = tree::checkpoint(said, note.transpose()?, options, &mut report)?;
        let tiles = object(store, &said.tiles, &mut report)?;
        trees.push(Tree::open(
            said,
            manifest.runs(said.epoch),
            tiles.map(|tiles| (tiles.file, tiles.bytes)),
            checkpoint.as_ref(),
            options.threads,
            &mut report,
        )?);
    }
    let progress = Progress::new("verifying", manifest.count);
    let (seen, found) = (SharedLeafSet::default(), Mutex::new(report));
    let walk = Walk {
        store,
        manifest,
        trees: &trees,
        seen: &seen,
        report: &found,
        root: OnceLock::new(),
        next: AtomicUsize::new(0),
        progress: &progress,
    };
    let events = walk.run(options.threads)?;
    let root = walk.root.into_inner().flatten();
    let mut report = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    events.finish(&mut report)?;
    progress.finish();
    missing(manifest, &seen.into_set(), &mut report);
    report.finish(start.elapsed().as_secs_f64());
    Ok((report, root))
}

/// Fetches an object and compares it with what the manifest says of it.
fn object(store: &Store, said: &Object, report: &mut Report) -> Result<Option<Fetched>> {
    let fetched = store.fetch(&said.path)?;
    let why = match &fetched {
        None => "it is missing".to_owned(),
        Some(fetched) if fetched.bytes != said.bytes => format!(
            "it has {} bytes, the manifest says {}",
            fetched.bytes, said.bytes
        ),
        Some(fetched) if fetched.sha256 != said.sha256 => {
            "its SHA-256 is not the one that the manifest says".to_owned()
        }
        Some(_) => return Ok(fetched),
    };
    let detail = format!("{}: {why}", said.path);
    report.add(finding(Check::AlteredArchive, 0, None, detail));
    Ok(fetched)
}

/// Objects that the manifest does not name: a program that reads all files of a folder would take them for the archive's.
fn strangers(store: &Store, manifest: &Manifest, report: &mut Report) -> Result<()> {
    let known = manifest.paths();
    for name in store.list()? {
        if !known.contains(&name.as_str()) {
            let detail = format!("{name}: the manifest does not name it");
            report.add(finding(Check::AlteredArchive, 0, None, detail));
        }
    }
    Ok(())
}

/// The root over the archive's leaves; None where they are not all there.
fn root(trees: &[Tree<'_>]) -> Result<Option<Hash>> {
    let mut root = Frontier::new();
    for tree in trees {
        if !tree.add_to(&mut root)? {
            return Ok(None);
        }
    }
    Ok(Some(root.root()))
}

/// Leaves that the manifest names and no event is of.
fn missing(manifest: &Manifest, seen: &LeafSet, report: &mut Report) {
    let mut there = seen.runs().into_iter().peekable();
    for (epoch, first, last) in manifest.leaves.iter().copied() {
        let mut tell = |from: u64, to: u64| {
            let detail = match to - from {
                0 => "its event is not in the files".to_owned(),
                more => format!(
                    "its event, and those of the {more} leaves behind it, are not in the files"
                ),
            };
            report.add(finding(Check::MissingEvent, epoch, Some(from), detail));
        };
        let mut next = first;
        while let Some(run) = there.next_if(|run| (run.0, run.2) <= (epoch, last)) {
            if run.1 > next {
                tell(next, run.1 - 1);
            }
            next = run.2 + 1;
        }
        if next <= last {
            tell(next, last);
        }
    }
}

/// The way through the leaves and the files of events, on several threads.
struct Walk<'a, 'r> {
    store: &'a Store,
    manifest: &'a Manifest,
    trees: &'a [Tree<'a>],
    seen: &'a SharedLeafSet,
    report: &'r Mutex<Report>,
    /// Over all leaves.
    root: OnceLock<Option<Hash>>,
    /// What the next thread does: the root, then a file each.
    next: AtomicUsize,
    progress: &'a Progress,
}

impl<'a> Walk<'a, '_> {
    fn run(&self, threads: usize) -> Result<Events<'a>> {
        std::thread::scope(|scope| {
            let work = || -> Result<Events<'a>> {
                let mut events = Events::new(self.manifest, self.trees, self.seen);
                let next = || self.next.fetch_add(1, Ordering::Relaxed);
                loop {
                    let Some(file) = next().checked_sub(1) else {
                        let _ = self.root.set(root(self.trees)?);
                        continue;
                    };
                    let Some(file) = self.manifest.events.get(file) else {
                        return Ok(events);
                    };
                    self.file(file, &mut events)?;
                }
            };
            let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            let mut sum: Option<Events<'a>> = None;
            for thread in threads {
                let events = thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread has ended")))?;
                match &mut sum {
                    Some(sum) => sum.merge(events),
                    none => *none = Some(events),
                }
            }
            sum.context("no thread")
        })
    }

    fn file(&self, said: &EventFile, events: &mut Events<'_>) -> Result<()> {
        let mut found = Report::default();
        if let Some(fetched) = object(self.store, &said.object, &mut found)? {
            let mut rows = 0_u64;
            let read = rows::read(fetched.file, &mut |row| {
                rows += 1;
                if rows.is_multiple_of(4096) {
                    self.progress.advance(4096);
                }
                events.visit(row)
            });
            let path = &said.object.path;
            let detail = match read {
                Err(error) => Some(format!("{path}: it cannot be read: {error:#}")),
                Ok(()) if rows != said.rows => Some(format!(
                    "{path}: it has {rows} rows, the manifest says {}",
                    said.rows
                )),
                Ok(()) => None,
            };
            if let Some(detail) = detail {
                found.add(finding(Check::AlteredArchive, 0, None, detail));
            }
        }
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        for finding in found.findings {
            report.add(finding);
        }
        Ok(())
    }
}
