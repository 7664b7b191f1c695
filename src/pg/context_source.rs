//! What the server knows of who is acting.

use super::datum::cstring_bytes;
use pgrx::pg_sys;

/// The session user's OID.
pub fn session_user() -> pg_sys::Oid {
    // SAFETY: set in every session.
    unsafe { pg_sys::GetSessionUserId() }
}

/// The effective role's OID: under SET ROLE, or inside a SECURITY DEFINER function, not the session user.
pub fn current_user() -> pg_sys::Oid {
    // SAFETY: set in every session.
    unsafe { pg_sys::GetUserId() }
}

/// A role's name; its OID as text when it was dropped meanwhile.
pub fn role_name(role: pg_sys::Oid) -> Vec<u8> {
    // SAFETY: with noerr, returns NULL or a palloc'd C string.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            role.to_u32().to_string().into_bytes()
        } else {
            cstring_bytes(name).to_vec()
        }
    }
}

/// The session's `application_name`.
pub fn application_name() -> &'static [u8] {
    // SAFETY: the GUC's variable; NULL only before GUCs are set up. The slice is used at once.
    unsafe {
        let name = pg_sys::application_name;
        if name.is_null() {
            b""
        } else {
            cstring_bytes(name)
        }
    }
}

/// This backend's process id.
pub fn backend_pid() -> i32 {
    // SAFETY: set at backend start.
    unsafe { pg_sys::MyProcPid }
}

/// The statement that the client sent, if one is running.
pub fn client_statement() -> Option<&'static [u8]> {
    // SAFETY: NULL or the string of the statement being run, which outlives it. The slice is used at once.
    unsafe {
        let text = pg_sys::debug_query_string;
        (!text.is_null()).then(|| cstring_bytes(text))
    }
}

/// The name of the session's time zone.
pub fn session_time_zone() -> &'static [u8] {
    // SAFETY: session_timezone is always set; the name is part of the cached zone, which is never freed.
    unsafe { cstring_bytes(pg_sys::pg_get_timezone_name(pg_sys::session_timezone)) }
}

/// The client's address as an `inet` value with its varlena header; None for a local socket or a background process.
pub fn client_address() -> Option<Vec<u8>> {
    let mut result = None;
    // SAFETY: inet_client_addr takes no argument and reads MyProcPort, which is NULL in background processes. It returns SQL
    // NULL by setting isnull, which DirectFunctionCall would turn into an error: hence the call by hand.
    unsafe {
        if pg_sys::MyProcPort.is_null() {
            return None;
        }
        let mut info = pg_sys::FunctionCallInfoBaseData {
            nargs: 0,
            ..Default::default()
        };
        let datum = pg_sys::inet_client_addr(&raw mut info);
        if !info.isnull {
            let value = datum.cast_mut_ptr::<pg_sys::varlena>();
            let size = pgrx::varlena::varsize_any(value);
            result = Some(std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec());
        }
    }
    result
}

/// Fills the buffer with random bytes; false when the system has none.
pub fn random_bytes(buffer: &mut [u8]) -> bool {
    // SAFETY: writes `len` bytes.
    unsafe { pg_sys::pg_strong_random(buffer.as_mut_ptr().cast(), buffer.len()) }
}

/// The database's name for the server's encoding, for reading names as UTF-8.
pub fn to_utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
