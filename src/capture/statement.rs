//! The order of statements: stamps put down before a statement and taken up after it.
//!
//! Invariant: an entry of the stack belongs to a statement that is still open. Statements that failed leave entries behind; each
//! names its transaction and subtransaction, and those rolled back are skipped.

use crate::pg::cell::Backend;
use crate::pg::trigger::Operation;
use crate::pg::xact;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::HashMap;

/// A statement that has begun.
struct Stamp {
    relation: pg_sys::Oid,
    /// The table that its events are recorded under.
    table: pg_sys::Oid,
    operation: Operation,
    statement: i32,
    transaction: u32,
    subtransaction: u32,
    departures: Departures,
    cascades: Vec<Cascade>,
}

/// A query of a foreign-key action. PostgreSQL runs it at the query level of its cause: all of them on one table share one
/// firing of the statement triggers, and one transition table, in which their rows follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Cascade {
    pub statement: i32,
    pub rows: u64,
}

/// What was known of a statement when it ended.
pub struct Closed {
    pub statement: i32,
    /// What nested statements took away meanwhile.
    pub departures: Departures,
    /// Foreign-key actions that were recorded with it; their rows come last.
    pub cascades: Vec<Cascade>,
}

impl Stamp {
    fn is_open(&self) -> bool {
        self.transaction == xact::local_transaction_id()
            && xact::subtransaction_is_active(self.subtransaction)
    }
}

static OPEN: Backend<RefCell<Vec<Stamp>>> = Backend::refcell(Vec::new());

/// More keys than this are not kept: it is a safeguard for memory, far above what a trigger's own statements touch.
const MAX_DEPARTURES: usize = 100_000;

/// What nested statements took away from a table while an outer statement on it was open: for each key the images that went, in
/// order, and the statements that took them.
///
/// A BEFORE ROW trigger may delete the row that its statement is about to replace. By their starts the outer INSERT comes
/// first, by their effects the nested DELETE does. The images tell: a nested statement that took away the very image that
/// the outer one brought ran after it, any other ran before.
#[derive(Default)]
pub struct Departures(HashMap<Vec<u8>, Vec<(u64, i32)>>);

impl Departures {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The statement after which a row of the outer statement arrived; None when it arrived before all that is noted.
    pub fn preceding(&self, key: &[u8], image: u64) -> Option<i32> {
        let noted = self.0.get(key)?;
        // By statements, not by the order of notes: what is nested deeper is noted first.
        let taken = noted
            .iter()
            .filter(|(taken, _)| *taken == image)
            .map(|(_, statement)| *statement)
            .min();
        noted
            .iter()
            .map(|(_, statement)| *statement)
            .filter(|statement| taken.is_none_or(|taken| *statement < taken))
            .max()
    }
}

/// The running command's id as events carry it. Command ids are unsigned 32-bit; the half that an int has is 2 billion.
pub fn current() -> i32 {
    xact::command_id().cast_signed()
}

/// A statement on the relation starts; its events are recorded under `table`.
pub fn open(relation: pg_sys::Oid, table: pg_sys::Oid, operation: Operation) {
    open_as(relation, table, operation, current());
}

/// The same for a part of a command whose BEFORE STATEMENT trigger did not fire; `statement` is the command's id.
pub fn open_as(relation: pg_sys::Oid, table: pg_sys::Oid, operation: Operation, statement: i32) {
    let mut stack = OPEN.borrow_mut();
    while stack.last().is_some_and(|stamp| !stamp.is_open()) {
        stack.pop();
    }
    stack.push(Stamp {
        relation,
        table,
        operation,
        statement,
        transaction: xact::local_transaction_id(),
        subtransaction: xact::subtransaction_id(),
        departures: Departures::default(),
        cascades: Vec::new(),
    });
}

/// A foreign-key action on the relation has run.
pub fn note_cascade(relation: pg_sys::Oid, operation: Operation, cascade: Cascade) {
    let mut stack = OPEN.borrow_mut();
    let mut open = stack.iter_mut().rev();
    if let Some(stamp) = open
        .find(|stamp| stamp.relation == relation && stamp.operation == operation && stamp.is_open())
    {
        stamp.cascades.push(cascade);
    }
}

/// The statement on the relation ends. Without a stamp (a trigger that someone removed) it gets the current command's order.
pub fn close(relation: pg_sys::Oid, operation: Operation) -> Closed {
    let mut stack = OPEN.borrow_mut();
    let found = stack.iter().rposition(|stamp| {
        stamp.relation == relation && stamp.operation == operation && stamp.is_open()
    });
    match found {
        Some(place) => {
            let Stamp {
                statement,
                departures,
                cascades,
                ..
            } = stack.remove(place);
            Closed {
                statement,
                departures,
                cascades,
            }
        }
        None => Closed {
            statement: current(),
            departures: Departures::default(),
            cascades: Vec::new(),
        },
    }
}

/// Whether any statement that changes rows is open on any of these relations.
pub fn is_open(relations: impl Fn(pg_sys::Oid) -> bool) -> bool {
    OPEN.borrow().iter().any(|stamp| {
        stamp.operation != Operation::Truncate && relations(stamp.relation) && stamp.is_open()
    })
}

/// The order of the innermost open statement of this kind on any of these relations.
pub fn innermost_open(
    relations: impl Fn(pg_sys::Oid) -> bool,
    operation: Operation,
) -> Option<i32> {
    let stack = OPEN.borrow();
    let mut open = stack.iter().rev();
    open.find(|stamp| stamp.operation == operation && relations(stamp.relation) && stamp.is_open())
        .map(|stamp| stamp.statement)
}

/// Whether an open statement may still bring rows to the table: then what is taken from it is noted.
pub fn awaits_rows(table: pg_sys::Oid) -> bool {
    OPEN.borrow().iter().any(|stamp| brings_rows(stamp, table))
}

/// Notes that `statement` took this image of a row away, for all open statements that may bring rows to the table.
pub fn note_departure(table: pg_sys::Oid, key: &[u8], image: u64, statement: i32) {
    for stamp in OPEN
        .borrow_mut()
        .iter_mut()
        .filter(|stamp| brings_rows(stamp, table))
    {
        let noted = &mut stamp.departures.0;
        if noted.len() < MAX_DEPARTURES || noted.contains_key(key) {
            noted
                .entry(key.to_vec())
                .or_default()
                .push((image, statement));
        }
    }
}

fn brings_rows(stamp: &Stamp, table: pg_sys::Oid) -> bool {
    stamp.table == table
        && matches!(stamp.operation, Operation::Insert | Operation::Update)
        && stamp.is_open()
}
