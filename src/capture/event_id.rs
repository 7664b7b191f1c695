//! Event ids: taken from the sequence in blocks, a block for one transaction alone.
//!
//! Invariant: a transaction has its transaction id before it takes a block, and what is left of the block at its end is thrown
//! away. So no event has an id that was handed out before its transaction began to write: ids of new events lie above all
//! that were handed out before. The sealer finds unsealed events by it, and pages of events, newest first, stay stable.

use crate::error::{AttestError, Result, SqlState};
use crate::pg::cell::Backend;
use crate::pg::heap::next_value;
use crate::pg::sequence::{self, Steps};
use crate::pg::xact;
use pgrx::pg_sys;
use std::cell::Cell;

/// The sequence's increment, in `sql/schema.sql`: one call of the sequence gives so many ids.
const BLOCK: i64 = 64;

/// What is left of the last block.
#[derive(Clone, Copy)]
struct Left {
    transaction: u32,
    sequence: pg_sys::Oid,
    next: i64,
    end: i64,
}

static LEFT: Backend<Cell<Left>> = Backend::cell(NOTHING);
const NOTHING: Left = Left {
    transaction: 0,
    sequence: pg_sys::InvalidOid,
    next: 0,
    end: 0,
};

/// Throws away what is left of the block: the next id lies above all that were handed out before now. For acts whose order counts, and
/// which a lock puts in order.
pub fn begin_anew() {
    LEFT.set(NOTHING);
}

/// The next event id of the running transaction.
///
/// # Errors
/// When somebody altered the sequence's steps: ids that sessions keep, or blocks that overlap, would hide events from the sealer.
pub fn next(sequence: pg_sys::Oid) -> Result<i64> {
    let transaction = xact::local_transaction_id();
    let mut left = LEFT.get();
    if left.transaction != transaction || left.sequence != sequence || left.next == left.end {
        check_steps(sequence)?;
        xact::top_transaction_id();
        let next = next_value(sequence);
        left = Left {
            transaction,
            sequence,
            next,
            end: next + BLOCK,
        };
    }
    let id = left.next;
    left.next += 1;
    LEFT.set(left);
    Ok(id)
}

fn check_steps(sequence: pg_sys::Oid) -> Result<()> {
    let steps = sequence::steps(sequence);
    let right = Steps {
        increment: BLOCK,
        cache: 1,
    };
    if steps == right {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the sequence of event ids was altered",
    )
    .detail(format!(
        "audit.audit_events_event_id_seq has INCREMENT {} CACHE {}.",
        steps.increment, steps.cache
    ))
    .hint(format!(
        "ALTER SEQUENCE audit.audit_events_event_id_seq INCREMENT BY {BLOCK} CACHE 1;"
    )))
}
