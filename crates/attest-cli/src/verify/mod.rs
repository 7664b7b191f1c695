//! Verification: everything that a log claims, computed anew.
//!
//! The leaves are cut into segments, which threads verify side by side; their results are put together in order, so that memory
//! does not grow with the log.

mod checkpoints;
mod declared;
mod describe;
mod epoch;
mod report;
mod segment;
mod signatures;
mod tiles;
mod timestamps;

pub use attest_log::finding::Check;
pub use describe::describe;
pub use report::{EpochReport, Finding, Report, Signed};
pub use segment::bare;

use crate::progress::Progress;
use crate::source::{Epoch, Source};
use anyhow::Result;
use attest_log::checkpoint::Checkpoint;
use attest_log::epoch::EpochEnd;
use attest_log::note::{Note, VerifierKey};
use declared::Declarations;
use rustls::pki_types::CertificateDer;
use std::time::Instant;

/// How to verify.
pub struct Options {
    /// Keys whose signatures count.
    pub keys: Vec<VerifierKey>,
    /// Certificates of timestamping authorities, to which timestamps must lead; none: their signatures are not verified.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Checkpoints that were kept from earlier.
    pub against: Vec<Note>,
    /// The origin that the newest epoch must have.
    pub origin: Option<String>,
    pub threads: usize,
}

/// Verifies all of a log.
pub fn verify<S: Source>(source: &mut S, options: &Options) -> Result<Report> {
    let start = Instant::now();
    let mut report = Report {
        source: source.name(),
        ..Report::default()
    };
    let epochs = source.epochs()?;
    let mut kept = Kept::read(options, &mut report);
    if options.keys.is_empty() {
        report.note("no trusted key was given: signatures are not verified");
    }
    if epochs.is_empty() {
        report.note("nothing is sealed yet");
    }
    let epochs = read(source, epochs)?;
    let sizes: Vec<_> = epochs
        .iter()
        .filter_map(|(number, read)| Some((*number, read.as_ref().ok()?.1.size())))
        .collect();
    let progress = Progress::new("verifying", sizes.iter().map(|(_, size)| size).sum());
    let declarations = Declarations::of(source, sizes.clone(), options.threads)?;
    let listed = source.lists_declarations();
    if listed {
        report.append(&declarations.get()?.report);
    }
    let mut readers = Vec::new();
    for _ in 0..=options.threads {
        readers.push(source.reader()?);
    }
    let mut link: Option<EpochEnd> = None;
    let mut unsigned = 0_u64;
    let last = epochs.len().saturating_sub(1);
    for (position, (number, read)) in epochs.into_iter().enumerate() {
        let (note, head) = match read {
            Ok(read) => read,
            Err(why) => {
                report.add(broken(number, why));
                link = None;
                continue;
            }
        };
        if position as u64 + 1 != u64::from(number) && position == 0 {
            report.add(broken(
                number,
                format!("the log begins with epoch {number}: earlier ones are missing"),
            ));
        }
        if position == last
            && options
                .origin
                .as_ref()
                .is_some_and(|wanted| wanted != head.origin())
        {
            report.add(broken(
                number,
                format!(
                    "its origin is {}, not the one that was asked for",
                    head.origin()
                ),
            ));
        }
        let walk = epoch::Walk {
            number,
            note: &note,
            head: &head,
            keys: &options.keys,
            against: kept.of(head.origin()),
            declarations: &declarations,
            link: link.take(),
            must_be_signed: position == last,
            progress: &progress,
        };
        link = walk.run(source, &mut readers, &mut report)?;
        let stamps = timestamps::check(source, number, &head, &options.authorities, &mut report)?;
        unsigned += stamps.unsigned;
        if let Some(epoch) = report.epochs.last_mut() {
            epoch.timestamps = stamps.fit;
            epoch.stamped = stamps.newest;
        }
    }
    // Where anything is wrong, false declarations are told whether or not what they name is gone.
    if !listed && (declarations.were_met() || !report.counts.is_empty()) {
        report.append(&declarations.get()?.report);
    }
    kept.rest(&mut report);
    if unsigned > 0 {
        report.note(format!(
            "no certificate of a timestamping authority was given: the signatures of {unsigned} timestamps are not verified"
        ));
    }
    drop(readers);
    strangers(source, &sizes, &mut report)?;
    for note in source.notes() {
        report.note(note);
    }
    progress.finish();
    report.finish(start.elapsed().as_secs_f64());
    Ok(report)
}

/// Events without a leaf: not sealed yet, or forged.
fn strangers(source: &mut impl Source, sizes: &[(u32, u64)], report: &mut Report) -> Result<()> {
    let mut unsealed = 0_u64;
    source.strangers(sizes, &mut |stranger| match stranger.why {
        None => unsealed += 1,
        Some(why) => report.add(Finding {
            check: Check::ForgedEvent,
            epoch: report.epochs.last().map_or(0, |epoch| epoch.epoch),
            event_id: stranger.event_id,
            leaf_index: None,
            detail: why,
        }),
    })?;
    if unsealed > 0 {
        report.note(format!(
            "{unsealed} events are not sealed yet: nothing can be said of them"
        ));
    }
    Ok(())
}

/// An epoch's number, and its newest checkpoint or why nothing can be verified by it.
type Read = (u32, Result<(Note, Checkpoint), String>);

/// Reads the newest checkpoints. One that claims far more leaves than there are is not gone by: that would take for ever.
fn read<S: Source>(source: &mut S, epochs: Vec<Result<Epoch, (u32, String)>>) -> Result<Vec<Read>> {
    let mut all = Vec::new();
    for epoch in epochs {
        let (number, read) = match epoch {
            Ok(epoch) => (epoch.number, head(&epoch.note)),
            Err((number, why)) => (number, Err(why)),
        };
        let read = match read {
            Ok((_, head)) if !source.can_have(number, head.size())? => {
                let size = head.size();
                Err(format!(
                    "the newest checkpoint is of {size} leaves, of which most are not there: nothing of this epoch was verified"
                ))
            }
            Ok(read) => Ok(read),
            Err(why) => Err(format!("the newest checkpoint cannot be read: {why}")),
        };
        all.push((number, read));
    }
    Ok(all)
}

/// A note and the checkpoint in it.
fn head(note: &str) -> Result<(Note, Checkpoint), String> {
    let read = || {
        let note = Note::parse(note)?;
        let head = note.text().parse()?;
        Ok((note, head))
    };
    read().map_err(|error: attest_log::Error| error.to_string())
}

fn broken(epoch: u32, detail: String) -> Finding {
    Finding {
        check: Check::BrokenCheckpoint,
        epoch,
        event_id: None,
        leaf_index: None,
        detail,
    }
}

/// The checkpoints that were kept from earlier, until their epoch comes.
struct Kept(Vec<Checkpoint>);

impl Kept {
    fn read(options: &Options, report: &mut Report) -> Self {
        let mut kept = Vec::new();
        for note in &options.against {
            match note.text().parse::<Checkpoint>() {
                Ok(checkpoint) => kept.push(checkpoint),
                Err(error) => report.add(broken(
                    0,
                    format!("the checkpoint to verify against: {error}"),
                )),
            }
            match note.verify(&options.keys) {
                Err(error @ attest_log::Error::BadSignature { .. }) => report.add(Finding {
                    check: Check::BadSignature,
                    ..broken(0, format!("the checkpoint to verify against: {error}"))
                }),
                Err(_) if !options.keys.is_empty() => {
                    report.note("the checkpoint to verify against is not signed by a trusted key: it is taken as it is");
                }
                _ => {}
            }
        }
        kept.sort_by_key(Checkpoint::size);
        Self(kept)
    }

    fn of(&mut self, origin: &str) -> Vec<Checkpoint> {
        self.0
            .extract_if(.., |kept| kept.origin() == origin)
            .collect()
    }

    /// Those that no epoch was of.
    fn rest(&self, report: &mut Report) {
        for kept in &self.0 {
            report.add(Finding {
                check: Check::TwoTrees,
                ..broken(
                    0,
                    format!(
                        "this log has no tree of origin {}, of which there is an older checkpoint",
                        kept.origin()
                    ),
                )
            });
        }
    }
}
