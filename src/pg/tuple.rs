//! Heap tuples and index entries from typed fields.
//!
//! `heap_form_tuple` looks each of 35 columns up in the descriptor twice. A `Field` knows its own layout: the tuple is written in
//! one pass. The bytes are the same (`src/backend/access/common/heaptuple.c`, `heap_fill_tuple`); a test compares.

use super::memory::Context;
use pgrx::pg_sys;
use std::ptr;

/// A field of a row.
#[derive(Clone, Copy)]
pub enum Field<'a> {
    Null,
    Int8(i64),
    Int4(i32),
    Oid(pg_sys::Oid),
    /// A whole varlena value, header included, of a type that is aligned to 4 bytes and may get a short header.
    Varlena(&'a [u8]),
    /// The same of a type that is aligned to 8 bytes, as `bigint[]` is.
    Varlena8(&'a [u8]),
    /// 16 bytes.
    Uuid(&'a [u8; 16]),
}

impl<'a> Field<'a> {
    /// The value, in the current memory context where it is no number; None for NULL.
    pub(in crate::pg) fn datum(self) -> Option<pg_sys::Datum> {
        let copy = |bytes: &[u8]| {
            // SAFETY: memory of that size, aligned for any value.
            unsafe {
                let memory = pg_sys::palloc(bytes.len()).cast::<u8>();
                ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len());
                pg_sys::Datum::from(memory)
            }
        };
        match self {
            Self::Null => None,
            Self::Int8(value) => Some(pg_sys::Datum::from(value)),
            Self::Int4(value) => Some(pg_sys::Datum::from(value)),
            Self::Oid(value) => Some(pg_sys::Datum::from(value)),
            Self::Varlena(bytes) | Self::Varlena8(bytes) => Some(copy(bytes)),
            Self::Uuid(bytes) => Some(copy(bytes)),
        }
    }

    /// The content of a varlena that is neither compressed nor out of line.
    pub(in crate::pg) fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Varlena(bytes) | Self::Varlena8(bytes) if is_short(bytes) => Some(&bytes[1..]),
            Self::Varlena(bytes) | Self::Varlena8(bytes) if is_plain(bytes) => {
                Some(&bytes[LONG_HEADER..])
            }
            _ => None,
        }
    }
}

/// Offset of the null bitmap in a heap tuple's header, and behind an index tuple's (`src/include/access/itup.h`).
const BITMAP: usize = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
const INDEX_BITMAP: usize = size_of::<pg_sys::IndexTupleData>();
/// Index entries whose values are longer may be stored compressed: `PostgreSQL` decides (`TOAST_INDEX_TARGET`).
const LONGEST_KEY: usize = 500;
/// A 4-byte header and what may become of it: a value of at most so many bytes, its 4-byte header included, gets a 1-byte one.
const LONG_HEADER: usize = 4;
const LARGEST_SHORT: usize = 126 + LONG_HEADER;

/// The tuple, in one piece of memory of `home`, as `heap_form_tuple` makes it.
pub(in crate::pg) fn form<const N: usize>(
    home: &Context,
    table: pg_sys::Oid,
    fields: &[Field<'_>; N],
) -> pg_sys::HeapTuple {
    let has_null = fields.iter().any(|field| matches!(field, Field::Null));
    let bitmap = if has_null { N.div_ceil(8) } else { 0 };
    let start = align(BITMAP + bitmap, pg_sys::MAXIMUM_ALIGNOF as usize);
    let most: usize = fields.iter().map(most_bytes).sum();
    let head = align(
        size_of::<pg_sys::HeapTupleData>(),
        pg_sys::MAXIMUM_ALIGNOF as usize,
    );
    // SAFETY: palloc0 returns zeroed memory of the size asked for, aligned for both structs; `data` is the part of it behind the
    // HeapTupleData, and all writes into it are bounds-checked.
    unsafe {
        let memory = home
            .run(|| pg_sys::palloc0(head + start + most))
            .cast::<u8>();
        let data = std::slice::from_raw_parts_mut(memory.add(head), start + most);
        let (length, has_varlena) = fill(
            data,
            start,
            has_null.then_some(BITMAP),
            fields.iter().copied(),
        );
        let header = memory.add(head).cast::<pg_sys::HeapTupleHeaderData>();
        (*header).t_hoff = start as u8;
        (*header).t_infomask2 = N as u16;
        (*header).t_infomask = if has_null {
            pg_sys::HEAP_HASNULL as u16
        } else {
            0
        } | if has_varlena {
            pg_sys::HEAP_HASVARWIDTH as u16
        } else {
            0
        };
        let tuple = memory.cast::<pg_sys::HeapTupleData>();
        (*tuple).t_len = length as u32;
        (*tuple).t_tableOid = table;
        (*tuple).t_data = header;
        invalidate(&raw mut (*tuple).t_self);
        invalidate(&raw mut (*header).t_ctid);
        tuple
    }
}

/// An index entry as `index_form_tuple` makes it, without its heap position, in `entry`; false where that has to be left to
/// `PostgreSQL`: `src/backend/access/common/indextuple.c`.
pub(in crate::pg) fn index_entry<'a>(
    entry: &mut Vec<u8>,
    fields: impl Iterator<Item = Field<'a>> + Clone,
) -> bool {
    let long = |field: &Field<'_>| {
        matches!(field, Field::Varlena(bytes) | Field::Varlena8(bytes)
            if bytes.len() > LONGEST_KEY || !(is_short(bytes) || is_plain(bytes)))
    };
    if fields.clone().any(|field| long(&field)) {
        return false;
    }
    let has_null = fields.clone().any(|field| matches!(field, Field::Null));
    let bitmap = if has_null {
        (pg_sys::INDEX_MAX_KEYS as usize).div_ceil(8)
    } else {
        0
    };
    let aligned = pg_sys::MAXIMUM_ALIGNOF as usize;
    let start = align(INDEX_BITMAP + bitmap, aligned);
    let most: usize = fields.clone().map(|field| most_bytes(&field)).sum();
    entry.clear();
    entry.resize(align(start + most, aligned), 0);
    let (length, has_varlena) = fill(entry, start, has_null.then_some(INDEX_BITMAP), fields);
    entry.truncate(align(length, aligned));
    let info = entry.len() as u16
        | if has_null {
            pg_sys::INDEX_NULL_MASK as u16
        } else {
            0
        }
        | if has_varlena {
            pg_sys::INDEX_VAR_MASK as u16
        } else {
            0
        };
    let at = std::mem::offset_of!(pg_sys::IndexTupleData, t_info);
    entry[at..at + 2].copy_from_slice(&info.to_ne_bytes());
    true
}

/// Writes the bitmap at `bitmap` and the values behind `at`; returns the end, and whether a value has no fixed width.
fn fill<'a>(
    data: &mut [u8],
    mut at: usize,
    bitmap: Option<usize>,
    fields: impl IntoIterator<Item = Field<'a>>,
) -> (usize, bool) {
    let mut has_varlena = false;
    for (position, field) in fields.into_iter().enumerate() {
        if let Some(bitmap) = bitmap
            && !matches!(field, Field::Null)
        {
            data[bitmap + position / 8] |= 1 << (position % 8);
        }
        at = match field {
            Field::Null => at,
            Field::Int8(value) => put(data, align(at, 8), &value.to_ne_bytes()),
            Field::Int4(value) => put(data, align(at, 4), &value.to_ne_bytes()),
            Field::Oid(value) => put(data, align(at, 4), &value.to_u32().to_ne_bytes()),
            Field::Uuid(bytes) => put(data, at, bytes),
            Field::Varlena(bytes) | Field::Varlena8(bytes) => {
                has_varlena = true;
                if is_short(bytes) {
                    put(data, at, bytes)
                } else if bytes.len() <= LARGEST_SHORT && is_plain(bytes) {
                    let content = &bytes[LONG_HEADER..];
                    data[at] = short_header(content.len() + 1);
                    put(data, at + 1, content)
                } else {
                    let alignment = if matches!(field, Field::Varlena8(_)) {
                        8
                    } else {
                        4
                    };
                    put(data, align(at, alignment), bytes)
                }
            }
        };
    }
    (at, has_varlena)
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    data[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}

fn most_bytes(field: &Field<'_>) -> usize {
    match field {
        Field::Null => 0,
        Field::Int8(_) => 15,
        Field::Int4(_) | Field::Oid(_) => 7,
        Field::Uuid(_) => 16,
        Field::Varlena(bytes) | Field::Varlena8(bytes) => bytes.len() + 7,
    }
}

fn align(at: usize, to: usize) -> usize {
    at.next_multiple_of(to)
}

// The lowest bits of a varlena's first byte tell its header's kind on little-endian machines, the highest on big-endian ones
// (src/include/varatt.h).

/// A 1-byte header.
#[cfg(target_endian = "little")]
fn is_short(bytes: &[u8]) -> bool {
    bytes[0] & 1 == 1
}

/// A 4-byte header of a value that is not compressed: both of its lowest bits are 0.
#[cfg(target_endian = "little")]
fn is_plain(bytes: &[u8]) -> bool {
    bytes[0].trailing_zeros() >= 2
}

#[cfg(target_endian = "little")]
fn short_header(size: usize) -> u8 {
    ((size as u8) << 1) | 1
}

#[cfg(target_endian = "big")]
fn is_short(bytes: &[u8]) -> bool {
    bytes[0] & 0x80 == 0x80
}

#[cfg(target_endian = "big")]
fn is_plain(bytes: &[u8]) -> bool {
    bytes[0] & 0xC0 == 0
}

#[cfg(target_endian = "big")]
fn short_header(size: usize) -> u8 {
    size as u8 | 0x80
}

/// # Safety
/// A valid pointer.
unsafe fn invalidate(tid: *mut pg_sys::ItemPointerData) {
    let block = pg_sys::BlockIdData {
        bi_hi: u16::MAX,
        bi_lo: u16::MAX,
    };
    // SAFETY: by the caller.
    unsafe {
        ptr::write(
            tid,
            pg_sys::ItemPointerData {
                ip_blkid: block,
                ip_posid: 0,
            },
        );
    }
}
