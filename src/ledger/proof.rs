//! What the log hands to others: leaves, tiles, checkpoints, proofs.

use super::checkpoint::{Checkpoint, Checkpoints, Epoch};
use super::events::Events;
use super::leaf::LeafMaker;
use super::tree::{Tree, internal};
use super::{sealed, signing};
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::role::ActAsSuperuser;
use crate::pg::snapshot::Snapshot;
use attest_log::proof::InclusionProof;
use attest_log::tile::{Tile, TileReader, WIDTH};
use attest_log::tree;
use pgrx::prelude::*;

/// `audit.event_leaf(event_id)`.
#[pg_extern(sql = false)]
fn event_leaf(event_id: i64) -> Vec<u8> {
    or_raise(leaf_data(event_id))
}

fn leaf_data(event_id: i64) -> Result<Vec<u8>> {
    let events = Events::open()?;
    let snapshot = Snapshot::latest();
    let leaf = events.find(&snapshot, event_id, |row| LeafMaker::new().leaf(row));
    let leaf = leaf.ok_or_else(|| no_event(event_id))?;
    match leaf.malformed {
        None => Ok(leaf.data.as_bytes().to_vec()),
        Some(error) => Err(AttestError::new(
            SqlState::ERRCODE_DATA_CORRUPTED,
            format!("event {event_id} has no leaf data"),
        )
        .detail(format!("It is not one that pg_attest wrote: {error}."))),
    }
}

/// `audit.find_leaf(event_id)`.
#[pg_extern(sql = false)]
fn find_leaf(event_id: i64) -> TableIterator<'static, (name!(epoch, i32), name!(leaf_index, i64))> {
    let _superuser = ActAsSuperuser::new();
    let snapshot = Snapshot::latest();
    let found = or_raise(sealed::find(&snapshot, event_id));
    TableIterator::new(
        found
            .into_iter()
            .map(|leaf| (leaf.epoch, leaf.index.cast_signed())),
    )
}

/// `audit.tile(level, tile_index, tree_size, epoch)`.
#[pg_extern(sql = false)]
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn tile(
    level: Option<i32>,
    tile_index: Option<i64>,
    tree_size: Option<i64>,
    epoch: Option<i32>,
) -> Option<Vec<u8>> {
    let level = u8::try_from(level?).ok()?;
    let index = u64::try_from(tile_index?).ok()?;
    or_raise(tile_bytes(level, index, tree_size, epoch))
}

fn tile_bytes(
    level: u8,
    index: u64,
    tree_size: Option<i64>,
    epoch: Option<i32>,
) -> Result<Option<Vec<u8>>> {
    let snapshot = Snapshot::latest();
    let Some(at) = At::find(&snapshot, tree_size, epoch)? else {
        return Ok(None);
    };
    let Some(tile) = Tile::in_tree(level, index, at.checkpoint.tree_size) else {
        return Ok(None);
    };
    let mut hashes = Tree::open(at.checkpoint.epoch, &snapshot)?.read(tile)?;
    hashes.truncate(usize::from(tile.width));
    Ok(Some(hashes.as_flattened().to_vec()))
}

/// A row of `audit.leaves(…)`.
type LeafRow = (i64, i64, Vec<u8>);

/// `audit.leaves(first_leaf, leaf_count, epoch)`.
#[pg_extern(sql = false)]
fn leaves(
    first_leaf: Option<i64>,
    leaf_count: Option<i64>,
    epoch: Option<i32>,
) -> TableIterator<
    'static,
    (
        name!(leaf_index, i64),
        name!(event_id, i64),
        name!(leaf_hash, Vec<u8>),
    ),
> {
    let first = first_leaf.unwrap_or(0);
    let end = first.saturating_add(leaf_count.unwrap_or(0));
    let (first, end) = (first.max(0).cast_unsigned(), end.max(0).cast_unsigned());
    TableIterator::new(or_raise(leaves_between(first, end, epoch)))
}

/// Those from `first` on and before `end`.
fn leaves_between(first: u64, end: u64, epoch: Option<i32>) -> Result<Vec<LeafRow>> {
    let snapshot = Snapshot::latest();
    let mut found = Vec::new();
    let Some(at) = At::find(&snapshot, None, epoch)? else {
        return Ok(found);
    };
    let end = end.min(at.checkpoint.tree_size);
    let mut add = |from: u64, hashes: &[attest_log::Hash], ids: &[i64]| {
        for ((hash, id), index) in hashes.iter().zip(ids).zip(from..) {
            if (first..end).contains(&index) {
                found.push((index.cast_signed(), *id, hash.to_vec()));
            }
        }
    };
    let width = u64::from(WIDTH);
    let tree = Tree::open(at.checkpoint.epoch, &snapshot)?;
    tree.each_tile(0, first / width, |tile| {
        let from = tile.index * width;
        if from < end {
            add(from, &tile.hashes, &tile.event_ids);
        }
        Ok(from + width < end)
    })?;
    tree.each_edge_row(|row| add(row.first, &row.hashes, &row.event_ids));
    Ok(found)
}

/// A checkpoint and its epoch.
pub struct At {
    pub checkpoint: Checkpoint,
    pub epoch: Epoch,
}

impl At {
    /// The checkpoint that the arguments mean: NULL is the latest. None when there is none yet.
    pub fn find(
        snapshot: &Snapshot,
        tree_size: Option<i64>,
        epoch: Option<i32>,
    ) -> Result<Option<Self>> {
        let checkpoints = Checkpoints::open()?;
        let Some(last) = checkpoints.last(snapshot, epoch) else {
            return Ok(None);
        };
        let checkpoint = match tree_size {
            None => last,
            Some(size) => checkpoints
                .find(snapshot, last.epoch, size.cast_unsigned())
                .ok_or_else(|| no_checkpoint(size, last.epoch))?,
        };
        let number = checkpoint.epoch;
        let epoch = Epoch::find(snapshot, number)?.ok_or_else(|| {
            AttestError::new(
                SqlState::ERRCODE_DATA_CORRUPTED,
                format!("epoch {number} is missing from audit.epochs"),
            )
            .hint("SELECT * FROM audit.verify_chain(); tells what else is.")
        })?;
        Ok(Some(Self { checkpoint, epoch }))
    }
}

/// `audit.checkpoint_body(tree_size, epoch)`.
#[pg_extern(sql = false)]
fn checkpoint_body(tree_size: Option<i64>, epoch: Option<i32>) -> Option<String> {
    let snapshot = Snapshot::latest();
    let at = or_raise(At::find(&snapshot, tree_size, epoch))?;
    Some(or_raise(at.checkpoint.body(&at.epoch.origin)))
}

/// `audit.inclusion_proof(event_id, tree_size)`.
#[pg_extern(sql = false)]
fn inclusion_proof(event_id: Option<i64>, tree_size: Option<i64>) -> Option<String> {
    Some(or_raise(inclusion(event_id?, tree_size)).to_string())
}

fn inclusion(event_id: i64, tree_size: Option<i64>) -> Result<InclusionProof> {
    let _superuser = ActAsSuperuser::new();
    let events = Events::open()?;
    let snapshot = Snapshot::latest();
    let row = events.find(&snapshot, event_id, |row| LeafMaker::new().leaf(row));
    let leaf = sealed::find(&snapshot, event_id)?;
    let row = row.ok_or_else(|| {
        leaf.first()
            .map_or_else(|| no_event(event_id), |leaf| gone(event_id, leaf))
    })?;
    let leaf = leaf.first().ok_or_else(|| {
        AttestError::new(
            SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("event {event_id} is not sealed yet"),
        )
        .hint("SELECT audit.seal(); seals what is committed.")
    })?;
    if row.data.hash() != leaf.hash {
        return Err(AttestError::new(
            SqlState::ERRCODE_DATA_CORRUPTED,
            format!("event {event_id} was altered after it was sealed"),
        )
        .detail(format!(
            "Its row does not have the hash of leaf {}.",
            leaf.index
        ))
        .hint("SELECT * FROM audit.verify(); finds what else was."));
    }
    let at = At::find(&snapshot, tree_size, Some(leaf.epoch))?.ok_or_else(|| no_event(event_id))?;
    let size = at.checkpoint.tree_size;
    if leaf.index >= size {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("event {event_id} is not in the tree of {size} leaves"),
        )
        .detail(format!("It is leaf {}, counted from 0.", leaf.index))
        .hint("Give the size of a later checkpoint, or none for the last one."));
    }
    let mut tree = Tree::open(leaf.epoch, &snapshot)?;
    Ok(InclusionProof {
        extra: Some(row.data.as_bytes().to_vec()),
        index: leaf.index,
        hashes: tree::inclusion_proof(&mut tree, leaf.index, at.checkpoint.tree_size)?,
        checkpoint: signing::note(&snapshot, &at)?,
    })
}

/// `audit.consistency_proof(old_size, new_size, epoch)`.
#[pg_extern(sql = false)]
fn consistency_proof(
    old_size: Option<i64>,
    new_size: Option<i64>,
    epoch: Option<i32>,
) -> Option<Vec<Vec<u8>>> {
    or_raise(consistency(old_size?, new_size?, epoch))
}

fn consistency(old: i64, new: i64, epoch: Option<i32>) -> Result<Option<Vec<Vec<u8>>>> {
    let snapshot = Snapshot::latest();
    let Some(at) = At::find(&snapshot, None, epoch)? else {
        return Ok(None);
    };
    let size = at.checkpoint.tree_size.cast_signed();
    if !(0..=new).contains(&old) || new > size {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "the sizes do not stand in the tree",
        )
        .detail(format!(
            "The old size is {old}, the new one {new}, the tree's {size}."
        ))
        .hint("Give the older size first, and none above the last checkpoint's."));
    }
    let mut reader = Tree::open(at.checkpoint.epoch, &snapshot)?;
    let proof = tree::consistency_proof(&mut reader, old.cast_unsigned(), new.cast_unsigned())?;
    Ok(Some(proof.iter().map(|hash| hash.to_vec()).collect()))
}

fn no_event(event_id: i64) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_NO_DATA_FOUND,
        format!("there is no event {event_id}"),
    )
}

/// Without the event there is no leaf data, which a proof shows.
fn gone(event_id: i64, leaf: &sealed::Leaf) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_NO_DATA_FOUND,
        format!("event {event_id} is gone"),
    )
    .detail(format!(
        "Leaf {} of epoch {} stands, and proofs that were made before hold.",
        leaf.index, leaf.epoch
    ))
    .hint(format!(
        "SELECT * FROM audit.verify_event({event_id}); tells whether its removal was declared."
    ))
}

fn no_checkpoint(size: i64, epoch: i32) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_NO_DATA_FOUND,
        format!("there is no checkpoint of tree size {size} in epoch {epoch}"),
    )
    .hint("audit.checkpoints has those that there are.")
}

impl From<attest_log::Error> for AttestError {
    fn from(error: attest_log::Error) -> Self {
        internal(error)
    }
}
