//! Rows of tables whose shape is ours: each column found by name, its type checked once, its values read without further looks.

use super::datum::varlena_bytes;
use super::jsonb_text::{self, Printed};
use super::relation::{RelationRef, attribute};
use super::slot::Row;
use crate::error::{AttestError, Result, SqlState};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder};
use std::ffi::CStr;

/// A column that a table must have.
#[derive(Clone, Copy)]
pub struct Expected {
    pub name: &'static str,
    pub type_oid: pg_sys::Oid,
}

/// `Expected`, in short.
pub const fn column(name: &'static str, type_oid: pg_sys::Oid) -> Expected {
    Expected { name, type_oid }
}

/// Where a table has the expected columns.
pub struct Columns {
    positions: Vec<(usize, pg_sys::Oid)>,
    /// How many attributes a row must be deformed to.
    last: i32,
}

impl Columns {
    /// Finds the columns in an open table. An `expected` type of `InvalidOid` stands for an enum.
    pub fn of(table: RelationRef<'_>, expected: &[Expected]) -> Result<Self> {
        let mut positions = Vec::with_capacity(expected.len());
        for wanted in expected {
            let found = (0..table.attribute_count()).find_map(|index| {
                // SAFETY: open relation, index below its number of attributes.
                unsafe {
                    let attribute = attribute((*table.raw()).rd_att, index);
                    let name = CStr::from_ptr((*attribute).attname.data.as_ptr());
                    (!(*attribute).attisdropped && name.to_bytes() == wanted.name.as_bytes())
                        .then_some((index, (*attribute).atttypid))
                }
            });
            match found {
                Some((index, type_oid))
                    if type_oid == wanted.type_oid || is_enum(wanted.type_oid, type_oid) =>
                {
                    positions.push((index, wanted.type_oid));
                }
                _ => return Err(unexpected(table, wanted.name)),
            }
        }
        let last = positions.iter().map(|(index, _)| *index).max();
        Ok(Self {
            positions,
            last: last.map_or(0, |last| last as i32 + 1),
        })
    }

    /// The arguments of a function whose SQL declaration has these types, in this order.
    pub fn of_arguments(expected: &[Expected]) -> Self {
        let types = expected.iter().map(|column| column.type_oid);
        Self {
            positions: types.enumerate().collect(),
            last: expected.len() as i32,
        }
    }

    /// How many attributes of a row have to be deformed.
    pub(in crate::pg) fn last(&self) -> i32 {
        self.last
    }

    /// The row's values by the expected columns' numbers.
    pub fn read<'a>(&'a self, row: Row<'a>) -> Fields<'a> {
        Fields { row, columns: self }
    }

    fn position(&self, column: usize, of_type: &[pg_sys::Oid]) -> usize {
        let (position, type_oid) = self.positions[column];
        assert!(
            of_type.contains(&type_oid),
            "column {column} is of another type"
        );
        position
    }
}

fn is_enum(wanted: pg_sys::Oid, found: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-up by OID.
    wanted == pg_sys::InvalidOid && unsafe { pg_sys::type_is_enum(found) }
}

fn unexpected(table: RelationRef<'_>, column: &str) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_DATATYPE_MISMATCH,
        format!("audit.{} is not a table that pg_attest made", table.name()),
    )
    .detail(format!(
        "It lacks the column \"{column}\" of the expected type."
    ))
    .hint("Move it out of the way, and let a superuser make the table as the extension's script does.")
}

/// The values of a row. What they borrow lives as long as the row, or the memory context that they were read in.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    row: Row<'a>,
    columns: &'a Columns,
}

impl<'a> Fields<'a> {
    fn datum(&self, column: usize, of_type: &[pg_sys::Oid]) -> Option<pg_sys::Datum> {
        self.row.get(self.columns.position(column, of_type))
    }

    /// A `bigint`, `timestamptz` (microseconds since 2000-01-01) or `xid8`.
    pub fn int8(&self, column: usize) -> Option<i64> {
        let types = [pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::XID8OID];
        self.datum(column, &types)
            .map(|datum| datum.value().cast_signed() as i64)
    }

    /// An `integer`.
    pub fn int4(&self, column: usize) -> Option<i32> {
        self.datum(column, &[pg_sys::INT4OID])
            .map(|datum| datum.value() as i32)
    }

    /// An `oid`, or an enum's.
    pub fn oid(&self, column: usize) -> Option<pg_sys::Oid> {
        self.datum(column, &[pg_sys::OIDOID, pg_sys::InvalidOid])
            .map(|datum| pg_sys::Oid::from(datum.value() as u32))
    }

    /// A `text` or `bytea`, detoasted.
    pub fn bytes(&self, column: usize) -> Option<&'a [u8]> {
        self.datum(column, &[pg_sys::TEXTOID, pg_sys::BYTEAOID])
            // SAFETY: a varlena, by its checked type.
            .map(|datum| unsafe { varlena_bytes(datum) })
    }

    /// A `uuid`.
    pub fn uuid(&self, column: usize) -> Option<&'a [u8; 16]> {
        self.datum(column, &[pg_sys::UUIDOID])
            // SAFETY: 16 bytes by reference, by its checked type.
            .map(|datum| unsafe { &*datum.cast_mut_ptr::<[u8; 16]>() })
    }

    /// Makes `text` the text of a `jsonb`, as `PostgreSQL` prints it; tells whether it could. None for NULL.
    pub fn json_text(&self, column: usize, text: &mut Vec<u8>) -> Option<bool> {
        /// A buffer larger than this is given back: an event can have a gigabyte.
        const KEEP: usize = 1 << 20;
        let datum = self.datum(column, &[pg_sys::JSONBOID])?;
        text.clear();
        text.shrink_to(KEEP);
        // SAFETY: a jsonb, by its checked type.
        let printed = match jsonb_text::write(unsafe { varlena_bytes(datum) }, text) {
            Printed::Whole => true,
            Printed::TooLong => false,
            Printed::NotPlain => {
                text.clear();
                print_deep(datum).is_some_and(|printed| {
                    text.extend_from_slice(printed);
                    true
                })
            }
        };
        if !printed {
            text.clear();
        }
        Some(printed)
    }

    /// An `inet`, as `inet_out` prints it.
    pub fn inet_text<'b>(&self, column: usize, last: &'b mut LastInet) -> Option<&'b [u8]> {
        let datum = self.datum(column, &[pg_sys::INETOID])?;
        // SAFETY: an inet, by its checked type; what is printed is palloc'd.
        unsafe {
            let value = varlena_bytes(datum);
            if last.value != value {
                let output = pg_sys::Oid::from(pg_sys::F_INET_OUT);
                let text = pg_sys::OidOutputFunctionCall(output, datum);
                last.text = super::datum::cstring_bytes(text).to_vec();
                last.value = value.to_vec();
            }
        }
        Some(&last.text)
    }

    /// The elements of a `text[]`, NULLs too. `Some(false)` for one that is not of one dimension from 1 on.
    pub fn texts(&self, column: usize, mut each: impl FnMut(Option<&[u8]>)) -> Option<bool> {
        let datum = self.datum(column, &[pg_sys::TEXTARRAYOID])?;
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: a text[], by its checked type; deconstruct_array pallocs `count` values and nulls.
        unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            match (*array).ndim {
                0 => return Some(true),
                // The dimension, then its lower bound, follow the header.
                1 if *array.add(1).cast::<i32>().add(1) == 1 => {}
                _ => return Some(false),
            }
            pg_sys::deconstruct_array(
                array,
                pg_sys::TEXTOID,
                -1,
                false,
                pg_sys::TYPALIGN_INT as std::ffi::c_char,
                &raw mut values,
                &raw mut nulls,
                &raw mut count,
            );
            for index in 0..count as usize {
                let is_null = *nulls.add(index);
                each((!is_null).then(|| varlena_bytes(*values.add(index))));
            }
        }
        Some(true)
    }

    /// The elements of a `bigint[]` of one dimension without NULLs, as [`int8_array`] makes it; empty for any other.
    pub fn int8s(&self, column: usize) -> Option<Vec<i64>> {
        let datum = self.datum(column, &[pg_sys::INT8ARRAYOID])?;
        // SAFETY: a bigint[], by its checked type, detoasted with a four-byte header; the length is checked before reading.
        let bytes = unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            std::slice::from_raw_parts(array.cast::<u8>(), pgrx::varlena::varsize(array))
        };
        let is_plain = bytes.len() >= ARRAY_HEADER
            && bytes[4..8] == 1i32.to_ne_bytes()
            && bytes[8..12] == 0i32.to_ne_bytes();
        let elements = bytes.get(ARRAY_HEADER..).filter(|_| is_plain);
        let (elements, _) = elements.unwrap_or_default().as_chunks::<8>();
        Some(
            elements
                .iter()
                .map(|bytes| i64::from_ne_bytes(*bytes))
                .collect(),
        )
    }

    /// A `pg_snapshot`: xmin, xmax and the ids in progress (`src/backend/utils/adt/xid8funcs.c`).
    pub fn snapshot(&self, column: usize) -> Option<(u64, u64, Vec<u64>)> {
        let datum = self.datum(column, &[pg_sys::PG_SNAPSHOTOID])?;
        // SAFETY: a pg_snapshot, by its checked type, detoasted with a four-byte header.
        let bytes = unsafe {
            let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            std::slice::from_raw_parts(value.cast::<u8>(), pgrx::varlena::varsize(value))
        };
        let (ids, _) = bytes.get(8..)?.as_chunks::<8>();
        let mut ids = ids.iter().map(|bytes| u64::from_ne_bytes(*bytes));
        Some((ids.next()?, ids.next()?, ids.collect()))
    }
}

/// The `inet` that was printed last: most events come from few addresses.
#[derive(Default)]
pub struct LastInet {
    value: Vec<u8>,
    text: Vec<u8>,
}

/// Header, dimensions, null-bitmap offset, element type, length, lower bound (`src/include/utils/array.h`).
const ARRAY_HEADER: usize = 24;

/// A `bigint[]` of one dimension.
pub fn int8_array(elements: &[i64]) -> super::datum::Varlena {
    let mut bytes = vec![0; ARRAY_HEADER];
    bytes[4..8].copy_from_slice(&1i32.to_ne_bytes());
    bytes[12..16].copy_from_slice(&pg_sys::INT8OID.to_u32().to_ne_bytes());
    bytes[16..20].copy_from_slice(&(elements.len() as i32).to_ne_bytes());
    bytes[20..24].copy_from_slice(&1i32.to_ne_bytes());
    for element in elements {
        bytes.extend_from_slice(&element.to_ne_bytes());
    }
    whole(bytes)
}

/// A `pg_snapshot`; the ids in progress ascend.
pub fn snapshot_value(xmin: u64, xmax: u64, in_progress: &[u64]) -> super::datum::Varlena {
    let mut bytes = vec![0; 8];
    bytes[4..8].copy_from_slice(&(in_progress.len() as u32).to_ne_bytes());
    for id in [xmin, xmax].iter().chain(in_progress) {
        bytes.extend_from_slice(&id.to_ne_bytes());
    }
    whole(bytes)
}

/// A `bytea`.
pub fn bytea(bytes: &[u8]) -> super::datum::Varlena {
    let mut value = super::datum::Varlena::default();
    // A bytea is laid out like a text.
    value.set_text(bytes);
    value
}

fn whole(mut bytes: Vec<u8>) -> super::datum::Varlena {
    let total = bytes.len();
    super::datum::set_varsize(&mut bytes, total);
    super::datum::Varlena::whole(bytes)
}

/// A `jsonb` as `PostgreSQL` prints it; None when the text is longer than it can make, or nested deeper than its stack.
///
/// Catching without a subtransaction is sound because printing takes no lock, pins no buffer and runs no user code.
fn print_deep<'a>(datum: pg_sys::Datum) -> Option<&'a [u8]> {
    let print = move || {
        // SAFETY: a jsonb, by its checked type; what is printed is palloc'd.
        unsafe {
            let jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let size = pgrx::varlena::varsize(jsonb);
            let root = jsonb.cast::<u8>().add(super::datum::HEADER);
            let printed = pg_sys::JsonbToCString(std::ptr::null_mut(), root.cast(), size as i32);
            Some(super::datum::cstring_bytes(printed))
        }
    };
    let is_limit = |code| {
        matches!(
            code,
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED
                | PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX
        )
    };
    PgTryBuilder::new(print)
        .catch_others(|caught| match &caught {
            CaughtError::PostgresError(report) if is_limit(report.sql_error_code()) => None,
            _ => caught.rethrow(),
        })
        .execute()
        .filter(|text| text.len() <= jsonb_text::LONGEST)
}
