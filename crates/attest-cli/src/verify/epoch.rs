//! One epoch: hands segments to the threads and puts together in order what they find.

use super::checkpoints::{Anchor, Chain, Kind};
use super::declared::Declarations;
use super::report::{Check, EpochReport, Report, Signed};
use super::segment::{self, Before, Claim, Done, Job, Scope, fold};
use crate::progress::Progress;
use crate::source::{Reader, SEGMENT, Source};
use anyhow::{Context, Result, anyhow};
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use attest_log::encoding::Encoder;
use attest_log::epoch::EpochEnd;
use attest_log::note::{Note, VerifierKey};
use attest_log::tile::Tile;
use attest_log::tree::{Frontier, root_of};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::mpsc;

/// An epoch to be verified.
pub struct Walk<'a> {
    pub number: u32,
    pub note: &'a Note,
    pub head: &'a Checkpoint,
    pub keys: &'a [VerifierKey],
    /// Kept from earlier; ascending.
    pub against: Vec<Checkpoint>,
    pub declarations: &'a Declarations,
    pub link: Option<EpochEnd>,
    pub must_be_signed: bool,
    pub progress: &'a Progress,
}

impl Walk<'_> {
    /// Verifies it; the first of the readers is for this thread, the others for one each.
    pub fn run<S: Source>(
        self,
        source: &mut S,
        readers: &mut [S::Reader],
        report: &mut Report,
    ) -> Result<Option<EpochEnd>> {
        for reader in readers.iter_mut() {
            reader.open(self.number)?;
        }
        let (own, workers) = readers.split_first_mut().context("no reader")?;
        let lines = source.checkpoints(self.number)?;
        let mut chain = Chain::new(self.number, self.head, self.link.as_ref(), lines);
        let scope = Scope {
            epoch: self.number,
            head: self.head,
            keys: self.keys,
            previous: self.link.as_ref(),
            declarations: self.declarations,
        };
        let mut sum = Sum::new(&scope, own, report, self.progress);
        let mut against = self.against.iter().peekable();
        // An empty tree has one root alone.
        while against.next_if(|kept| kept.size() == 0).is_some() {}
        let full = self.head.size() / SEGMENT;
        let mut plan = |index: u64, report: &mut Report| -> Result<(Job, Vec<Anchor>)> {
            let (mut anchors, mut signatures) = chain.segment(index, report)?;
            let end = (index + 1) * SEGMENT;
            while let Some(kept) = against.next_if(|kept| kept.size() <= end.min(self.head.size()))
            {
                anchors.push(Anchor {
                    size: kept.size(),
                    root: *kept.root(),
                    kind: Kind::Kept,
                });
            }
            if end >= self.head.size() {
                anchors.push(Anchor {
                    size: self.head.size(),
                    root: *self.head.root(),
                    kind: Kind::Head,
                });
                for line in self.note.signatures().iter().map(ToString::to_string) {
                    let known =
                        |claim: &Claim| claim.checkpoint == *self.head && claim.line == line;
                    if !signatures.iter().any(known) {
                        let checkpoint = self.head.clone();
                        signatures.push(Claim { checkpoint, line });
                    }
                }
            }
            anchors.retain(|anchor| anchor.size > index * SEGMENT);
            anchors.sort_by_key(|anchor| anchor.size);
            let sizes = anchors.iter().map(|anchor| anchor.size).collect();
            Ok((
                Job {
                    index,
                    sizes,
                    signatures,
                },
                anchors,
            ))
        };
        side_by_side(&scope, workers, full, &mut sum, &mut plan)?;
        if !self.head.size().is_multiple_of(SEGMENT) {
            let (job, anchors) = plan(full, sum.report)?;
            let before = sum.segments.clone();
            let before = before.as_ref().map(Before);
            let done = segment::verify(
                &scope,
                &job,
                before.as_ref(),
                sum.reader,
                &mut Encoder::new(),
            )?;
            sum.take(done, anchors)?;
        }
        for kept in against {
            let detail = format!(
                "the log was rolled back: it has {} leaves, and a checkpoint kept from earlier has {}",
                self.head.size(),
                kept.size()
            );
            sum.add(Check::TwoTrees, Some(self.head.size()), detail);
        }
        sum.finish(self.must_be_signed)?;
        chain.finish(report).map(Some)
    }
}

type Plan<'p> = dyn FnMut(u64, &mut Report) -> Result<(Job, Vec<Anchor>)> + 'p;

/// Verifies the full segments, a few ahead of what is already put together.
fn side_by_side<R: Reader>(
    scope: &Scope<'_>,
    workers: &mut [R],
    full: u64,
    sum: &mut Sum<'_, R>,
    plan: &mut Plan<'_>,
) -> Result<()> {
    let ahead = workers.len() as u64 * 3;
    let (give, jobs) = mpsc::channel::<Job>();
    let jobs = Mutex::new(jobs);
    let (tell, results) = mpsc::channel::<Result<Done>>();
    std::thread::scope(|threads| {
        for reader in workers {
            let (jobs, tell) = (&jobs, tell.clone());
            threads.spawn(move || {
                let mut encoder = Encoder::new();
                loop {
                    let job = jobs.lock().ok().and_then(|jobs| jobs.recv().ok());
                    let Some(job) = job else { break };
                    // What is lost is told: the others wait for it.
                    let done = catch_unwind(AssertUnwindSafe(|| {
                        segment::verify(scope, &job, None, reader, &mut encoder)
                    }));
                    let done = done.unwrap_or_else(|_| Err(anyhow!("a thread has ended")));
                    if tell.send(done).is_err() {
                        break;
                    }
                }
            });
        }
        drop(tell);
        // Moved in, so that the threads end when this ends, in order or not.
        let give = give;
        let (mut next, mut taken) = (0, 0);
        let mut waiting = BTreeMap::new();
        let mut anchors = BTreeMap::new();
        while taken < full {
            while next < full && next - taken < ahead {
                let (job, of_job) = plan(next, sum.report)?;
                anchors.insert(next, of_job);
                give.send(job).context("the threads have ended")?;
                // Of small files the disk is waited for longer than they are read: here, where nothing else is to be done.
                sum.reader.announce(next * SEGMENT..(next + 1) * SEGMENT);
                next += 1;
            }
            let done = results.recv().context("a thread has ended")??;
            waiting.insert(done.index, done);
            while let Some(done) = waiting.remove(&taken) {
                sum.take(done, anchors.remove(&taken).unwrap_or_default())?;
                taken += 1;
            }
        }
        Ok(())
    })
}

/// What is known up to a segment.
struct Sum<'a, R> {
    scope: &'a Scope<'a>,
    reader: &'a mut R,
    report: &'a mut Report,
    progress: &'a Progress,
    epoch: EpochReport,
    /// Over the roots of the full segments; None behind a segment whose root is not known.
    segments: Option<Frontier>,
    /// By level from 2 on, the computed hashes of the tile that is not full yet.
    levels: Vec<Vec<Hash>>,
    /// Full tiles by level from 2 on.
    full: Vec<u64>,
    /// The last checkpoint that fitted; whether the one after it did not.
    fits: u64,
    bad: bool,
    signed: BTreeMap<usize, (u64, Option<u64>)>,
}

impl<'a, R: Reader> Sum<'a, R> {
    fn new(
        scope: &'a Scope<'a>,
        reader: &'a mut R,
        report: &'a mut Report,
        progress: &'a Progress,
    ) -> Self {
        let mut epoch = EpochReport {
            epoch: scope.epoch,
            origin: scope.head.origin().to_owned(),
            tree_size: scope.head.size(),
            ..EpochReport::default()
        };
        epoch.set_root(scope.head.root());
        Self {
            scope,
            reader,
            report,
            progress,
            epoch,
            segments: Some(Frontier::new()),
            levels: Vec::new(),
            full: Vec::new(),
            fits: 0,
            bad: false,
            signed: BTreeMap::new(),
        }
    }

    fn add(&mut self, check: Check, leaf_index: Option<u64>, detail: String) {
        self.report
            .add(segment::finding(self.scope, check, leaf_index, detail));
    }

    fn take(&mut self, done: Done, anchors: Vec<Anchor>) -> Result<()> {
        self.progress.advance(done.leaves);
        self.epoch.events += done.events;
        self.epoch.erased_events += done.erased;
        self.epoch.pruned_events += done.pruned;
        self.epoch.signatures += done.signed.len() as u64;
        for finding in done.findings {
            self.report.add(finding);
        }
        for (key, size, time) in done.signed {
            let newest = self.signed.entry(key).or_insert((size, time));
            if size >= newest.0 {
                *newest = (size, time);
            }
        }
        for (anchor, edge) in anchors.into_iter().zip(done.edges) {
            let known = self.segments.as_ref().zip(edge);
            if let Some(root) = known.map(|(left, edge)| fold(left, edge)) {
                self.compare(&anchor, &root);
            }
        }
        if done.leaves == SEGMENT {
            match (&mut self.segments, done.root) {
                (Some(segments), Some(root)) => {
                    segments.push(root);
                    self.raise(0, root)?;
                }
                _ => self.segments = None,
            }
        }
        Ok(())
    }

    fn compare(&mut self, anchor: &Anchor, root: &Hash) {
        let size = anchor.size;
        self.epoch.checkpoints += u64::from(anchor.kind == Kind::Sealed);
        if anchor.root == *root {
            self.bad = false;
            self.fits = size;
            if anchor.kind == Kind::Sealed {
                self.epoch.fitting.push(size);
            }
            return;
        }
        let from = self.fits;
        match anchor.kind {
            Kind::Kept => {
                let detail = format!(
                    "the checkpoint of {size} leaves that was kept from earlier has another root: the log was rewritten before leaf {size}"
                );
                self.add(Check::TwoTrees, Some(from), detail);
            }
            Kind::Sealed | Kind::Head => {
                // One change breaks all later checkpoints: the first one says where.
                if !self.bad {
                    let detail = format!(
                        "checkpoint of tree size {size}: its root is not that of its leaves: it, or a leaf from {from} on, was changed"
                    );
                    self.add(Check::BrokenCheckpoint, Some(from), detail);
                }
                self.bad = true;
            }
        }
    }

    /// Puts a hash into the tile of a level (0 is level 2), which is compared once it is full.
    fn raise(&mut self, level: usize, hash: Hash) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Vec::with_capacity(256));
            self.full.push(0);
        }
        self.levels[level].push(hash);
        if self.levels[level].len() == 256 {
            let hashes = std::mem::take(&mut self.levels[level]);
            self.check_tile(level, &hashes)?;
            self.full[level] += 1;
            self.raise(level + 1, root_of(&hashes))?;
        }
        Ok(())
    }

    fn check_tile(&mut self, level: usize, hashes: &[Hash]) -> Result<()> {
        let (index, level) = (self.full[level], u8::try_from(level + 2)?);
        let Some(tile) = Tile::in_tree(level, index, self.scope.head.size()) else {
            return Ok(());
        };
        let wrong = match self.reader.tile(tile)? {
            Ok(stored) => {
                let at = stored.iter().zip(hashes).position(|(a, b)| a != b);
                match at {
                    Some(at) => Some((
                        at,
                        "its hashes are not the roots of the tiles below it".to_owned(),
                    )),
                    None if stored.len() == hashes.len() => None,
                    None => Some((0, format!("it has {} hashes", stored.len()))),
                }
            }
            Err(why) => Some((0, why)),
        };
        if let Some((at, why)) = wrong {
            let span = 256_u64.pow(u32::from(level));
            let leaf = (index * 256 + at as u64) * span;
            self.add(
                Check::AlteredTile,
                Some(leaf),
                format!("{}: {why}", tile.path()),
            );
        }
        Ok(())
    }

    fn finish(mut self, must_be_signed: bool) -> Result<()> {
        for level in 0..self.levels.len() {
            let hashes = std::mem::take(&mut self.levels[level]);
            if self.segments.is_some() && !hashes.is_empty() {
                self.check_tile(level, &hashes)?;
            }
        }
        let signed = std::mem::take(&mut self.signed);
        if must_be_signed && signed.is_empty() && !self.scope.keys.is_empty() {
            self.add(
                Check::BadSignature,
                None,
                "no checkpoint of this epoch is signed by a trusted key".to_owned(),
            );
        }
        self.epoch.signed = signed
            .into_iter()
            .map(|(key, (tree_size, time))| Signed {
                key: self.scope.keys[key].name().to_owned(),
                tree_size,
                time,
            })
            .collect();
        self.report.epochs.push(self.epoch);
        Ok(())
    }
}
