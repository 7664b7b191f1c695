//! Event ids: taken from the sequence in blocks, a block for one transaction alone.
//!
//! Invariant: a transaction has its transaction id before it takes a block, and what is left of the block at its end is thrown
//! away. So no event has an id that was handed out before its transaction began to write: ids of new events lie above all
//! that were handed out before. The sealer finds unsealed events by it, and pages of events, newest first, stay stable.

use crate::pg::cell::Backend;
use crate::pg::heap::next_value;
use crate::pg::xact;
use pgrx::pg_sys;
use std::cell::Cell;

/// The sequence's increment, in `sql/schema.sql`: one call of the sequence gives so many ids.
const BLOCK: i64 = 64;

/// What is left of the last block.
#[derive(Clone, Copy)]
struct Left {
    transaction: u32,
    next: i64,
    end: i64,
}

/// The next event id of the running transaction.
pub fn next(sequence: pg_sys::Oid) -> i64 {
    static LEFT: Backend<Cell<Left>> = Backend::cell(Left {
        transaction: 0,
        next: 0,
        end: 0,
    });
    let transaction = xact::local_transaction_id();
    let mut left = LEFT.get();
    if left.transaction != transaction || left.next == left.end {
        xact::top_transaction_id();
        let next = next_value(sequence);
        left = Left {
            transaction,
            next,
            end: next + BLOCK,
        };
    }
    let id = left.next;
    left.next += 1;
    LEFT.set(left);
    id
}
