//! Request and process ids that an event takes from columns of its row, for tables whose schema has such columns.

use super::context::{Context, MAX_ID_BYTES, cut};
use crate::pg::context_source::to_utf8;
use crate::pg::datum::Varlena;
use crate::pg::fmgr::Column;
use crate::pg::slot::Row;
use crate::table_plan::TablePlan;

/// The ids of the row at hand.
pub struct RowIds<'a> {
    pub request: RowId<'a>,
    pub process: RowId<'a>,
}

impl<'a> RowIds<'a> {
    /// What the context has wins.
    pub fn new(plan: &'a TablePlan, context: &Context) -> Self {
        let column = |position: Option<usize>, in_context: Option<&Varlena>| {
            position
                .filter(|_| in_context.is_none())
                .map(|position| &plan.columns[position].column)
        };
        Self {
            request: RowId::of(column(plan.request_column, context.request_id.as_ref())),
            process: RowId::of(column(plan.process_column, context.process_id.as_ref())),
        }
    }

    /// Takes the row's values, cut as ids are; NULL and empty text are none. What is printed lives in the current memory context.
    pub fn read(&mut self, row: Row<'_>) {
        self.request.read(row);
        self.process.read(row);
    }
}

/// One of the two ids, from row to row; keeps its buffer.
pub struct RowId<'a> {
    column: Option<&'a Column>,
    text: Varlena,
    is_set: bool,
}

impl<'a> RowId<'a> {
    fn of(column: Option<&'a Column>) -> Self {
        Self {
            column,
            text: Varlena::default(),
            is_set: false,
        }
    }

    fn read(&mut self, row: Row<'_>) {
        let Some(column) = self.column else {
            return;
        };
        let text = column.text(row).filter(|text| !text.is_empty());
        self.is_set = text.is_some();
        if let Some(text) = text {
            self.text
                .set_text(cut(to_utf8(text), MAX_ID_BYTES).as_bytes());
        }
    }

    /// The id that was read last.
    pub fn get(&self) -> Option<&Varlena> {
        self.is_set.then_some(&self.text)
    }
}
