//! Texts as PostgreSQL's own functions change them.

use super::datum::varlena_bytes;
use pgrx::pg_sys;

/// `lower(text)` in the database's own collation: what `ILIKE` compares.
pub fn lower(text: &[u8]) -> Vec<u8> {
    // SAFETY: the copy is a text of `len` bytes in the database's encoding; lower() returns a palloc'd text. Both are freed.
    unsafe {
        let copy = pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32);
        let lowered = pg_sys::OidFunctionCall1Coll(
            pg_sys::Oid::from(pg_sys::F_LOWER_TEXT),
            pg_sys::DEFAULT_COLLATION_OID,
            pg_sys::Datum::from(copy),
        );
        let bytes = varlena_bytes(lowered).to_vec();
        pg_sys::pfree(copy.cast());
        pg_sys::pfree(lowered.cast_mut_ptr());
        bytes
    }
}
