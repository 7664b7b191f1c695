//! Queries of our own that see what is committed now, whatever the transaction's isolation.
//!
//! A REPEATABLE READ transaction's snapshot may be older than an attach by another session, while the DDL that it runs acts on
//! the catalogs as they are now. What decides about triggers has to be as new as the catalogs: each query here gets a snapshot
//! of its own (`SPI_execute_snapshot`, as foreign-key checks do it: `src/backend/utils/adt/ri_triggers.c`).
//!
//! `PostgreSQL` pushes and pops that snapshot; ours is the SPI connection alone.

use super::datum::cstring_bytes;
use super::unwinding;
use crate::error::{AttestError, Result, SqlState};
use pgrx::pg_sys;
use std::ffi::CString;

/// An argument: `$1`, `$2`, …
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    Oid(pg_sys::Oid),
    Text(&'a str),
}

/// Ids as an argument: an array's text.
pub fn array(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("{{{}}}", ids.join(","))
}

/// A row, each column in its type's text form.
pub type Cells = Vec<Option<String>>;

/// All rows of a SELECT. What the running command itself wrote shows once the command counter was incremented.
pub fn rows(sql: &str, args: &[Arg<'_>]) -> Result<Vec<Cells>> {
    let connection = Connection::open()?;
    connection.execute(sql, args, true)?;
    Ok(connection.result())
}

/// Runs a statement that writes; what it wrote is visible to what follows.
pub fn run(sql: &str, args: &[Arg<'_>]) -> Result<()> {
    Connection::open()?.execute(sql, args, false)
}

/// The same; how many rows it wrote.
pub fn count(sql: &str, args: &[Arg<'_>]) -> Result<u64> {
    let connection = Connection::open()?;
    connection.execute(sql, args, false)?;
    // SAFETY: set by the statement above.
    Ok(unsafe { pg_sys::SPI_processed })
}

/// An SPI connection. While an ERROR unwinds, the (sub)transaction's abort closes it.
struct Connection(());

impl Connection {
    fn open() -> Result<Self> {
        // SAFETY: inside a transaction; closed in Drop.
        let code = unsafe { pg_sys::SPI_connect() };
        if code == pg_sys::SPI_OK_CONNECT.cast_signed() {
            Ok(Self(()))
        } else {
            Err(failed("SPI_connect", code))
        }
    }

    #[allow(clippy::unused_self)] // the proof that we are connected
    fn execute(&self, sql: &str, args: &[Arg<'_>], read_only: bool) -> Result<()> {
        let sql = CString::new(sql).map_err(|_| {
            AttestError::new(
                SqlState::ERRCODE_INTERNAL_ERROR,
                "a query of pg_attest's own holds a NUL byte",
            )
        })?;
        let mut types = Vec::with_capacity(args.len());
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            let (type_oid, value) = match arg {
                Arg::Oid(oid) => (pg_sys::OIDOID, pg_sys::Datum::from(*oid)),
                Arg::Text(text) => {
                    // SAFETY: copies `len` bytes into the connection's own context.
                    let copy = unsafe {
                        pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32)
                    };
                    (pg_sys::TEXTOID, pg_sys::Datum::from(copy))
                }
            };
            types.push(type_oid);
            values.push(value);
        }
        // SAFETY: connected; types and values have one entry per argument, none is NULL. The latest snapshot is pushed, hence
        // copied, before anything else runs.
        let (plan, code) = unsafe {
            let plan = pg_sys::SPI_prepare(sql.as_ptr(), args.len() as i32, types.as_mut_ptr());
            if plan.is_null() {
                (plan, pg_sys::SPI_result)
            } else {
                let code = pg_sys::SPI_execute_snapshot(
                    plan,
                    values.as_mut_ptr(),
                    std::ptr::null(),
                    pg_sys::GetLatestSnapshot(),
                    std::ptr::null_mut(),
                    read_only,
                    true,
                    0,
                );
                (plan, code)
            }
        };
        if plan.is_null() || code < 0 {
            return Err(failed("SPI", code));
        }
        Ok(())
    }

    /// What the last SELECT found.
    #[allow(clippy::unused_self)] // the proof that we are connected
    fn result(&self) -> Vec<Cells> {
        // SAFETY: after a SELECT, SPI_tuptable holds SPI_processed rows until the connection is closed; SPI_getvalue returns
        // NULL or a palloc'd string, and counts columns from 1.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            if table.is_null() {
                return Vec::new();
            }
            let descriptor = (*table).tupdesc;
            let count = pg_sys::SPI_processed as usize;
            (0..count)
                .map(|row| {
                    let tuple = *(*table).vals.add(row);
                    (1..=(*descriptor).natts)
                        .map(|column| {
                            let text = pg_sys::SPI_getvalue(tuple, descriptor, column);
                            (!text.is_null())
                                .then(|| String::from_utf8_lossy(cstring_bytes(text)).into_owned())
                        })
                        .collect()
                })
                .collect()
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: connected by us, closed once.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

fn failed(what: &str, code: i32) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_INTERNAL_ERROR,
        format!("internal query failed: {what} returned {code}"),
    )
}
