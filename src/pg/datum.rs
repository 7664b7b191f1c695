//! Varlena values: reading them detoasted, and their byte layout for values we build ourselves.
//!
//! Layout: `src/include/varatt.h` (`postgres.h` before 16), little-endian; checked at compile time below.

use pgrx::pg_sys;

#[cfg(target_endian = "big")]
compile_error!("pg_attest writes varlena headers in little-endian layout");

/// Length of a four-byte varlena header.
pub const HEADER: usize = 4;

/// Writes the four-byte header of an uncompressed varlena of `total` bytes, header included (`SET_VARSIZE`).
pub fn set_varsize(buffer: &mut [u8], total: usize) {
    debug_assert!(total < 1 << 30);
    // PostgreSQL's limit is 1 GB, checked by every caller
    buffer[..HEADER].copy_from_slice(&((total as u32) << 2).to_le_bytes());
}

/// The bytes of a varlena value, detoasted when needed into the current memory context.
///
/// # Safety
/// `datum` is a non-null value of a varlena type, and it (or the current context) outlives `'a`.
pub(in crate::pg) unsafe fn varlena_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: by the caller; a header tells how long its value is. pg_detoast_datum_packed returns a palloc'd copy of what is
    // compressed or stored elsewhere; all other values, nearly all that there are, need no call (20 ns each).
    unsafe {
        let start = datum.cast_mut_ptr::<u8>().cast_const();
        let first = *start;
        if first & 1 == 1 && first != 1 {
            return std::slice::from_raw_parts(start.add(1), usize::from(first >> 1) - 1);
        }
        if first.trailing_zeros() >= 2 {
            let total = u32::from_le(start.cast::<u32>().read_unaligned()) >> 2;
            return std::slice::from_raw_parts(start.add(HEADER), total as usize - HEADER);
        }
        let packed = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
        let data = pgrx::varlena::vardata_any(packed).cast::<u8>();
        std::slice::from_raw_parts(data, pgrx::varlena::varsize_any_exhdr(packed))
    }
}

/// The bytes of a C string value.
///
/// # Safety
/// `text` is NUL-terminated and outlives `'a`.
pub(in crate::pg) unsafe fn cstring_bytes<'a>(text: *const std::ffi::c_char) -> &'a [u8] {
    // SAFETY: by the caller.
    unsafe { std::ffi::CStr::from_ptr(text).to_bytes() }
}

/// Whether two values of one type have the same stored content. Compares what is stored, not what a type's `=` thinks.
///
/// # Safety
/// Both are non-null values of a type with this `typlen` and `typbyval`.
pub(in crate::pg) unsafe fn same_image(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    typlen: i16,
    typbyval: bool,
) -> bool {
    if typbyval {
        return a == b;
    }
    // SAFETY: by the caller; a varlena that is not toasted is compared in place, and one external value with itself by
    // its pointer, which spares detoasting what an UPDATE did not touch.
    unsafe {
        if typlen == -1 {
            let (p, q) = (
                a.cast_mut_ptr::<pg_sys::varlena>(),
                b.cast_mut_ptr::<pg_sys::varlena>(),
            );
            if pgrx::varlena::varatt_is_1b_e(p) && pgrx::varlena::varatt_is_1b_e(q) {
                let size = pgrx::varlena::varsize_any(p);
                if size == pgrx::varlena::varsize_any(q)
                    && std::slice::from_raw_parts(p.cast::<u8>(), size)
                        == std::slice::from_raw_parts(q.cast::<u8>(), size)
                {
                    return true;
                }
            }
        }
        super::ffi::datum_image_eq(a, b, typbyval, i32::from(typlen))
    }
}

/// A varlena value that we built: its bytes, header included.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Varlena(Vec<u8>);

impl Varlena {
    /// A text value.
    pub fn text(bytes: &[u8]) -> Self {
        let mut value = Self(Vec::with_capacity(HEADER + bytes.len()));
        value.set_text(bytes);
        value
    }

    /// The same from bytes that already have their header.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Becomes this text. Short texts get the one-byte header that tuples store, so that forming a tuple only copies.
    pub fn set_text(&mut self, bytes: &[u8]) {
        const SHORT_MAX: usize = 126;
        self.0.clear();
        if bytes.len() <= SHORT_MAX {
            self.0.push((((bytes.len() + 1) << 1) | 1) as u8);
        } else {
            self.0.extend_from_slice(&[0; HEADER]);
            set_varsize(&mut self.0, HEADER + bytes.len());
        }
        self.0.extend_from_slice(bytes);
    }

    /// Becomes the array `text[]` of these elements (`src/include/utils/array.h`): one dimension, no NULLs.
    pub fn set_text_array<'a>(&mut self, elements: impl Iterator<Item = &'a [u8]>) {
        /// Header, dimensions, null-bitmap offset, element type, length, lower bound.
        const FIXED: usize = 24;
        self.0.clear();
        self.0.resize(FIXED, 0);
        let mut count: i32 = 0;
        for element in elements {
            while !self.0.len().is_multiple_of(4) {
                self.0.push(0);
            }
            let start = self.0.len();
            self.0.extend_from_slice(&[0; HEADER]);
            self.0.extend_from_slice(element);
            set_varsize(&mut self.0[start..], HEADER + element.len());
            count += 1;
        }
        let total = self.0.len();
        set_varsize(&mut self.0, total);
        self.0[4..8].copy_from_slice(&1i32.to_le_bytes());
        self.0[12..16].copy_from_slice(&pg_sys::TEXTOID.to_u32().to_le_bytes());
        self.0[16..20].copy_from_slice(&count.to_le_bytes());
        self.0[20..24].copy_from_slice(&1i32.to_le_bytes());
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
