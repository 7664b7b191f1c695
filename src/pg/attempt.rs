//! Work that may fail alone: in a subtransaction of its own, as PL/pgSQL's EXCEPTION blocks are
//! (`exec_stmt_block`, `src/pl/plpgsql/src/pl_exec.c`).

use crate::error::{AttestError, Result, SqlState};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_sys};
use std::panic::AssertUnwindSafe;

/// Does the work. Where it fails, nothing of it stays, and the transaction goes on.
///
/// # Errors
/// What the work returned or raised; but a cancel, which is meant for the whole statement, and a bug of our own are raised on.
pub fn attempt<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    let inner = Subtransaction::begin();
    let done = PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
        .catch_others(|caught| Err(Box::new(caught)))
        .catch_rust_panic(|caught| Err(Box::new(caught)))
        .execute();
    match done {
        Ok(Ok(result)) => {
            inner.release();
            Ok(result)
        }
        Ok(Err(error)) => {
            inner.roll_back();
            Err(error)
        }
        Err(caught) => {
            inner.roll_back();
            match &*caught {
                CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
                    if report.sql_error_code() != SqlState::ERRCODE_QUERY_CANCELED =>
                {
                    Err(AttestError::of_report(report))
                }
                _ => caught.rethrow(),
            }
        }
    }
}

/// An open subtransaction, and what was current before it.
struct Subtransaction {
    context: pg_sys::MemoryContext,
    owner: pg_sys::ResourceOwner,
}

impl Subtransaction {
    fn begin() -> Self {
        // SAFETY: inside a transaction. The memory context stays what it was, so that results outlive the subtransaction.
        unsafe {
            let before = Self {
                context: pg_sys::CurrentMemoryContext,
                owner: pg_sys::CurrentResourceOwner,
            };
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            pg_sys::MemoryContextSwitchTo(before.context);
            before
        }
    }

    fn release(self) {
        // SAFETY: begun by us; whatever began within it has ended.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        self.restore();
    }

    fn roll_back(self) {
        // SAFETY: begun by us; an abort ends whatever began within it.
        unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
        self.restore();
    }

    fn restore(self) {
        // SAFETY: both belong to the outer transaction, which goes on.
        unsafe {
            pg_sys::MemoryContextSwitchTo(self.context);
            pg_sys::CurrentResourceOwner = self.owner;
        }
    }
}
