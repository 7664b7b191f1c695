//! Generated columns whose value a captured row does not hold.
//!
//! - Virtual ones (PostgreSQL 18): no tuple holds their value.
//! - Stored ones of a partitioned table: when a partition has another layout than its root, PostgreSQL fills the root's
//!   transition table with the row as it was before the partition computed them (`ExecInsert`, `tcs_original_insert_tuple` in
//!   `src/backend/executor/nodeModifyTable.c`).

use super::slot::Row;
use pgrx::pg_sys;
use std::ptr;

/// The expression of a generated column.
pub(in crate::pg) struct GeneratedColumn {
    index: usize,
    /// Planned, in the table plan's memory context.
    expression: *mut pg_sys::Expr,
    /// A virtual slot of the table's row type, there too.
    slot: *mut pg_sys::TupleTableSlot,
}

impl GeneratedColumn {
    /// None for a column whose value rows always hold.
    ///
    /// # Safety
    /// `relation` is open, has more than `index` attributes, and the current memory context is the plan's.
    pub(in crate::pg) unsafe fn of(relation: pg_sys::Relation, index: usize) -> Option<Self> {
        // SAFETY: by the caller. What is allocated lives in the plan's memory context.
        unsafe {
            let attribute = super::relation::attribute((*relation).rd_att, index);
            let attno = i32::from((*attribute).attnum);
            let is_partitioned =
                (*(*relation).rd_rel).relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE;
            let expression = match (*attribute).attgenerated as u8 {
                pg_sys::ATTRIBUTE_GENERATED_STORED if is_partitioned => {
                    pg_sys::build_column_default(relation, attno)
                }
                #[cfg(feature = "pg18")]
                pg_sys::ATTRIBUTE_GENERATED_VIRTUAL => {
                    super::ffi::build_generation_expression(relation, attno)
                }
                _ => return None,
            };
            let descriptor = pg_sys::CreateTupleDescCopyConstr((*relation).rd_att);
            Some(Self {
                index,
                expression: pg_sys::expression_planner(expression.cast()),
                slot: pg_sys::MakeSingleTupleTableSlot(
                    descriptor,
                    &raw const pg_sys::TTSOpsVirtual,
                ),
            })
        }
    }

    /// The value in this row: as it holds it, else computed.
    pub(in crate::pg) fn value(&self, row: Row<'_>) -> Option<pg_sys::Datum> {
        if let Some(datum) = row.get(self.index) {
            return Some(datum);
        }
        // SAFETY: the virtual slot borrows the row's values for this call. The expression's state lives as long as the call: a
        // stored column's expression may call functions of any language, whose state must not outlive the query.
        unsafe {
            super::slot::store_virtual(self.slot, row);
            let econtext = pg_sys::CreateStandaloneExprContext();
            (*econtext).ecxt_scantuple = self.slot;
            let state = pg_sys::ExecInitExpr(self.expression, ptr::null_mut());
            let evaluate = (*state).evalfunc?;
            let mut is_null = false;
            let datum = evaluate(state, econtext, &raw mut is_null);
            pg_sys::FreeExprContext(econtext, true);
            (!is_null).then_some(datum)
        }
    }
}
