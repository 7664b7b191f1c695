//! The tree in its tables: full tiles, the unfinished edge, and the way from an event to its leaf.

use super::events::HIGHEST_ID;
use super::tables::Table;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::columns::{Expected, Fields, column};
use crate::pg::index_scan::{Condition, Order, Place};
use crate::pg::query::{self, Arg};
use crate::pg::relation::lock;
use crate::pg::snapshot::Snapshot;
use attest_log::Hash;
use attest_log::tile::{Tile, TileReader, WIDTH};
use pgrx::pg_sys;
use pgrx::pg_sys::{BYTEAOID, INT4OID, INT8ARRAYOID, INT8OID};

const TILE_COLUMNS: [Expected; 8] = [
    column("epoch", INT4OID),
    column("level", INT4OID),
    column("tile_index", INT8OID),
    column("min_event_id", INT8OID),
    column("max_event_id", INT8OID),
    column("root", BYTEAOID),
    column("hashes", BYTEAOID),
    column("event_ids", INT8ARRAYOID),
];

const EDGE_COLUMNS: [Expected; 4] = [
    column("epoch", INT4OID),
    column("first_leaf", INT8OID),
    column("hashes", BYTEAOID),
    column("event_ids", INT8ARRAYOID),
];

/// A full tile of the table, or the leaves of an edge's row.
#[derive(Clone, Default)]
pub struct StoredTile {
    pub index: u64,
    /// The lowest and the highest event id.
    pub bounds: Option<(i64, i64)>,
    pub root: Hash,
    pub hashes: Vec<Hash>,
    pub event_ids: Vec<i64>,
}

/// The tables of one epoch's tree, open.
pub struct Tree<'a> {
    pub(super) epoch: i32,
    snapshot: &'a Snapshot,
    pub(super) tiles: Table,
    pub(super) edge: Table,
}

impl<'a> Tree<'a> {
    /// For reading.
    pub fn open(epoch: i32, snapshot: &'a Snapshot) -> Result<Self> {
        Self::open_with(epoch, snapshot, lock::ACCESS_SHARE)
    }

    /// For the one sealer.
    pub fn open_to_seal(epoch: i32, snapshot: &'a Snapshot) -> Result<Self> {
        Self::open_with(epoch, snapshot, lock::ROW_EXCLUSIVE)
    }

    fn open_with(epoch: i32, snapshot: &'a Snapshot, lock: pg_sys::LOCKMODE) -> Result<Self> {
        Ok(Self {
            epoch,
            snapshot,
            tiles: Table::open("tiles", &TILE_COLUMNS, lock)?,
            edge: Table::open("tree_edge", &EDGE_COLUMNS, lock)?,
        })
    }

    /// Calls `f` with the stored tiles of a level from one index on, in order, until it says false.
    pub fn each_tile(
        &self,
        level: u8,
        from: u64,
        mut f: impl FnMut(StoredTile) -> Result<bool>,
    ) -> Result<()> {
        let conditions = [
            Condition::Int4Is(self.epoch),
            Condition::Int4Is(i32::from(level)),
            Condition::Int8From(from.cast_signed()),
        ];
        let mut scan = self
            .tiles
            .scan(self.snapshot, &conditions, Order::Ascending);
        while let Some(tile) = scan.next(|row| StoredTile {
            index: row.int8(2).unwrap_or_default().cast_unsigned(),
            bounds: row.int8(3).zip(row.int8(4)),
            root: row
                .bytes(5)
                .and_then(|root| root.try_into().ok())
                .unwrap_or_default(),
            hashes: hashes(row.bytes(6)),
            event_ids: row.int8s(7).unwrap_or_default(),
        }) {
            if !f(tile)? {
                break;
            }
        }
        Ok(())
    }

    /// Calls `f` with index, lowest and highest event id of all stored tiles of level 0, without reading their hashes.
    pub fn each_bounds(&self, mut f: impl FnMut(u64, i64, i64)) {
        let conditions = [Condition::Int4Is(self.epoch), Condition::Int4Is(0)];
        let mut scan = self
            .tiles
            .scan(self.snapshot, &conditions, Order::Ascending);
        while scan
            .next(|row| {
                if let (Some(index), Some(lowest), Some(highest)) =
                    (row.int8(2), row.int8(3), row.int8(4))
                {
                    f(index.cast_unsigned(), lowest, highest);
                }
            })
            .is_some()
        {}
    }

    /// How many full tiles of level 0 follow each other from the first one on.
    pub fn contiguous(&self) -> u64 {
        let mut next = 0;
        self.each_bounds(|index, _, _| next += u64::from(index == next));
        next
    }

    /// A full tile.
    pub fn full_tile(&self, level: u8, index: u64) -> Result<Option<StoredTile>> {
        let mut found = None;
        self.each_tile(level, index, |tile| {
            found = (tile.index == index).then_some(tile);
            Ok(false)
        })?;
        Ok(found)
    }

    /// The roots of the tiles of a level, from one index on: a tile of the level above, unfinished.
    pub(super) fn roots(&self, level: u8, from: u64, count: usize) -> Vec<Hash> {
        let conditions = [
            Condition::Int4Is(self.epoch),
            Condition::Int4Is(i32::from(level)),
            Condition::Int8From(from.cast_signed()),
        ];
        let mut scan = self
            .tiles
            .scan(self.snapshot, &conditions, Order::Ascending);
        let mut next = from;
        let mut found = Vec::new();
        while found.len() < count {
            let root = scan.next(|row| {
                let root = row.bytes(5).and_then(|root| Hash::try_from(root).ok());
                root.filter(|_| row.int8(2) == Some(next.cast_signed()))
            });
            // A hole ends the tile: what follows is not its next hash.
            let Some(Some(root)) = root else { break };
            found.push(root);
            next += 1;
        }
        found
    }

    /// The hashes of a tile, full or not; more where it has grown since.
    pub fn tile(&self, tile: Tile) -> Result<Vec<Hash>> {
        let first = tile.index * u64::from(WIDTH);
        if let Some(stored) = self.full_tile(tile.level, tile.index)? {
            return Ok(stored.hashes);
        }
        if tile.level > 0 {
            return Ok(self.roots(tile.level - 1, first, usize::from(tile.width)));
        }
        Ok(self.edge(first).hashes)
    }

    /// The leaves behind the last full tile of level 0, as far as they follow each other from this index on.
    pub fn edge(&self, from: u64) -> Edge {
        let mut edge = Edge::default();
        self.each_edge_row(|row| {
            if row.first == from + edge.hashes.len() as u64
                && row.hashes.len() == row.event_ids.len()
            {
                edge.hashes.extend(row.hashes);
                edge.event_ids.extend(row.event_ids);
                edge.rows.push(row.place);
            }
        });
        edge
    }

    /// Calls `f` with each row of the edge; one before the first leaf is none.
    pub fn each_edge_row(&self, mut f: impl FnMut(EdgeRow)) {
        let of_epoch = [Condition::Int4Is(self.epoch)];
        let mut scan = self.edge.scan(self.snapshot, &of_epoch, Order::Ascending);
        while let Some((first, hashes, event_ids)) = scan.next(|row| {
            (
                row.int8(1).unwrap_or_default(),
                hashes(row.bytes(2)),
                row.int8s(3).unwrap_or_default(),
            )
        }) {
            let Ok(first) = u64::try_from(first) else {
                continue;
            };
            f(EdgeRow {
                first,
                hashes,
                event_ids,
                place: scan.place(),
            });
        }
    }
}

/// Calls `f` with epoch, level and index of all rows of `audit.tiles`, in order.
pub fn each_tile_key(snapshot: &Snapshot, mut f: impl FnMut(i32, i32, i64)) -> Result<()> {
    let tiles = Table::open("tiles", &TILE_COLUMNS, lock::ACCESS_SHARE)?;
    let mut scan = tiles.scan(snapshot, &[], Order::Ascending);
    let key = |row: Fields<'_>| Some((row.int4(0)?, row.int4(1)?, row.int8(2)?));
    while let Some(key) = scan.next(key) {
        let (epoch, level, index) = key.unwrap_or_default();
        f(epoch, level, index);
    }
    Ok(())
}

/// Calls `f` with the epoch, the first leaf's index, the number of hashes and the event ids of all rows of `audit.tree_edge`, in
/// order.
pub fn each_edge_key(
    snapshot: &Snapshot,
    mut f: impl FnMut(i32, i64, usize, &[i64]),
) -> Result<()> {
    let edge = Table::open("tree_edge", &EDGE_COLUMNS, lock::ACCESS_SHARE)?;
    let mut scan = edge.scan(snapshot, &[], Order::Ascending);
    let read = |row: Fields<'_>| {
        f(
            row.int4(0).unwrap_or_default(),
            row.int8(1).unwrap_or_default(),
            hashes(row.bytes(2)).len(),
            &row.int8s(3).unwrap_or_default(),
        );
    };
    let mut read = read;
    while scan.next(&mut read).is_some() {}
    Ok(())
}

/// A row of `audit.tree_edge`.
pub struct EdgeRow {
    pub first: u64,
    pub hashes: Vec<Hash>,
    pub event_ids: Vec<i64>,
    place: Place,
}

/// The leaves behind the last full tile.
#[derive(Default)]
pub struct Edge {
    pub hashes: Vec<Hash>,
    pub event_ids: Vec<i64>,
    pub(super) rows: Vec<Place>,
}

impl TileReader for Tree<'_> {
    type Error = AttestError;

    fn read(&mut self, tile: Tile) -> Result<Vec<Hash>> {
        self.tile(tile)
    }
}

fn hashes(bytes: Option<&[u8]>) -> Vec<Hash> {
    let (hashes, rest) = bytes.unwrap_or_default().as_chunks();
    if rest.is_empty() {
        hashes.to_vec()
    } else {
        Vec::new()
    }
}

/// Where events stand: the leaves of a range of event ids, of all epochs. Leaves are counted in 63 bits.
pub fn tiles_of(from: i64, to: i64) -> Result<Vec<(i32, u64)>> {
    // A range of int8 that holds the last number of all cannot be written; nor can such a tile be indexed.
    let [from, to] = [from, to].map(|id| id.min(HIGHEST_ID));
    let rows = query::rows(
        "SELECT epoch, tile_index FROM audit.tiles \
         WHERE level = 0 AND tile_index BETWEEN 0 AND 36028797018963967 AND pg_catalog.int8range(min_event_id, max_event_id, '[]') \
           OPERATOR(pg_catalog.&&) pg_catalog.int8range($1::pg_catalog.int8, $2::pg_catalog.int8, '[]') \
         ORDER BY epoch, tile_index",
        &[Arg::Text(&from.to_string()), Arg::Text(&to.to_string())],
    )?;
    let number =
        |cell: Option<&Option<String>>| cell.and_then(|text| text.as_deref()?.parse::<i64>().ok());
    Ok(rows
        .iter()
        .filter_map(|row| {
            let epoch = i32::try_from(number(row.first())?).ok()?;
            Some((epoch, number(row.get(1))?.cast_unsigned()))
        })
        .collect())
}

pub fn internal(error: impl std::fmt::Display) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_INTERNAL_ERROR,
        format!("the log's tree cannot be computed: {error}"),
    )
}
