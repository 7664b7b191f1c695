//! What a long command is at, for `pg_stat_activity`.

use pgrx::pg_sys;
use std::ffi::CString;

/// Shows a text as the session's query, until the next command.
pub fn show(text: &str) {
    if let Ok(text) = CString::new(text) {
        // SAFETY: a C string, which is copied.
        unsafe {
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr());
        }
    }
}
