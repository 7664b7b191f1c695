//! Marks: what a session remembers of moments, so that a seal looks for the events of transactions that were under way during the one
//! before in what came since they began, and not in all that the one before has sealed.
//!
//! Invariant: all transactions from a mark's `next_xid` on have only event ids above its `last_event_id`, as a checkpoint says of itself
//! (`seal`). So a mark helps wherever it comes from, and nothing is lost with it.

use super::seal;
use crate::pg::cell::Backend;
use crate::pg::snapshot::next_xid;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::VecDeque;

/// So many are kept: the sealer sets two for each seal.
const KEPT: usize = 8;

struct Mark {
    /// That gave the ids: another one with DROP and CREATE EXTENSION.
    sequence: Option<pg_sys::Oid>,
    last_event_id: i64,
    next_xid: u64,
}

static MARKS: Backend<RefCell<VecDeque<Mark>>> = Backend::refcell(VecDeque::new());

/// Sets a mark; gives the highest event id handed out, and the next transaction id. Reads them in this order: that is the invariant.
pub fn set() -> (i64, u64) {
    let last_event_id = seal::last_event_id();
    let next_xid = next_xid();
    let mark = Mark {
        sequence: seal::sequence(),
        last_event_id,
        next_xid,
    };
    let mut marks = MARKS.borrow_mut();
    // A sequence that was set back hands ids out that old marks stand above.
    marks.retain(|known| known.last_event_id <= last_event_id);
    marks.truncate(KEPT - 1);
    marks.push_front(mark);
    (last_event_id, next_xid)
}

/// The id above which all events of this transaction stand, by the newest mark before it began.
pub fn floor_of(xid: u64) -> Option<i64> {
    let sequence = seal::sequence();
    let marks = MARKS.borrow();
    let before = |mark: &&Mark| mark.sequence == sequence && mark.next_xid <= xid;
    marks.iter().find(before).map(|mark| mark.last_event_id)
}
