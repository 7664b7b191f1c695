//! Where a log is read from: an export or a database. What is read is material to be checked, whatever it says.

use anyhow::Result;
use attest_log::Hash;
use attest_log::encoding::EventRecord;
use attest_log::tile::Tile;
use std::ops::Range;

/// Leaves that are worked on at once, and that a file of events holds: those of a full tile of level 1.
pub const SEGMENT: u64 = 65_536;

/// Leaves that are looked for whatever there is: what is missing of them is named one by one.
const FEW: u64 = 256 * SEGMENT;

/// A tree of the log, as its newest checkpoint says.
#[derive(Debug, Clone)]
pub struct Epoch {
    pub number: u32,
    /// The newest checkpoint, with its signatures: a note.
    pub note: String,
}

/// A checkpoint in the chain of checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub tree_size: u64,
    /// Microseconds since the Unix epoch.
    pub time: i64,
    /// What the sealer had seen; the chain binds it.
    pub horizon: Hash,
    pub root: Hash,
    pub chain: Hash,
    /// Its signature lines.
    pub signatures: Vec<String>,
}

/// What stands among the checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Checkpoint(Sealed),
    /// Something that is no checkpoint; why.
    Broken(String),
    /// A signature of a checkpoint of a size that there is not.
    Stray(u64),
}

/// Where a timestamp stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// That of the checkpoint that it stands beside; None where its place names none.
    pub tree_size: Option<u64>,
    /// By which the source finds it: in a database the hash under which it is kept, in an export its file.
    pub name: String,
}

/// An event that is there.
#[expect(clippy::large_enum_variant, reason = "it is passed on, never kept")]
pub enum Found<'a> {
    /// With the leaf that it says it is of, or that the log says.
    Event {
        leaf_index: u64,
        event: EventRecord<'a>,
    },
    /// Something that is no event; why.
    Broken {
        event_id: Option<i64>,
        leaf_index: Option<u64>,
        why: String,
    },
    /// An event that cannot belong here; why.
    Stray {
        event_id: i64,
        leaf_index: Option<u64>,
        why: String,
    },
}

/// A row, or a file of events, without a leaf.
pub struct Stranger {
    pub event_id: Option<i64>,
    /// None: it is only not sealed yet.
    pub why: Option<String>,
}

/// Takes an event and the leaf that it says it is of.
pub type EachDeclaring<'f> = dyn FnMut(Option<(u32, u64)>, &EventRecord<'_>) -> Result<()> + 'f;

/// Reads the bulk of one epoch; each thread has one of its own.
pub trait Reader: Send {
    /// Turns to another epoch.
    fn open(&mut self, epoch: u32) -> Result<()>;

    /// Tells that another reader will read the tiles of these leaves soon, which lie in one segment.
    fn announce(&mut self, leaves: Range<u64>);

    /// The tile's hashes, or why there are none.
    fn tile(&mut self, tile: Tile) -> Result<Result<Vec<Hash>, String>>;

    /// The leaf data that the source has stored for a tile of level 0; None where it stores none.
    fn entries(&mut self, tile: Tile) -> Result<Option<Vec<u8>>>;

    /// The id of a leaf's event, where the source knows it without the event.
    fn event_id(&self, leaf_index: u64) -> Option<i64>;

    /// All events of these leaves, which lie in one segment.
    fn events(&mut self, leaves: Range<u64>, each: &mut dyn FnMut(Found<'_>)) -> Result<()>;

    /// Calls `each` with the events of these epochs (number, leaves) that may be declarations, and the epoch and leaf that each says
    /// it is of: None for one that is not sealed yet. May use so many threads.
    fn declaring(
        &mut self,
        epochs: &[(u32, u64)],
        threads: usize,
        each: &mut EachDeclaring<'_>,
    ) -> Result<()>;
}

/// A log.
pub trait Source {
    type Reader: Reader + 'static;

    /// What it is called in the report.
    fn name(&self) -> String;

    /// Its epochs in order, or why one cannot be read.
    fn epochs(&mut self) -> Result<Vec<Result<Epoch, (u32, String)>>>;

    /// Another reader, which sees the same as all others.
    fn reader(&mut self) -> Result<Self::Reader>;

    /// An epoch's checkpoints in order.
    fn checkpoints(&mut self, epoch: u32) -> Result<impl Iterator<Item = Result<Line>>>;

    /// The timestamps of an epoch's checkpoints, in the order of these.
    fn timestamps(&mut self, epoch: u32) -> Result<Vec<Timestamp>>;

    /// What a timestamping authority answered (RFC 3161).
    fn answer(&mut self, epoch: u32, timestamp: &Timestamp) -> Result<Vec<u8>>;

    /// Whether it finds declarations without reading all events for them, those that are not sealed yet among them.
    fn lists_declarations(&self) -> bool;

    /// Calls `each` with what has no leaf in these epochs (number, leaves).
    fn strangers(&mut self, epochs: &[(u32, u64)], each: &mut dyn FnMut(Stranger)) -> Result<()>;

    /// More leaves than the source can have of an epoch, by a glance at it: a checkpoint may claim any number.
    fn most_leaves(&mut self, epoch: u32) -> Result<u64>;

    /// Whether so many leaves of an epoch can be looked at. One line says any number, and each would be looked for.
    fn can_have(&mut self, epoch: u32, leaves: u64) -> Result<bool> {
        Ok(leaves <= FEW || leaves <= self.most_leaves(epoch)?)
    }

    /// What else is to be told of the source.
    fn notes(&self) -> Vec<String>;
}
