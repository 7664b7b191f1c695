//! One column of a captured table: reads its value from a row, in the form that JSON wants.
//!
//! The mapping of types follows `json_categorize_type` (`src/backend/utils/adt/jsonfuncs.c`, `jsonb.c` before 17): what it prints
//! by the type's output function, so do we; what it nests, `PostgreSQL`'s own `to_jsonb` builds.

use super::datum::{cstring_bytes, same_image, varlena_bytes};
use super::generated_column::GeneratedColumn;
use super::json_type::{Reader, reader_of};
use super::memory::Context;
use super::relation::RelationRef;
use super::slot::Row;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder};
use std::ffi::CStr;
use std::ptr;

/// A value as JSON sees it. Slices live as long as the row and the memory context it was read in.
pub enum Value<'a> {
    Bool(bool),
    Int(i64),
    /// The digits of a `numeric`, without its varlena header.
    Numeric(&'a [u8]),
    /// Text in the server's encoding.
    Text(&'a [u8]),
    /// Printed as `\x` and hex digits.
    Bytea(&'a [u8]),
    /// A `jsonb`, without its varlena header.
    Jsonb(&'a [u8]),
    /// What JSONB cannot hold: the value's own bytes.
    Unrepresentable(&'a [u8]),
}

/// A column of a captured table.
pub struct Column {
    index: usize,
    name: Box<[u8]>,
    type_oid: pg_sys::Oid,
    base_type: pg_sys::Oid,
    typlen: i16,
    typbyval: bool,
    reader: Reader,
    output: pg_sys::FmgrInfo,
    to_jsonb: Option<pg_sys::FmgrInfo>,
    generated: Option<GeneratedColumn>,
}

impl Column {
    /// The relation's columns, dropped ones left out. What they allocate lives in `home`, which must live as long.
    pub fn all_of(relation: RelationRef<'_>, home: &Context) -> Vec<Self> {
        (0..relation.attribute_count())
            .filter_map(|index| Self::of_relation(relation.raw(), index, home))
            .collect()
    }

    fn of_relation(relation: pg_sys::Relation, index: usize, home: &Context) -> Option<Self> {
        let _in_home = home.enter();
        // SAFETY: `relation` is open, and `index` below its number of attributes. The FmgrInfos allocate in `home`,
        // which the table plan keeps as long as its columns.
        unsafe {
            let attribute = super::relation::attribute((*relation).rd_att, index);
            if (*attribute).attisdropped {
                return None;
            }
            let name = CStr::from_ptr((*attribute).attname.data.as_ptr())
                .to_bytes()
                .into();
            let type_oid = (*attribute).atttypid;
            let base_type = pg_sys::getBaseType(type_oid);
            let reader = reader_of(base_type);
            let mut function = pg_sys::InvalidOid;
            let mut is_varlena = false;
            pg_sys::getTypeOutputInfo(base_type, &raw mut function, &raw mut is_varlena);
            let mut output = pg_sys::FmgrInfo::default();
            pg_sys::fmgr_info_cxt(function, &raw mut output, home.raw());
            let to_jsonb = (reader == Reader::ToJsonb).then(|| to_jsonb_of(base_type, home));
            Some(Self {
                index,
                name,
                type_oid,
                base_type,
                typlen: (*attribute).attlen,
                typbyval: (*attribute).attbyval,
                reader,
                output,
                to_jsonb,
                generated: GeneratedColumn::of(relation, index),
            })
        }
    }

    /// Zero-based position in the table.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The column's name, in the server's encoding.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The name of the column's type as the catalog has it, with its schema unless that is `pg_catalog`; no setting of the
    /// session changes it.
    pub fn type_name(&self) -> String {
        super::catalog::type_name(self.type_oid)
    }

    /// Whether printing its values depends on `lc_monetary` or `search_path`, which are dear to pin.
    pub fn depends_on_session(&self) -> bool {
        // Built-in types other than money and the reg* aliases print the same under the cheap pins alone.
        const NAMED: &[pg_sys::Oid] = &[
            pg_sys::MONEYOID,
            pg_sys::REGPROCOID,
            pg_sys::REGPROCEDUREOID,
            pg_sys::REGOPEROID,
            pg_sys::REGOPERATOROID,
            pg_sys::REGCLASSOID,
            pg_sys::REGCOLLATIONOID,
            pg_sys::REGTYPEOID,
            pg_sys::REGROLEOID,
            pg_sys::REGNAMESPACEOID,
            pg_sys::REGCONFIGOID,
            pg_sys::REGDICTIONARYOID,
        ];
        let builtin =
            |oid: pg_sys::Oid| oid.to_u32() < pg_sys::FirstNormalObjectId && !NAMED.contains(&oid);
        match self.reader {
            Reader::ToJsonb => {
                // SAFETY: catalog look-up by OID.
                let element = unsafe { pg_sys::get_element_type(self.base_type) };
                element == pg_sys::InvalidOid || !builtin(element)
            }
            Reader::Output => !builtin(self.base_type),
            _ => false,
        }
    }

    fn datum(&self, row: Row<'_>) -> Option<pg_sys::Datum> {
        match &self.generated {
            Some(generated) => generated.value(row),
            None => row.get(self.index),
        }
    }

    /// The value as JSON sees it, None for SQL NULL.
    pub fn value<'a>(&self, row: Row<'a>) -> Option<Value<'a>> {
        let datum = self.datum(row)?;
        // SAFETY: the datum is a non-null value of this column's type; what is palloc'd lives in the current context,
        // which the caller resets only after the row is done with.
        Some(unsafe {
            match self.reader {
                Reader::Bool => Value::Bool(datum.value() & 0xff != 0),
                // DatumGetInt16 and its like
                Reader::Int2 => Value::Int(i64::from(datum.value() as i16)),
                Reader::Int4 => Value::Int(i64::from(datum.value() as i32)),
                Reader::Int8 => Value::Int(datum.value() as i64),
                Reader::Float => float_value(self.print(datum)),
                Reader::Numeric => numeric_value(varlena_bytes(datum)),
                Reader::Text => Value::Text(varlena_bytes(datum)),
                Reader::Name => {
                    Value::Text(cstring_bytes(datum.cast_mut_ptr::<std::ffi::c_char>()))
                }
                Reader::Bytea => Value::Bytea(varlena_bytes(datum)),
                Reader::DateTime => {
                    // MAXDATELEN is 128: src/include/utils/datetime.h
                    let buffer = pg_sys::palloc(129).cast::<std::ffi::c_char>();
                    pg_sys::JsonEncodeDateTime(buffer, datum, self.base_type, ptr::null());
                    Value::Text(cstring_bytes(buffer))
                }
                Reader::Jsonb => Value::Jsonb(varlena_bytes(datum)),
                Reader::Json => Self::json_value(datum),
                Reader::Output => Value::Text(self.print(datum)),
                Reader::ToJsonb => self.nested_value(datum),
            }
        })
    }

    /// The value as its type prints it, None for SQL NULL.
    pub fn text<'a>(&self, row: Row<'a>) -> Option<&'a [u8]> {
        let datum = self.datum(row)?;
        // SAFETY: as in `value`.
        Some(unsafe {
            match self.reader {
                Reader::Text => varlena_bytes(datum),
                _ => self.print(datum),
            }
        })
    }

    /// Whether the column holds the same in both rows, byte for byte.
    pub fn is_same(&self, old: Row<'_>, new: Row<'_>) -> bool {
        match (self.datum(old), self.datum(new)) {
            (None, None) => true,
            // SAFETY: both are non-null values of this column's type.
            (Some(a), Some(b)) => unsafe { same_image(a, b, self.typlen, self.typbyval) },
            _ => false,
        }
    }

    /// # Safety
    /// `datum` is a non-null value of this column's type.
    unsafe fn print<'a>(&self, datum: pg_sys::Datum) -> &'a [u8] {
        // SAFETY: the FmgrInfo belongs to the type's output function; OutputFunctionCall changes only its fn_extra cache.
        unsafe {
            cstring_bytes(pg_sys::OutputFunctionCall(
                (&raw const self.output).cast_mut(),
                datum,
            ))
        }
    }

    /// # Safety
    /// `datum` is a non-null `json`.
    unsafe fn json_value<'a>(datum: pg_sys::Datum) -> Value<'a> {
        // SAFETY: by the caller. jsonb_in only parses.
        unsafe {
            let text = varlena_bytes(datum);
            or_unrepresentable(text, || {
                let cstring =
                    pg_sys::text_to_cstring(pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr()));
                pg_sys::OidFunctionCall1Coll(
                    pg_sys::F_JSONB_IN.into(),
                    pg_sys::InvalidOid,
                    pg_sys::Datum::from(cstring),
                )
            })
        }
    }

    /// # Safety
    /// `datum` is a non-null value of this column's type.
    unsafe fn nested_value<'a>(&self, datum: pg_sys::Datum) -> Value<'a> {
        let Some(function) = &self.to_jsonb else {
            // SAFETY: by the caller. Not reached: a ToJsonb column is made with its function.
            return Value::Text(unsafe { self.print(datum) });
        };
        // SAFETY: by the caller; arrays and composites are varlena, other types with a cast to json may be fixed-length.
        unsafe {
            let own = if self.typlen == -1 {
                varlena_bytes(datum)
            } else {
                self.print(datum)
            };
            let function = std::ptr::from_ref(function).cast_mut();
            or_unrepresentable(own, || {
                pg_sys::FunctionCall1Coll(function, pg_sys::InvalidOid, datum)
            })
        }
    }
}

/// `float8out` prints shortest digits; JSON takes them as a numeric, except what is no number.
fn float_value(printed: &[u8]) -> Value<'_> {
    if printed.iter().any(|byte| *byte == b'N' || *byte == b'n') {
        return Value::Text(printed);
    }
    // SAFETY: `printed` is NUL-terminated right behind the slice, as it came from a C string; numeric_in only parses.
    unsafe {
        let numeric = pg_sys::OidFunctionCall3Coll(
            pg_sys::F_NUMERIC_IN.into(),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(printed.as_ptr()),
            pg_sys::Datum::from(pg_sys::InvalidOid),
            pg_sys::Datum::from(-1i32),
        );
        Value::Numeric(varlena_bytes(numeric))
    }
}

/// NaN and the infinities are strings in JSON. Header bits: `src/backend/utils/adt/numeric.c`.
fn numeric_value(digits: &[u8]) -> Value<'_> {
    match u16::from_le_bytes([digits[0], digits[1]]) & 0xF000 {
        0xC000 => Value::Text(b"NaN"),
        0xD000 => Value::Text(b"Infinity"),
        0xF000 => Value::Text(b"-Infinity"),
        _ => Value::Numeric(digits),
    }
}

/// Runs a conversion to jsonb; a value that JSONB cannot hold comes back as its own bytes.
///
/// Catching without a subtransaction is sound because the conversions only parse and print: they take no lock, pin no
/// buffer and run no user code, so there is nothing to roll back. Anything but a complaint about
/// the data itself (cancel, out of memory, …) is raised on.
fn or_unrepresentable(own: &[u8], convert: impl Fn() -> pg_sys::Datum) -> Value<'_> {
    let convert = std::panic::AssertUnwindSafe(convert);
    let attempt = PgTryBuilder::new(move || Some(convert())).catch_others(|caught| match &caught {
        CaughtError::PostgresError(report) if is_about_the_data(report.sql_error_code()) => None,
        _ => caught.rethrow(),
    });
    match attempt.execute() {
        // SAFETY: the conversion returned a jsonb in the current memory context.
        Some(jsonb) => Value::Jsonb(unsafe { varlena_bytes(jsonb) }),
        None => Value::Unrepresentable(own),
    }
}

/// The errors with which jsonb's parser and printers refuse a value.
fn is_about_the_data(state: PgSqlErrorCode) -> bool {
    matches!(
        state,
        PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER
            | PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION
            | PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
            | PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            | PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX
            | PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE
    )
}

/// A call of `to_jsonb` for values of one type: it reads its argument's type from the call expression.
///
/// # Safety
/// `type_oid` is a type's OID.
unsafe fn to_jsonb_of(type_oid: pg_sys::Oid, home: &Context) -> pg_sys::FmgrInfo {
    let mut info = pg_sys::FmgrInfo::default();
    // SAFETY: nodes are allocated in `home`, the current context here, which lives as long as the FmgrInfo.
    unsafe {
        pg_sys::fmgr_info_cxt(
            pg_sys::Oid::from(pg_sys::F_TO_JSONB),
            &raw mut info,
            home.raw(),
        );
        let argument =
            pg_sys::makeNullConst(type_oid, -1, pg_sys::InvalidOid).cast::<pg_sys::Node>();
        info.fn_expr = pg_sys::makeFuncExpr(
            pg_sys::Oid::from(pg_sys::F_TO_JSONB),
            pg_sys::JSONBOID,
            pg_sys::lappend(ptr::null_mut(), argument.cast()),
            pg_sys::InvalidOid,
            pg_sys::InvalidOid,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        )
        .cast();
    }
    info
}

/// A JSON text as a whole `jsonb` value, header included; None when JSONB cannot hold it.
pub fn jsonb_from_json(json: &str) -> Option<Vec<u8>> {
    let text = std::ffi::CString::new(json).ok()?;
    // SAFETY: jsonb_in only parses.
    let value = or_unrepresentable(&[], || unsafe {
        pg_sys::OidFunctionCall1Coll(
            pg_sys::F_JSONB_IN.into(),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(text.as_ptr()),
        )
    });
    match value {
        Value::Jsonb(container) => {
            let mut bytes = vec![0; super::datum::HEADER];
            bytes.extend_from_slice(container);
            let total = bytes.len();
            super::datum::set_varsize(&mut bytes, total);
            Some(bytes)
        }
        _ => None,
    }
}
