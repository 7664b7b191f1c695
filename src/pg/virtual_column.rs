//! Virtual generated columns (PostgreSQL 18): no tuple holds their value.

use super::slot::Row;
use pgrx::pg_sys;
#[cfg(feature = "pg18")]
use std::ptr;

/// The expression of a virtual generated column (`PostgreSQL` 18), whose value no tuple holds.
pub(in crate::pg) struct VirtualExpression {
    #[cfg(feature = "pg18")]
    state: *mut pg_sys::ExprState,
    #[cfg(feature = "pg18")]
    econtext: *mut pg_sys::ExprContext,
    #[cfg(feature = "pg18")]
    slot: *mut pg_sys::TupleTableSlot,
}

impl VirtualExpression {
    /// # Safety
    /// `relation` is open and the current memory context is the plan's.
    #[cfg(not(feature = "pg18"))]
    pub(in crate::pg) unsafe fn of(_relation: pg_sys::Relation, _index: usize) -> Option<Self> {
        None
    }

    #[cfg(not(feature = "pg18"))]
    #[allow(clippy::unused_self)]
    pub(in crate::pg) fn evaluate(&self, _row: Row<'_>) -> Option<pg_sys::Datum> {
        None
    }

    /// # Safety
    /// `relation` is open and the current memory context is the plan's.
    #[cfg(feature = "pg18")]
    pub(in crate::pg) unsafe fn of(relation: pg_sys::Relation, index: usize) -> Option<Self> {
        // SAFETY: by the caller. The expression state, its context and slot all live in the plan's memory context. 18
        // admits only built-in functions and types in such expressions, so no user code runs.
        unsafe {
            let attribute = super::relation::attribute((*relation).rd_att, index);
            if (*attribute).attgenerated as u8 != pg_sys::ATTRIBUTE_GENERATED_VIRTUAL {
                return None;
            }
            let attno = i32::from((*attribute).attnum);
            let expression = super::ffi::build_generation_expression(relation, attno);
            let planned = pg_sys::expression_planner(expression.cast());
            let descriptor = pg_sys::CreateTupleDescCopyConstr((*relation).rd_att);
            Some(Self {
                state: pg_sys::ExecInitExpr(planned, ptr::null_mut()),
                econtext: pg_sys::CreateStandaloneExprContext(),
                slot: pg_sys::MakeSingleTupleTableSlot(
                    descriptor,
                    &raw const pg_sys::TTSOpsVirtual,
                ),
            })
        }
    }

    #[cfg(feature = "pg18")]
    pub(in crate::pg) fn evaluate(&self, row: Row<'_>) -> Option<pg_sys::Datum> {
        // SAFETY: state, econtext and slot are the plan's own; the virtual slot borrows the row's values for this call.
        unsafe {
            super::slot::store_virtual(self.slot, row);
            (*self.econtext).ecxt_scantuple = self.slot;
            let mut is_null = false;
            let evaluate = (*self.state).evalfunc?;
            let datum = evaluate(self.state, self.econtext, &raw mut is_null);
            (!is_null).then_some(datum)
        }
    }
}
