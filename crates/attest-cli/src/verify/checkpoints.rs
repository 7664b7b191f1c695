//! The chain of checkpoints and their signatures, read side by side and cut into segments.

use super::report::{Check, Finding, Report};
use super::segment::Claim;
use crate::source::{Line, SEGMENT, Sealed};
use anyhow::Result;
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use attest_log::epoch::EpochEnd;
use std::iter::Peekable;

/// What is to be compared when the tree has a size.
#[derive(Debug, Clone)]
pub struct Anchor {
    pub size: u64,
    pub root: Hash,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sealed,
    /// Kept from earlier, elsewhere.
    Kept,
    /// The newest checkpoint.
    Head,
}

/// Goes through an epoch's checkpoints.
pub struct Chain<'a, L: Iterator> {
    epoch: u32,
    head: &'a Checkpoint,
    lines: Peekable<L>,
    previous: Hash,
    last: Option<Sealed>,
}

impl<'a, L: Iterator<Item = Result<Line>>> Chain<'a, L> {
    pub fn new(epoch: u32, head: &'a Checkpoint, link: Option<&EpochEnd>, lines: L) -> Self {
        Self {
            epoch,
            head,
            lines: lines.peekable(),
            previous: link.map_or([0; 32], |link| link.chain),
            last: None,
        }
    }

    /// The checkpoints and signatures of sizes up to the end of a segment.
    pub fn segment(
        &mut self,
        index: u64,
        report: &mut Report,
    ) -> Result<(Vec<Anchor>, Vec<Claim>)> {
        let end = (index + 1) * SEGMENT;
        let mut cut = (Vec::new(), Vec::new());
        let later = |line: &Result<Line>| matches!(line, Ok(Line::Checkpoint(next)) if next.tree_size > end);
        while let Some(line) = self.lines.next_if(|line| !later(line)) {
            self.line(line?, &mut cut, report);
        }
        Ok(cut)
    }

    fn line(&mut self, line: Line, cut: &mut (Vec<Anchor>, Vec<Claim>), report: &mut Report) {
        match line {
            Line::Checkpoint(sealed) => self.checkpoint(sealed, cut, report),
            Line::Broken(why) => report.add(self.finding(None, why)),
            Line::Stray(size) => {
                let detail =
                    format!("a signature of a checkpoint of tree size {size}, which there is not");
                report.add(Finding {
                    check: Check::BadSignature,
                    ..self.finding(None, detail)
                });
            }
        }
    }

    fn finding(&self, size: Option<u64>, detail: String) -> Finding {
        Finding {
            check: Check::BrokenCheckpoint,
            epoch: self.epoch,
            event_id: None,
            leaf_index: size.map(|size| size.saturating_sub(1)),
            detail: match size {
                Some(size) => format!("checkpoint of tree size {size}: {detail}"),
                None => detail,
            },
        }
    }

    fn checkpoint(
        &mut self,
        mut sealed: Sealed,
        cut: &mut (Vec<Anchor>, Vec<Claim>),
        report: &mut Report,
    ) {
        let size = sealed.tree_size;
        if size == 0 {
            let why = "it is of no tree: there is none without leaves";
            report.add(self.finding(Some(size), why.to_owned()));
        }
        let checkpoint = match Checkpoint::new(self.head.origin(), size, sealed.root) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                report.add(self.finding(Some(size), error.to_string()));
                return;
            }
        };
        if checkpoint.chain(&self.previous, sealed.time, &sealed.horizon) != sealed.chain {
            let why = "its chain does not follow from the checkpoint before, its time, its horizon and its root: one of them was changed or removed";
            report.add(self.finding(Some(size), why.to_owned()));
        }
        if self
            .last
            .as_ref()
            .is_some_and(|last| last.tree_size >= size || last.time > sealed.time)
        {
            let why = "its size or its time is before that of the checkpoint before";
            report.add(self.finding(Some(size), why.to_owned()));
        }
        if size > self.head.size() || size > i64::MAX.cast_unsigned() {
            let why = format!(
                "it is beyond the newest checkpoint, of {} leaves",
                self.head.size()
            );
            report.add(self.finding(Some(size), why));
        } else if self.last.as_ref().is_none_or(|last| last.tree_size < size) {
            cut.0.push(Anchor {
                size,
                root: sealed.root,
                kind: Kind::Sealed,
            });
        }
        for line in std::mem::take(&mut sealed.signatures) {
            cut.1.push(Claim {
                checkpoint: checkpoint.clone(),
                line,
            });
        }
        self.previous = sealed.chain;
        self.last = Some(sealed);
    }

    /// What is left when all segments are through, and what the next epoch must be bound to.
    pub fn finish(mut self, report: &mut Report) -> Result<EpochEnd> {
        let mut sink = (Vec::new(), Vec::new());
        while let Some(line) = self.lines.next() {
            self.line(line?, &mut sink, report);
        }
        let is_head =
            |last: &Sealed| last.tree_size == self.head.size() && last.root == *self.head.root();
        if !self.last.as_ref().is_some_and(is_head) {
            let why = "it is the newest one, but the chain of checkpoints does not end with it";
            report.add(self.finding(Some(self.head.size()), why.to_owned()));
        }
        Ok(EpochEnd {
            epoch: self.epoch,
            checkpoint: self.head.clone(),
            chain: self.previous,
        })
    }
}
