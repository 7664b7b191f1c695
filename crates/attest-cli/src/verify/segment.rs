//! The bulk of verification: events, leaves and tiles of one segment, on one thread.
//!
//! Three things say what a leaf is: its event, its tile, and (in an export) its entry. The tile above decides between them, so
//! that an altered event and an altered tile are told apart.

use super::declared::Declarations;
use super::describe::{describe, differs};
use super::report::{Check, Finding};
use super::signatures::check_signatures;
use super::tiles::Tiles;
use crate::source::{Found, Reader, SEGMENT};
use anyhow::Result;
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use attest_log::declaration::Place;
use attest_log::encoding::{Encoder, EventRecord, LeafData};
use attest_log::epoch::EpochEnd;
use attest_log::hash::leaf_hash;
use attest_log::note::VerifierKey;
use attest_log::tree::{Frontier, root_of};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What all segments of an epoch share.
pub struct Scope<'a> {
    pub epoch: u32,
    pub head: &'a Checkpoint,
    pub keys: &'a [VerifierKey],
    /// What the epoch's first event must say.
    pub previous: Option<&'a EpochEnd>,
    pub declarations: &'a Declarations,
}

impl Scope<'_> {
    /// A leaf of this epoch, as declarations name it.
    pub fn place(&self, index: u64) -> Place {
        Place {
            epoch: self.epoch.cast_signed(),
            index,
        }
    }
}

/// One segment's work.
pub struct Job {
    pub index: u64,
    /// Tree sizes at which the root is wanted; ascending, within the segment.
    pub sizes: Vec<u64>,
    pub signatures: Vec<Claim>,
}

/// A signature line and the checkpoint it is said to be of.
pub struct Claim {
    pub checkpoint: Checkpoint,
    pub line: String,
}

/// What came out.
#[derive(Default)]
pub struct Done {
    pub index: u64,
    pub findings: Vec<Finding>,
    pub events: u64,
    pub erased: u64,
    pub pruned: u64,
    /// Index of the key, tree size, time of a cosignature.
    pub signed: Vec<(usize, u64, Option<u64>)>,
    /// For each of the job's sizes what its last subtrees fold to; None where leaves are not known.
    pub edges: Vec<Option<Hash>>,
    /// Of a full segment whose leaves are known.
    pub root: Option<Hash>,
    pub leaves: u64,
}

/// For the tree's last, unfinished segment: the segments before it.
pub struct Before<'a>(pub &'a Frontier);

/// The root of a tree that ends in `right` and has these perfect subtrees to its left.
pub fn fold(left: &Frontier, right: Hash) -> Hash {
    let roots = left.roots().iter().rev();
    roots.fold(right, |right, left| {
        attest_log::hash::node_hash(left, &right)
    })
}

/// Verifies a segment. `before` is given for the last one alone, if it is not full.
pub fn verify(
    scope: &Scope<'_>,
    job: &Job,
    before: Option<&Before<'_>>,
    reader: &mut impl Reader,
    encoder: &mut Encoder,
) -> Result<Done> {
    let first = job.index * SEGMENT;
    let leaves = first..(first + SEGMENT).min(scope.head.size());
    let mut done = Done {
        index: job.index,
        leaves: leaves.end - leaves.start,
        ..Done::default()
    };
    check_signatures(scope, &job.signatures, &mut done);
    let tiles = Tiles::read(scope, leaves.clone(), reader, &mut done.findings)?;
    let entries = tiles.entries();
    let mut walk = Walk {
        scope,
        tiles: &tiles,
        entries: &entries,
        leaves: leaves.clone(),
        encoder,
        seen: vec![false; usize::try_from(leaves.end - leaves.start)?],
        suspects: BTreeMap::new(),
        erased: Vec::new(),
        done: &mut done,
    };
    reader.events(leaves.clone(), &mut |found| walk.visit(found))?;
    let Walk {
        seen,
        suspects,
        erased,
        ..
    } = walk;
    let whole = erased.is_empty() && seen.iter().all(|seen| *seen);
    let declared = (!whole).then(|| scope.declarations.get()).transpose()?;
    for (leaf_index, event_id, said) in erased {
        if declared.is_some_and(|declared| declared.erased.contains(scope.place(leaf_index))) {
            done.erased += 1;
            continue;
        }
        let why =
            format!("its payload and salt were removed, and no erasure of it was declared; {said}");
        done.findings.push(Finding {
            event_id: Some(event_id),
            ..finding(scope, Check::AlteredEvent, Some(leaf_index), why)
        });
    }
    for (at, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
        let leaf_index = first + at as u64;
        if leaf_index == 0 && scope.previous.is_some() {
            let detail = "the epoch's first event, which binds it to the epoch before, is missing";
            done.findings.push(finding(
                scope,
                Check::BrokenCheckpoint,
                Some(0),
                detail.into(),
            ));
        }
    }
    let is_pruned = |leaf: &u64| {
        !seen[usize::try_from(leaf - first).unwrap_or_default()]
            && declared.is_some_and(|declared| declared.pruned.contains(scope.place(*leaf)))
    };
    let pruned: BTreeSet<u64> = leaves.clone().filter(is_pruned).collect();
    done.pruned = pruned.len() as u64;
    for leaf in &pruned {
        let place = usize::try_from(leaf - first)?;
        // What it was is not there to be compared with, but its hash is.
        let wrong = |entry: &[u8]| {
            tiles
                .leaf(place)
                .is_some_and(|hash| hash != leaf_hash(entry))
        };
        if entries[place].is_some_and(wrong) {
            let detail = "the leaf data stored among the tile's entries is not that of the leaf, whose event was pruned";
            let check = Check::AlteredTile;
            done.findings
                .push(finding(scope, check, Some(*leaf), detail.into()));
        }
    }
    let known = tiles.judge(
        before,
        &seen,
        &pruned,
        &suspects,
        &entries,
        reader,
        &mut done.findings,
    );
    climb(job, &known, &leaves, &mut done);
    Ok(done)
}

/// Something that is wrong in this epoch.
pub fn finding(
    scope: &Scope<'_>,
    check: Check,
    leaf_index: Option<u64>,
    detail: String,
) -> Finding {
    Finding {
        check,
        epoch: scope.epoch,
        event_id: None,
        leaf_index,
        detail,
    }
}

/// What is known of a tile of level 0.
pub enum Known {
    Leaves { hashes: Vec<Hash>, root: Hash },
    Root(Hash),
    Nothing,
}

impl Known {
    pub fn leaves(hashes: Vec<Hash>) -> Self {
        let root = root_of(&hashes);
        Self::Leaves { hashes, root }
    }
}

/// The roots that are wanted, from the leaves up.
fn climb(job: &Job, known: &[Known], leaves: &Range<u64>, done: &mut Done) {
    let mut sizes = job.sizes.iter().copied().peekable();
    let mut segment = Some(Frontier::new());
    let mut size = leaves.start;
    for tile in known {
        let root = match tile {
            Known::Leaves { hashes, root } => {
                let end = size + hashes.len() as u64;
                let mut inner = Frontier::new();
                for hash in hashes {
                    // Its root at its end is known.
                    if sizes.peek().is_none_or(|wanted| *wanted >= end) {
                        break;
                    }
                    inner.push(*hash);
                    size += 1;
                    while sizes.next_if(|wanted| *wanted == size).is_some() {
                        done.edges
                            .push(segment.as_ref().map(|left| fold(left, inner.root())));
                    }
                }
                size = end;
                while sizes.next_if(|wanted| *wanted == end).is_some() {
                    done.edges
                        .push(segment.as_ref().map(|left| fold(left, *root)));
                }
                (hashes.len() == 256).then_some(*root)
            }
            Known::Root(root) => Some(*root),
            Known::Nothing => None,
        };
        let end = (size / 256 + 1) * 256;
        if !matches!(tile, Known::Leaves { .. }) {
            size = end.min(leaves.end);
            // The root at the tile's own end is known without its leaves.
            while let Some(wanted) = sizes.next_if(|wanted| *wanted <= size) {
                let edge = root.filter(|_| wanted == end);
                done.edges.push(
                    segment
                        .as_ref()
                        .zip(edge)
                        .map(|(left, root)| fold(left, root)),
                );
            }
        }
        match (&mut segment, root) {
            (Some(segment), Some(root)) => segment.push(root),
            _ => segment = None,
        }
    }
    if done.leaves == SEGMENT {
        done.root = segment.map(|segment| segment.root());
    }
}

/// An event that its tile does not know.
pub struct Suspect {
    pub event_id: i64,
    pub hash: Hash,
    pub detail: String,
}

/// The way through a segment's events.
struct Walk<'a> {
    scope: &'a Scope<'a>,
    tiles: &'a Tiles,
    entries: &'a [Option<&'a [u8]>],
    leaves: Range<u64>,
    encoder: &'a mut Encoder,
    seen: Vec<bool>,
    suspects: BTreeMap<u64, Suspect>,
    /// Events that fit their leaves and have no payload: leaf, id, what each says of itself.
    erased: Vec<(u64, i64, String)>,
    done: &'a mut Done,
}

impl Walk<'_> {
    fn visit(&mut self, found: Found<'_>) {
        match found {
            Found::Event { leaf_index, event } => self.event(leaf_index, &event),
            Found::Broken {
                event_id,
                leaf_index,
                why,
            } => {
                let check = Check::MalformedEvent;
                self.report(check, event_id, leaf_index, why);
            }
            Found::Stray {
                event_id,
                leaf_index,
                why,
            } => {
                self.report(Check::ForgedEvent, Some(event_id), leaf_index, why);
            }
        }
    }

    fn report(
        &mut self,
        check: Check,
        event_id: Option<i64>,
        leaf_index: Option<u64>,
        detail: String,
    ) {
        self.done.findings.push(Finding {
            event_id,
            ..finding(self.scope, check, leaf_index, detail)
        });
    }

    fn event(&mut self, leaf_index: u64, event: &EventRecord<'_>) {
        let event_id = event.event_id;
        self.scope.declarations.meet(event);
        let place = leaf_index.checked_sub(self.leaves.start);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let Some(place) = place.filter(|place| *place < self.seen.len()) else {
            let why = format!(
                "it says that it is of leaf {leaf_index}, which is not here; {}",
                describe(event)
            );
            return self.report(Check::ForgedEvent, Some(event_id), None, why);
        };
        if std::mem::replace(&mut self.seen[place], true) {
            let why = format!("a second event for this leaf; {}", describe(event));
            return self.report(Check::ForgedEvent, Some(event_id), Some(leaf_index), why);
        }
        self.done.events += 1;
        if leaf_index == 0 {
            self.first_event(event);
        }
        let (leaf, malformed) = match self.encoder.leaf(event) {
            Ok(leaf) => (leaf, None),
            Err(error) => (bare(event), Some(error)),
        };
        let hash = leaf.hash();
        let stored = self.tiles.leaf(place);
        if let Some(error) = malformed {
            let why = format!("pg_attest did not write this: {error}; {}", describe(event));
            self.report(Check::MalformedEvent, Some(event_id), Some(leaf_index), why);
            if stored != Some(hash) {
                self.seen[place] = false;
            }
            return;
        }
        let entry = self.entries[place];
        if stored != Some(hash) {
            let part = entry.filter(|entry| stored == Some(leaf_hash(entry)));
            let what = part
                .and_then(|entry| LeafData::parse(entry).ok())
                .map(|entry| differs(&entry, &leaf));
            let what = what.unwrap_or_else(|| "it is not what was sealed".to_owned());
            let detail = format!("{what}; {}", describe(event));
            self.suspects.insert(
                leaf_index,
                Suspect {
                    event_id,
                    hash,
                    detail,
                },
            );
            return;
        }
        if event.payload_hash.is_some() {
            self.erased.push((leaf_index, event_id, describe(event)));
        }
        if self.tiles.has_entries() && entry != Some(leaf.as_bytes().as_slice()) {
            let why = "the leaf data stored among the tile's entries is not that of the event, which is right".to_owned();
            self.report(Check::AlteredTile, Some(event_id), Some(leaf_index), why);
        }
    }

    /// The epoch's first event must name the end of the epoch before.
    fn first_event(&mut self, event: &EventRecord<'_>) {
        let Some(link) = self.scope.previous else {
            return;
        };
        let context = event.context.unwrap_or_default();
        if !link.is_named_by(event.operation, event.action, context) {
            let why = format!(
                "the epoch's first event does not name the last checkpoint of epoch {}, which has {} leaves",
                link.epoch,
                link.checkpoint.size()
            );
            self.report(Check::BrokenCheckpoint, Some(event.event_id), Some(0), why);
        }
    }
}

/// The leaf of a row that has no commitments.
pub fn bare(event: &EventRecord<'_>) -> LeafData {
    LeafData::new(
        event.event_id,
        event.xact_id,
        event.occurred_at,
        &[0; 32],
        &[0; 32],
    )
}
