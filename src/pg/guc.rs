//! Changing settings from code.

use super::context_source::to_utf8;
use super::datum::cstring_bytes;
use pgrx::guc::GucSetting;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::sync::OnceLock;

/// Keeps others from inventing settings under our prefix: a mistyped name is then an error, not a silent no-op.
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: a static C string.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) }
}

/// A text setting's present value, as UTF-8; copied once, where `get` copies it into a C string first.
pub fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    // SAFETY: the variable of a text setting is NULL or a C string that lives until the setting is changed; a backend has one
    // thread, and the copy is made at once.
    unsafe {
        let value = *setting.as_ptr();
        (!value.is_null()).then(|| to_utf8(cstring_bytes(value)))
    }
}

/// Whether `PostgreSQL` was built with assertions: the setting `debug_assertions`, which never changes.
pub fn has_assertions() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        // SAFETY: a C string; NULL or a C string comes back, which is compared at once.
        unsafe {
            let value = pg_sys::GetConfigOption(c"debug_assertions".as_ptr(), true, false);
            !value.is_null() && cstring_bytes(value) == b"on"
        }
    })
}

/// Sets a setting as the session's user would: until the transaction ends, or the session.
pub fn set(name: &CStr, value: &CStr, is_local: bool) {
    assign(
        name,
        value,
        if is_local {
            pg_sys::GucAction::GUC_ACTION_LOCAL
        } else {
            pg_sys::GucAction::GUC_ACTION_SET
        },
    );
}

/// Sets a setting until the role that we act as ends.
pub fn set_for_now(name: &CStr, value: &CStr) {
    save(name, value);
}

/// Sets a setting until the innermost GUC nest level is closed.
pub fn save(name: &CStr, value: &CStr) {
    assign(name, value, pg_sys::GucAction::GUC_ACTION_SAVE);
}

fn assign(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    // SAFETY: valid C strings; set_config_option copies them and raises what the setting refuses.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}
