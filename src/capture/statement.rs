//! The order of statements: stamps put down before a statement and taken up after it.
//!
//! Invariant: an entry of the stack belongs to a statement that is still open. Statements that failed leave entries behind; each
//! names its transaction and subtransaction, and those rolled back are skipped.

use crate::pg::cell::Backend;
use crate::pg::trigger::Operation;
use crate::pg::xact;
use pgrx::pg_sys;
use std::cell::RefCell;

struct Stamp {
    relation: pg_sys::Oid,
    operation: Operation,
    statement: i32,
    transaction: u32,
    subtransaction: u32,
}

impl Stamp {
    fn is_open(&self) -> bool {
        self.transaction == xact::local_transaction_id()
            && xact::subtransaction_is_active(self.subtransaction)
    }
}

static OPEN: Backend<RefCell<Vec<Stamp>>> = Backend::refcell(Vec::new());

/// The running command's id as events carry it. Command ids are unsigned 32-bit; the half that an int has is 2 billion.
#[allow(clippy::cast_possible_wrap)]
pub fn current() -> i32 {
    xact::command_id() as i32
}

/// A statement on the relation starts.
pub fn open(relation: pg_sys::Oid, operation: Operation) {
    let mut stack = OPEN.borrow_mut();
    while stack.last().is_some_and(|stamp| !stamp.is_open()) {
        stack.pop();
    }
    stack.push(Stamp {
        relation,
        operation,
        statement: current(),
        transaction: xact::local_transaction_id(),
        subtransaction: xact::subtransaction_id(),
    });
}

/// The statement on the relation ends: its order. Without a stamp (a trigger that someone removed) the current command's.
pub fn close(relation: pg_sys::Oid, operation: Operation) -> i32 {
    let mut stack = OPEN.borrow_mut();
    let found = stack.iter().rposition(|stamp| {
        stamp.relation == relation && stamp.operation == operation && stamp.is_open()
    });
    found.map_or_else(current, |place| stack.remove(place).statement)
}

/// The order of the innermost open statement of this kind on any of these relations.
pub fn innermost_open(
    relations: impl Fn(pg_sys::Oid) -> bool,
    operation: Operation,
) -> Option<i32> {
    let stack = OPEN.borrow();
    stack
        .iter()
        .rev()
        .find(|stamp| stamp.operation == operation && relations(stamp.relation) && stamp.is_open())
        .map(|stamp| stamp.statement)
}
