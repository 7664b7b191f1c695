//! Session settings pinned while values are printed, so that an image does not depend on who writes it.

use super::unwinding;
use pgrx::pg_sys;
use std::marker::PhantomData;

/// While it lives: `TimeZone` UTC, `DateStyle` ISO, `IntervalStyle` postgres, `bytea_output` hex, `extra_float_digits` 1.
///
/// These are plain variables of `PostgreSQL` behind their GUCs. Assigning them costs nothing, where a GUC nest level costs
/// about 5 µs; `Drop` puts the session's values back, on the way out of an ERROR too.
pub struct Pinned {
    timezone: *mut pg_sys::pg_tz,
    date_style: i32,
    interval_style: i32,
    float_digits: i32,
    bytea: i32,
    guc_level: Option<i32>,
    /// Not to be sent to another thread.
    _backend: PhantomData<*const ()>,
}

impl Pinned {
    /// Pins the settings; `also_names` pins `search_path` (empty), `lc_monetary` (C) and
    /// `quote_all_identifiers` (off) too, by a GUC nest level.
    pub fn new(also_names: bool) -> Self {
        // SAFETY: these variables belong to this backend's one thread and are read by output functions alone; none of
        // those keeps anything derived from them. pg_tzset caches, so UTC is loaded once.
        unsafe {
            let pinned = Self {
                timezone: pg_sys::session_timezone,
                date_style: pg_sys::DateStyle,
                interval_style: pg_sys::IntervalStyle,
                float_digits: pg_sys::extra_float_digits,
                bytea: super::ffi::bytea_output,
                guc_level: also_names.then(pin_names),
                _backend: PhantomData,
            };
            pg_sys::session_timezone = pg_sys::pg_tzset(c"UTC".as_ptr());
            pg_sys::DateStyle = pg_sys::USE_ISO_DATES as i32;
            pg_sys::IntervalStyle = pg_sys::INTSTYLE_POSTGRES as i32;
            pg_sys::extra_float_digits = 1;
            super::ffi::bytea_output = 1;
            pinned
        }
    }
}

fn pin_names() -> i32 {
    // SAFETY: a nest level of our own, closed in Drop or by the (sub)transaction's abort.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    super::guc::save(c"search_path", c"");
    super::guc::save(c"lc_monetary", c"C");
    super::guc::save(c"quote_all_identifiers", c"off");
    level
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: puts back what `new` read.
        unsafe {
            pg_sys::session_timezone = self.timezone;
            pg_sys::DateStyle = self.date_style;
            pg_sys::IntervalStyle = self.interval_style;
            pg_sys::extra_float_digits = self.float_digits;
            super::ffi::bytea_output = self.bytea;
            if let (Some(level), false) = (self.guc_level, unwinding()) {
                pg_sys::AtEOXact_GUC(false, level);
            }
        }
    }
}
