//! What a statement did, from its transition tables: the pairing of OLD with NEW.

use super::event::EventKind;
use super::recorder::Recorder;
use crate::error::Result;
use crate::pg::slot::{Row, Slot};
use crate::pg::tuplestore::TransitionTable;
use std::collections::HashSet;
use std::hash::RandomState;

/// One side of a statement: a transition table and the row that was read from it.
pub struct Side {
    table: TransitionTable,
    slot: Slot,
}

impl Side {
    pub fn new(table: TransitionTable, slot: Slot) -> Self {
        Self { table, slot }
    }

    pub fn len(&self) -> i64 {
        self.table.len()
    }

    fn advance(&mut self) -> bool {
        self.table.next_into(&mut self.slot)
    }

    fn row(&self) -> Row<'_> {
        self.slot.row()
    }

    fn rewind(&mut self) {
        self.table.rewind();
    }
}

/// Records what a statement did.
pub fn record(recorder: &mut Recorder<'_>, old: Option<Side>, new: Option<Side>) -> Result<()> {
    match (old, new) {
        (Some(mut old), Some(mut new)) => {
            if old.len() != new.len() {
                return unequal(recorder, &mut old, &mut new);
            }
            while old.advance() && new.advance() {
                recorder.changed(old.row(), new.row())?;
            }
        }
        (Some(mut old), None) => {
            while old.advance() {
                recorder.vanished(old.row())?;
            }
        }
        (None, Some(mut new)) => {
            while new.advance() {
                recorder.appeared(EventKind::Insert, new.row())?;
            }
        }
        (None, None) => {}
    }
    Ok(())
}

/// Records an UPDATE whose transition tables hold different numbers of rows: a BEFORE trigger of the target partition
/// swallowed moved rows, which left OLD rows without NEW ones. Both tables are in the order of the scan.
///
/// Rows whose key stands on both sides are pairs; they divide the rest into gaps. In a gap without NEW rows the OLD ones were
/// deleted; in one with NEW rows these pair up in order, for then the key itself was changed. Linear in time; keeps a
/// hash of each row's key, in this case alone.
fn unequal(recorder: &mut Recorder<'_>, old: &mut Side, new: &mut Side) -> Result<()> {
    recorder.forget_parts();
    if !recorder.has_key() {
        while old.advance() {
            recorder.vanished(old.row())?;
        }
        while new.advance() {
            recorder.appeared(EventKind::Insert, new.row())?;
        }
        return Ok(());
    }
    let hasher = RandomState::new();
    let mut new_keys = HashSet::new();
    while new.advance() {
        new_keys.insert(recorder.key_hash(&hasher, new.row()));
        recorder.row_done();
    }
    let mut old_keys = HashSet::new();
    while old.advance() {
        old_keys.insert(recorder.key_hash(&hasher, old.row()));
        recorder.row_done();
    }
    let both: HashSet<u64> = new_keys.intersection(&old_keys).copied().collect();
    drop((new_keys, old_keys));
    old.rewind();
    new.rewind();
    let mut has_old = old.advance();
    let mut has_new = new.advance();
    while has_old || has_new {
        let old_key = if has_old {
            recorder.key_hash(&hasher, old.row())
        } else {
            0
        };
        let new_key = if has_new {
            recorder.key_hash(&hasher, new.row())
        } else {
            0
        };
        let old_pairs = has_old && both.contains(&old_key);
        let new_pairs = has_new && both.contains(&new_key);
        let is_pair =
            has_old && has_new && old_pairs == new_pairs && (!old_pairs || old_key == new_key);
        if is_pair {
            recorder.changed(old.row(), new.row())?;
            has_old = old.advance();
            has_new = new.advance();
        } else if has_old && !old_pairs {
            recorder.vanished(old.row())?;
            has_old = old.advance();
        } else if has_new {
            recorder.appeared(EventKind::Insert, new.row())?;
            has_new = new.advance();
        } else {
            recorder.vanished(old.row())?;
            has_old = old.advance();
        }
    }
    Ok(())
}
