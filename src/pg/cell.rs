//! State of this backend. A `PostgreSQL` backend has one thread; what is shared with callbacks is a `Cell`.

use std::cell::{Cell, OnceCell, RefCell};

/// A value of this backend, reachable from its one thread only.
pub struct Backend<T>(T);

// SAFETY: a PostgreSQL backend runs SQL, triggers and callbacks in one thread, and pgrx panics when a
// binding is called from another; a `Backend` therefore never sees two threads.
unsafe impl<T> Sync for Backend<T> {}

impl<T> Backend<Cell<T>> {
    pub const fn cell(value: T) -> Self {
        Self(Cell::new(value))
    }
}

impl<T> Backend<RefCell<T>> {
    pub const fn refcell(value: T) -> Self {
        Self(RefCell::new(value))
    }
}

impl<T> Backend<OnceCell<T>> {
    pub const fn once() -> Self {
        Self(OnceCell::new())
    }
}

impl<T> std::ops::Deref for Backend<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
