//! How PostgreSQL's JSON functions see a type.
//!
//! Follows `json_categorize_type` (`src/backend/utils/adt/jsonfuncs.c`; `jsonb.c` before 17).

use pgrx::pg_sys;

/// How a column's values are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::pg) enum Reader {
    Bool,
    Int2,
    Int4,
    Int8,
    Float,
    Numeric,
    Text,
    Name,
    Bytea,
    DateTime,
    Jsonb,
    Json,
    /// By the type's output function.
    Output,
    /// By `to_jsonb`: arrays, composites, types with a cast to json.
    ToJsonb,
}

/// # Safety
/// `base_type` is a type's OID.
pub(in crate::pg) unsafe fn reader_of(base_type: pg_sys::Oid) -> Reader {
    match base_type {
        pg_sys::BOOLOID => Reader::Bool,
        pg_sys::INT2OID => Reader::Int2,
        pg_sys::INT4OID => Reader::Int4,
        pg_sys::INT8OID => Reader::Int8,
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => Reader::Float,
        pg_sys::NUMERICOID => Reader::Numeric,
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Reader::Text,
        pg_sys::NAMEOID => Reader::Name,
        pg_sys::BYTEAOID => Reader::Bytea,
        pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Reader::DateTime,
        pg_sys::JSONBOID => Reader::Jsonb,
        pg_sys::JSONOID => Reader::Json,
        other => {
            // SAFETY: catalog look-ups by OID.
            unsafe {
                // A cast that is user code is not followed.
                if is_nested(other) || cast_to_json(other) == CastToJson::Compiled {
                    if runs_user_code(other, 0) {
                        Reader::Output
                    } else {
                        Reader::ToJsonb
                    }
                } else {
                    Reader::Output
                }
            }
        }
    }
}

/// Whether `to_jsonb` looks inside the type: arrays and composites.
///
/// # Safety
/// `type_oid` is a type's OID.
unsafe fn is_nested(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by OID.
    unsafe {
        pg_sys::get_element_type(type_oid) != pg_sys::InvalidOid
            || pg_sys::type_is_rowtype(type_oid)
    }
}

/// How `to_jsonb` would convert a type that it does not know.
#[derive(PartialEq, Eq)]
enum CastToJson {
    None,
    Compiled,
    /// Written in SQL or PL/pgSQL: it would run its owner's code with the rights of whoever writes to the table.
    UserCode,
}

/// # Safety
/// `type_oid` is a type's OID.
unsafe fn cast_to_json(type_oid: pg_sys::Oid) -> CastToJson {
    if type_oid.to_u32() < pg_sys::FirstNormalObjectId {
        return CastToJson::None;
    }
    let mut function = pg_sys::InvalidOid;
    // SAFETY: catalog look-ups by OID.
    let path = unsafe {
        pg_sys::find_coercion_pathway(
            pg_sys::JSONOID,
            type_oid,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            &raw mut function,
        )
    };
    if path != pg_sys::CoercionPathType::COERCION_PATH_FUNC {
        CastToJson::None
    } else if super::catalog::is_compiled_function(function) {
        CastToJson::Compiled
    } else {
        CastToJson::UserCode
    }
}

/// Whether `to_jsonb` of this type, or of a type inside it, would run user code: then the column is printed instead.
///
/// # Safety
/// `type_oid` is a type's OID.
unsafe fn runs_user_code(type_oid: pg_sys::Oid, depth: usize) -> bool {
    // SAFETY: catalog look-ups by OID; a rowtype's tuple descriptor is released as lookup_rowtype_tupdesc asks.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        let element = pg_sys::get_element_type(base);
        if element != pg_sys::InvalidOid {
            return runs_user_code(element, depth + 1);
        }
        if pg_sys::type_is_rowtype(base) && base != pg_sys::RECORDOID && depth < 32 {
            // An attribute added later changes the answer.
            super::invalidation::watch(pg_sys::get_typ_typrelid(base));
            let tupdesc = pg_sys::lookup_rowtype_tupdesc_copy(base, -1);
            let inner = (0..(*tupdesc).natts as usize).any(|i| {
                let attribute = super::relation::attribute(tupdesc, i);
                !(*attribute).attisdropped && runs_user_code((*attribute).atttypid, depth + 1)
            });
            pg_sys::FreeTupleDesc(tupdesc);
            return inner;
        }
        cast_to_json(base) == CastToJson::UserCode
    }
}
