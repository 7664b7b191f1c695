//! Times (microseconds since 2000-01-01) as PostgreSQL's own functions print and compute them. The functions are called by their
//! OIDs, which the server knows as built in: what `pg_proc` says of them meanwhile does not matter.

use super::datum::cstring_bytes;
use pgrx::pg_sys;
use std::ffi::CStr;

/// When the client's running statement began.
pub fn statement_start() -> i64 {
    // SAFETY: reads a variable of this backend.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// As JSON prints it, in the session's time zone; `infinity` and `-infinity`, too.
pub fn to_json(micros: i64) -> String {
    // MAXDATELEN is 128: src/include/utils/datetime.h
    let mut buffer = [0; 129];
    // SAFETY: the buffer is as long as the longest time, with its end.
    unsafe {
        pg_sys::JsonEncodeDateTime(
            buffer.as_mut_ptr(),
            pg_sys::Datum::from(micros),
            pg_sys::TIMESTAMPTZOID,
            std::ptr::null(),
        );
        String::from_utf8_lossy(cstring_bytes(buffer.as_ptr())).into_owned()
    }
}

/// `micros - keep` in UTC, in which days and months are the same for every session; what is no interval is an ERROR.
pub fn minus(micros: i64, keep: &CStr) -> i64 {
    // SAFETY: a C string, no type modifier; interval_in returns a palloc'd interval, timestamp_mi_interval a value.
    unsafe {
        let interval = pg_sys::OidFunctionCall3Coll(
            pg_sys::Oid::from(pg_sys::F_INTERVAL_IN),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(keep.as_ptr()),
            pg_sys::Datum::from(pg_sys::InvalidOid),
            pg_sys::Datum::from(-1_i32),
        );
        let before = pg_sys::OidFunctionCall2Coll(
            pg_sys::Oid::from(pg_sys::F_TIMESTAMP_MI_INTERVAL),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(micros),
            interval,
        );
        before.value() as i64
    }
}
