//! Transition tables: the executor's own tuplestores of OLD and NEW rows.

use super::slot::Slot;
use pgrx::pg_sys;

/// A cursor of our own over a transition table.
pub struct TransitionTable {
    store: *mut pg_sys::Tuplestorestate,
    pointer: i32,
}

impl TransitionTable {
    /// `store` comes from `TriggerData` and outlives the trigger call.
    pub(in crate::pg) fn new(store: *mut pg_sys::Tuplestorestate) -> Self {
        // SAFETY: the executor keeps the store until after the trigger call. A read pointer of our own leaves the
        // positions of other triggers on the same table alone; REWIND lets us start at the first row.
        let pointer = unsafe {
            let pointer =
                pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            pointer
        };
        Self { store, pointer }
    }

    /// How many rows it holds.
    pub fn len(&self) -> i64 {
        // SAFETY: live store.
        unsafe { pg_sys::tuplestore_tuple_count(self.store) }
    }

    /// Starts again at the first row.
    pub fn rewind(&mut self) {
        // SAFETY: live store; the pointer was allocated with REWIND.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            pg_sys::tuplestore_rescan(self.store);
        }
    }

    /// Moves the next row into the slot; false at the end.
    ///
    /// A store that has spilled to disk allocates the row in the current memory context, and the slot frees it at its next
    /// use: call this in a context that outlives the slot's use.
    pub fn next_into(&mut self, slot: &mut Slot) -> bool {
        // SAFETY: live store and slot; the slot is a minimal-tuple slot of this table's row type.
        let found = unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            pg_sys::tuplestore_gettupleslot(self.store, true, false, slot.raw())
        };
        if found {
            slot.deform();
        }
        found
    }
}
