//! Due events in the order of their places, in bounded memory: a backlog may be larger than the server's.

use super::grow::NewLeaf;
use crate::pg::temp_file::TempFile;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// So many events are kept in memory, 56 MB; each further so many become a sorted run on disk.
const IN_MEMORY: usize = 1 << 20;

/// An event that is due.
#[derive(Clone, Copy)]
pub struct Due {
    pub xact_id: u64,
    pub statement_id: i32,
    pub leaf: NewLeaf,
}

/// What events are ordered by.
type Key = (u64, i32, i64);

impl Due {
    /// Bytes of an event in a run.
    const LENGTH: usize = 52;

    fn key(&self) -> Key {
        (self.xact_id, self.statement_id, self.leaf.event_id)
    }

    fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&self.xact_id.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.statement_id.to_ne_bytes());
        bytes[12..20].copy_from_slice(&self.leaf.event_id.to_ne_bytes());
        bytes[20..].copy_from_slice(&self.leaf.hash);
        bytes
    }

    fn read(run: &mut TempFile) -> Option<Self> {
        fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
            let mut part = [0; N];
            part.copy_from_slice(&bytes[..N]);
            part
        }
        let mut bytes = [0; Self::LENGTH];
        run.read(&mut bytes).then(|| Self {
            xact_id: u64::from_ne_bytes(part(&bytes)),
            statement_id: i32::from_ne_bytes(part(&bytes[8..])),
            leaf: NewLeaf {
                event_id: i64::from_ne_bytes(part(&bytes[12..])),
                hash: part(&bytes[20..]),
            },
        })
    }
}

/// Takes events in any order.
pub struct Sorter {
    in_memory: usize,
    waiting: Vec<Due>,
    runs: Vec<TempFile>,
    count: u64,
}

impl Default for Sorter {
    fn default() -> Self {
        Self::keeping(IN_MEMORY)
    }
}

impl Sorter {
    /// A sorter that keeps so many events in memory.
    pub fn keeping(in_memory: usize) -> Self {
        Self {
            in_memory,
            waiting: Vec::new(),
            runs: Vec::new(),
            count: 0,
        }
    }

    pub fn push(&mut self, due: Due) {
        if self.waiting.len() == self.in_memory {
            self.spill();
        }
        self.waiting.push(due);
        self.count += 1;
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    fn spill(&mut self) {
        self.waiting.sort_unstable_by_key(Due::key);
        let mut run = TempFile::new();
        for due in self.waiting.drain(..) {
            run.write(&due.to_bytes());
        }
        run.rewind();
        self.runs.push(run);
    }

    /// The events in order.
    pub fn into_sorted(mut self) -> impl Iterator<Item = Due> {
        self.waiting.sort_unstable_by_key(Due::key);
        let mut sources: Vec<Source> = self.runs.into_iter().map(Source::Run).collect();
        sources.push(Source::Memory(self.waiting.into_iter()));
        let mut heads: Vec<Option<Due>> = sources.iter_mut().map(Source::next).collect();
        let mut order: BinaryHeap<_> = heads
            .iter()
            .enumerate()
            .filter_map(|(source, head)| Some(Reverse((head.as_ref()?.key(), source))))
            .collect();
        std::iter::from_fn(move || {
            let Reverse((_, source)) = order.pop()?;
            let due = heads[source].take();
            heads[source] = sources[source].next();
            if let Some(next) = &heads[source] {
                order.push(Reverse((next.key(), source)));
            }
            due
        })
    }
}

enum Source {
    Memory(std::vec::IntoIter<Due>),
    Run(TempFile),
}

impl Source {
    fn next(&mut self) -> Option<Due> {
        match self {
            Self::Memory(waiting) => waiting.next(),
            Self::Run(run) => Due::read(run),
        }
    }
}
