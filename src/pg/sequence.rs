//! What is known of a sequence, without taking a value from it.

use pgrx::pg_sys;

/// The highest value that a sequence has handed out, to the end of its last block: `increment - 1` beyond its last value. 0
/// before the first one.
pub fn last_handed_out(sequence: pg_sys::Oid) -> i64 {
    // SAFETY: reads the sequence's row under its buffer's lock, as it is now; NULL before the first value.
    let last: Option<i64> = unsafe {
        pgrx::direct_function_call(
            pg_sys::pg_sequence_last_value,
            &[Some(pg_sys::Datum::from(sequence))],
        )
    };
    last.map_or(0, |last| last.saturating_add(steps(sequence).increment - 1))
}

/// How a sequence counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    pub increment: i64,
    /// So many values are taken at once, and kept by the session (`CACHE`).
    pub cache: i64,
}

/// How the sequence counts; as CREATE SEQUENCE has it where there is none.
pub fn steps(sequence: pg_sys::Oid) -> Steps {
    /// `src/include/catalog/pg_sequence.h`
    const INCREMENT: pg_sys::AttrNumber = 4;
    const CACHE: pg_sys::AttrNumber = 7;
    let cache = pg_sys::SysCacheIdentifier::SEQRELID as i32;
    // SAFETY: a syscache tuple is valid until it is released; both columns are bigints that are never null.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(sequence));
        if tuple.is_null() {
            return Steps {
                increment: 1,
                cache: 1,
            };
        }
        let column = |number| {
            let mut is_null = false;
            let value = pg_sys::SysCacheGetAttr(cache, tuple, number, &raw mut is_null).value();
            value.cast_signed() as i64
        };
        let steps = Steps {
            increment: column(INCREMENT),
            cache: column(CACHE),
        };
        pg_sys::ReleaseSysCache(tuple);
        steps
    }
}
