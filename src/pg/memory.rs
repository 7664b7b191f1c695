//! Memory contexts.

use super::unwinding;
use pgrx::pg_sys;

/// A memory context of our own, deleted with the value.
pub struct Context {
    raw: pg_sys::MemoryContext,
}

impl Context {
    /// A context that lives until dropped, across transactions: a child of `TopMemoryContext`.
    pub fn long_lived(name: &'static std::ffi::CStr) -> Self {
        // SAFETY: TopMemoryContext exists from backend start to exit.
        Self::child_of(unsafe { pg_sys::TopMemoryContext }, name)
    }

    /// A context below the current one.
    pub fn short_lived(name: &'static std::ffi::CStr) -> Self {
        // SAFETY: CurrentMemoryContext is always valid while SQL runs.
        Self::child_of(unsafe { pg_sys::CurrentMemoryContext }, name)
    }

    fn child_of(parent: pg_sys::MemoryContext, name: &'static std::ffi::CStr) -> Self {
        // SAFETY: `parent` is a live context; `name` is static, as AllocSetContextCreate demands. The sizes are
        // ALLOCSET_DEFAULT_SIZES, for which PostgreSQL keeps a free list: creation costs about 50 ns.
        let raw = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                parent,
                name.as_ptr(),
                0,
                8 * 1024,
                8 * 1024 * 1024,
            )
        };
        Self { raw }
    }

    /// Runs `f` with this context as the current one.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let _restore = self.enter();
        f()
    }

    /// Makes this context the current one until the guard goes.
    pub fn enter(&self) -> Entered<'_> {
        // SAFETY: `self.raw` is live as long as `self`, which the guard borrows.
        let previous = unsafe { pg_sys::MemoryContextSwitchTo(self.raw) };
        Entered {
            previous,
            _context: std::marker::PhantomData,
        }
    }

    /// Frees everything allocated in it. Callers keep no pointer into it across this call.
    pub fn reset(&mut self) {
        // SAFETY: live context; `&mut self` excludes an `Entered` guard.
        unsafe { pg_sys::MemoryContextReset(self.raw) }
    }

    pub(in crate::pg) fn raw(&self) -> pg_sys::MemoryContext {
        self.raw
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // While an error unwinds, a short-lived context goes with its parent; a long-lived one is never dropped then.
        if !unwinding() {
            // SAFETY: created by us, deleted once.
            unsafe { pg_sys::MemoryContextDelete(self.raw) }
        }
    }
}

/// The rows of a scan share a context for what is detoasted and printed of them.
pub struct Batch {
    context: Context,
    rows: u32,
}

impl Batch {
    pub fn new(name: &'static std::ffi::CStr) -> Self {
        Self {
            context: Context::short_lived(name),
            rows: 0,
        }
    }

    /// Runs `f`, which reads the next row. Now and then what earlier rows took is freed before.
    pub fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        const ROWS_PER_RESET: u32 = 64;
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_PER_RESET) {
            self.context.reset();
        }
        self.context.run(f)
    }
}

/// Restores the previous current context.
pub struct Entered<'a> {
    previous: pg_sys::MemoryContext,
    _context: std::marker::PhantomData<&'a Context>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: contexts nest; the previous one outlives this guard.
            unsafe { pg_sys::MemoryContextSwitchTo(self.previous) };
        }
    }
}
