//! A growing tree: leaves appended, full tiles and the edge written.

use super::tables::Rows;
use super::tree::{Tree, internal};
use crate::error::{AttestError, Result, SqlState};
use crate::pg::columns::{bytea, int8_array};
use crate::pg::tuple::Field;
use attest_log::Hash;
use attest_log::tile::{HEIGHT, WIDTH};
use attest_log::tree::Frontier;

/// A leaf to be appended.
#[derive(Clone, Copy)]
pub struct NewLeaf {
    pub event_id: i64,
    pub hash: Hash,
}

/// Appends leaves to an epoch's tree. What it writes is proportional to what it is given: full tiles once, the rest as one row
/// of `audit.tree_edge`.
pub struct Grower {
    frontier: Frontier,
    /// By level, the hashes of the last tile, which is not full.
    levels: Vec<Vec<Hash>>,
    event_ids: Vec<i64>,
}

impl Grower {
    /// Goes on with a tree of `size` leaves.
    pub fn resume(tree: &mut Tree<'_>, size: u64) -> Result<Self> {
        let mut levels = Vec::new();
        let mut event_ids = Vec::new();
        for level in 0u8..8 {
            let hashes = size.unbounded_shr(HEIGHT * u32::from(level));
            if hashes == 0 {
                break;
            }
            let partial = hashes % u64::from(WIDTH);
            let first = hashes - partial;
            // below 256
            let width = usize::try_from(partial).unwrap_or_default();
            let mut found = if level == 0 {
                let edge = tree.edge(first);
                event_ids = edge.event_ids;
                edge.hashes
            } else {
                tree.roots(level - 1, first, width)
            };
            if found.len() < width {
                return Err(broken(level, first / u64::from(WIDTH), found.len(), width));
            }
            found.truncate(width);
            event_ids.truncate(if level == 0 { width } else { event_ids.len() });
            levels.push(found);
        }
        let frontier = Frontier::from_edge(size, &levels).map_err(internal)?;
        Ok(Self {
            frontier,
            levels,
            event_ids,
        })
    }

    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Appends the leaves and writes what changes in the tables.
    pub fn append(&mut self, tree: &Tree<'_>, leaves: impl Iterator<Item = NewLeaf>) {
        let before = self.event_ids.len();
        let first_of_edge = self.size() - before as u64;
        let mut writer: Option<Rows> = None;
        for leaf in leaves {
            self.event_ids.push(leaf.event_id);
            let Self {
                frontier,
                levels,
                event_ids,
            } = self;
            frontier.push_with(leaf.hash, |height, index, hash| {
                if height % HEIGHT != 0 {
                    return;
                }
                // A tree of 2^64 leaves has 8 levels.
                let level = (height / HEIGHT) as usize;
                if level > 0 {
                    // This hash is the root of a tile that is full now.
                    let rows = writer.get_or_insert_with(|| Rows::of(&tree.tiles));
                    let hashes = &mut levels[level - 1];
                    write_tile(rows, tree.epoch, level - 1, index, hash, hashes, event_ids);
                    hashes.clear();
                    if level == 1 {
                        event_ids.clear();
                    }
                }
                if level == levels.len() {
                    levels.push(Vec::with_capacity(usize::from(WIDTH)));
                }
                levels[level].push(*hash);
            });
            pgrx::check_for_interrupts!();
        }
        let tile_filled = writer.is_some();
        if let Some(writer) = writer {
            writer.finish();
        }
        if tile_filled {
            for row in tree.edge(first_of_edge).rows {
                tree.edge.delete(row);
            }
        }
        let kept = if tile_filled { 0 } else { before };
        if self.event_ids.len() > kept {
            let first = self.size() - (self.event_ids.len() - kept) as u64;
            let hashes = bytea(self.levels[0][kept..].as_flattened());
            let event_ids = int8_array(&self.event_ids[kept..]);
            let mut rows = Rows::of(&tree.edge);
            rows.append(&[
                Field::Int4(tree.epoch),
                Field::Int8(first.cast_signed()),
                Field::Varlena(hashes.bytes()),
                Field::Varlena8(event_ids.bytes()),
            ]);
            rows.finish();
        }
    }
}

fn write_tile(
    rows: &mut Rows,
    epoch: i32,
    level: usize,
    index: u64,
    root: &Hash,
    hashes: &[Hash],
    event_ids: &[i64],
) {
    let of_leaves = |value: Option<&i64>| match value {
        Some(id) if level == 0 => Field::Int8(*id),
        _ => Field::Null,
    };
    let root = bytea(root);
    let packed = bytea(hashes.as_flattened());
    let ids = int8_array(event_ids);
    rows.append(&[
        Field::Int4(epoch),
        Field::Int4(i32::try_from(level).unwrap_or_default()),
        Field::Int8(index.cast_signed()),
        of_leaves(event_ids.iter().min()),
        of_leaves(event_ids.iter().max()),
        Field::Varlena(root.bytes()),
        Field::Varlena(packed.bytes()),
        if level == 0 {
            Field::Varlena8(ids.bytes())
        } else {
            Field::Null
        },
    ]);
}

fn broken(level: u8, index: u64, found: usize, wanted: usize) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_DATA_CORRUPTED,
        "the log's tree is damaged: sealing has stopped",
    )
    .detail(format!(
        "Of the last tile of level {level}, index {index}, {found} hashes are left of {wanted}."
    ))
    .hint("SELECT * FROM audit.verify_chain(); tells what is missing. Restore audit.tiles and audit.tree_edge from a backup.")
}
