//! Tuple slots and the rows in them.

use super::relation::RelationRef;
use super::unwinding;
use pgrx::pg_sys;

/// The values of one row, deformed. Values point into the slot's tuple.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl Row<'_> {
    /// The value of the attribute with this zero-based index, None when it is NULL.
    pub fn get(&self, index: usize) -> Option<pg_sys::Datum> {
        if self.nulls[index] {
            None
        } else {
            Some(self.values[index])
        }
    }

    /// A row of these values, of which as many are NULL as `nulls` says.
    pub(in crate::pg) fn of_values<'a>(values: &'a [pg_sys::Datum], nulls: &'a [bool]) -> Row<'a> {
        Row { values, nulls }
    }

    /// A row over a slot that is already deformed.
    ///
    /// # Safety
    /// `slot` holds a tuple, all of its attributes are deformed, and it outlives `'a` unchanged.
    pub(in crate::pg) unsafe fn of_slot<'a>(slot: *mut pg_sys::TupleTableSlot) -> Row<'a> {
        // SAFETY: by the caller; tts_values and tts_isnull have one entry per attribute.
        unsafe {
            let natts = (*(*slot).tts_tupleDescriptor).natts as usize;
            Row {
                values: std::slice::from_raw_parts((*slot).tts_values, natts),
                nulls: std::slice::from_raw_parts((*slot).tts_isnull, natts),
            }
        }
    }
}

/// A slot for rows read from a transition table; made per statement (about 150 ns), dropped with it.
pub struct Slot {
    raw: *mut pg_sys::TupleTableSlot,
}

impl Slot {
    /// A minimal-tuple slot of the relation's row type, in the current memory context.
    pub(in crate::pg) fn minimal(relation: RelationRef<'_>) -> Self {
        // SAFETY: the slot pins the relation's tuple descriptor; its `missing` values fill columns that were added with a
        // fast default.
        let raw = unsafe {
            pg_sys::MakeSingleTupleTableSlot(
                (*relation.raw()).rd_att,
                &raw const pg_sys::TTSOpsMinimalTuple,
            )
        };
        Self { raw }
    }

    /// The row that is older than every column: each has what it was added with (`attmissingval`), or NULL.
    pub fn before_columns(relation: RelationRef<'_>) -> Self {
        // SAFETY: a slot of the relation's row type; slot_getmissingattrs fills all of its attributes.
        let raw = unsafe {
            let descriptor = (*relation.raw()).rd_att;
            let raw =
                pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
            pg_sys::slot_getmissingattrs(raw, 0, (*descriptor).natts);
            pg_sys::ExecStoreVirtualTuple(raw)
        };
        Self { raw }
    }

    pub(in crate::pg) fn raw(&self) -> *mut pg_sys::TupleTableSlot {
        self.raw
    }

    /// Deforms all attributes of the row in the slot.
    pub(in crate::pg) fn deform(&mut self) {
        // SAFETY: the slot holds a row; natts is its row type's.
        unsafe {
            let natts = (*(*self.raw).tts_tupleDescriptor).natts;
            if i32::from((*self.raw).tts_nvalid) < natts {
                pg_sys::slot_getsomeattrs_int(self.raw, natts);
            }
        }
    }

    /// The row in the slot: valid until the slot is used again.
    pub fn row(&self) -> Row<'_> {
        // SAFETY: `next_into` deforms every row it stores; the borrow keeps the slot unchanged.
        unsafe { Row::of_slot(self.raw) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: made by us, dropped once.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.raw) }
        }
    }
}

/// `ExecClearTuple`, which is an inline function in C.
///
/// # Safety
/// `slot` is a live slot.
pub(in crate::pg) unsafe fn clear(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: by the caller; every slot type has the `clear` callback.
    unsafe {
        if let Some(clear) = (*(*slot).tts_ops).clear {
            clear(slot);
        }
    }
}

/// Lets a virtual slot show the row.
///
/// # Safety
/// `slot` is a virtual slot of the row's type; the row outlives the use of the slot.
pub(in crate::pg) unsafe fn store_virtual(slot: *mut pg_sys::TupleTableSlot, row: Row<'_>) {
    // SAFETY: by the caller; the arrays have one entry per attribute.
    unsafe {
        clear(slot);
        let natts = row.values.len();
        std::ptr::copy_nonoverlapping(row.values.as_ptr(), (*slot).tts_values, natts);
        std::ptr::copy_nonoverlapping(row.nulls.as_ptr(), (*slot).tts_isnull, natts);
        pg_sys::ExecStoreVirtualTuple(slot);
    }
}
