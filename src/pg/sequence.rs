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
    last.map_or(0, |last| last.saturating_add(increment(sequence) - 1))
}

fn increment(sequence: pg_sys::Oid) -> i64 {
    /// `src/include/catalog/pg_sequence.h`
    const ANUM_INCREMENT: pg_sys::AttrNumber = 4;
    let cache = pg_sys::SysCacheIdentifier::SEQRELID as i32;
    // SAFETY: a syscache tuple is valid until it is released; seqincrement is a bigint that is never null.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(sequence));
        if tuple.is_null() {
            return 1;
        }
        let mut is_null = false;
        let increment =
            pg_sys::SysCacheGetAttr(cache, tuple, ANUM_INCREMENT, &raw mut is_null).value();
        pg_sys::ReleaseSysCache(tuple);
        (increment.cast_signed() as i64).max(1)
    }
}
