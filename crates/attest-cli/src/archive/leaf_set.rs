//! Which leaves an archive has: a bit each, so that memory is an eighth of a byte per leaf.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Leaves of a block, which is as many as a segment has.
const BLOCK: u64 = 65_536;
const WORDS: usize = 1024;

/// Leaves by epoch.
#[derive(Default)]
pub struct LeafSet(BTreeMap<(u32, u64), Box<[u64; WORDS]>>);

impl LeafSet {
    /// Adds a leaf; whether it was not there.
    pub fn insert(&mut self, epoch: u32, leaf: u64) -> bool {
        let block = self
            .0
            .entry((epoch, leaf / BLOCK))
            .or_insert_with(|| Box::new([0; WORDS]));
        let (word, bit) = place(leaf);
        let is_new = block[word] & bit == 0;
        block[word] |= bit;
        is_new
    }

    /// Adds the leaves of another set, which has none of the same blocks.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The leaves as runs, both ends included.
    pub fn runs(&self) -> Vec<(u32, u64, u64)> {
        let mut runs: Vec<(u32, u64, u64)> = Vec::new();
        for ((epoch, block), words) in &self.0 {
            for (word, mut bits) in (0..).zip(words.iter().copied()) {
                let mut base = block * BLOCK + word * 64;
                while bits != 0 {
                    let gap = bits.trailing_zeros();
                    let length = (bits >> gap).trailing_ones();
                    let first = base + u64::from(gap);
                    let last = first + u64::from(length) - 1;
                    match runs.last_mut() {
                        Some(run) if run.0 == *epoch && run.2 + 1 == first => run.2 = last,
                        _ => runs.push((*epoch, first, last)),
                    }
                    let done = gap + length;
                    base += u64::from(done);
                    bits = bits.checked_shr(done).unwrap_or(0);
                }
            }
        }
        runs
    }
}

/// Leaves that several threads meet.
#[derive(Default)]
pub struct SharedLeafSet(Mutex<BTreeMap<(u32, u64), Arc<Block>>>);

type Block = [AtomicU64; WORDS];

impl SharedLeafSet {
    /// What all threads have added.
    pub fn into_set(self) -> LeafSet {
        let blocks = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let words =
            |block: &Block| Box::new(block.each_ref().map(|word| word.load(Ordering::Relaxed)));
        let blocks = blocks.into_iter().map(|(key, block)| (key, words(&block)));
        LeafSet(blocks.collect())
    }
}

/// A thread's way to add to them: it keeps the block of its last leaf, and locks for another one alone.
pub struct Adder<'a> {
    all: &'a SharedLeafSet,
    last: Option<((u32, u64), Arc<Block>)>,
}

impl<'a> Adder<'a> {
    pub fn new(all: &'a SharedLeafSet) -> Self {
        Self { all, last: None }
    }

    /// Adds a leaf; whether no thread has added it before.
    pub fn insert(&mut self, epoch: u32, leaf: u64) -> bool {
        let key = (epoch, leaf / BLOCK);
        let block = match self.last.take() {
            Some((last, block)) if last == key => block,
            _ => {
                let mut blocks = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
                let none = || Arc::new([const { AtomicU64::new(0) }; WORDS]);
                Arc::clone(blocks.entry(key).or_insert_with(none))
            }
        };
        let (word, bit) = place(leaf);
        let is_new = block[word].fetch_or(bit, Ordering::Relaxed) & bit == 0;
        self.last = Some((key, block));
        is_new
    }
}

fn place(leaf: u64) -> (usize, u64) {
    let within = leaf % BLOCK;
    // Less than 65,536.
    (
        usize::try_from(within / 64).unwrap_or(0),
        1 << (within % 64),
    )
}

#[cfg(test)]
mod tests {
    use super::{Adder, LeafSet, SharedLeafSet};

    #[test]
    fn of_threads_that_meet_a_leaf_one_adds_it() {
        let all = SharedLeafSet::default();
        let added = std::thread::scope(|scope| {
            let add = || {
                let mut adder = Adder::new(&all);
                let leaves = (0..200_000).chain(0..200_000);
                leaves.filter(|leaf| adder.insert(1, *leaf)).count()
            };
            let threads = [scope.spawn(add), scope.spawn(add)];
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(added.iter().sum::<usize>(), 200_000);
        assert_eq!(all.into_set().runs(), [(1, 0, 199_999)]);
    }

    #[test]
    fn runs_are_those_of_the_leaves() {
        let mut set = LeafSet::default();
        for leaf in (0..200)
            .chain([202, 63 * 1024])
            .chain(65_530..65_545)
            .chain([u64::MAX / 2])
        {
            assert!(set.insert(1, leaf));
            assert!(!set.insert(1, leaf));
        }
        set.insert(2, 65_545);
        assert_eq!(
            set.runs(),
            [
                (1, 0, 199),
                (1, 202, 202),
                (1, 63 * 1024, 63 * 1024),
                (1, 65_530, 65_544),
                (1, u64::MAX / 2, u64::MAX / 2),
                (2, 65_545, 65_545)
            ]
        );
    }
}
