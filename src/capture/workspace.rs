//! What a recorder works in: the table's name as values, and buffers that have grown to the size of its rows. The table's plan
//! keeps it from one statement to the next, for making it anew takes a small statement longer than its row.

use super::event::TableName;
use super::image::ImageBuilder;
use crate::pg::datum::Varlena;
use crate::table_plan::TablePlan;

/// A larger workspace is not kept: the rows that it was made for may have been the only ones of their kind.
const LARGEST: usize = 64 * 1024;

/// Buffers, with what was written into them last.
pub struct Workspace {
    pub table: TableName,
    pub images: ImageBuilder,
    pub key_scratch: Vec<u8>,
    pub old_values: Varlena,
    pub new_values: Varlena,
    pub row_key: Varlena,
    pub old_row_key: Varlena,
    pub changed: Vec<bool>,
    /// The columns that `changed_names` names: most statements change the same columns in every row.
    pub named: Vec<bool>,
    pub changed_names: Varlena,
}

impl Workspace {
    /// The one that the plan keeps; a new one for the first statement, and for one that is nested in another on the table.
    pub fn take(plan: &TablePlan) -> Box<Self> {
        let identity = &plan.identity;
        plan.workspace.take().unwrap_or_else(|| {
            Box::new(Self {
                table: TableName::new(identity.oid, &identity.schema, &identity.table),
                images: ImageBuilder::default(),
                key_scratch: Vec::new(),
                old_values: Varlena::default(),
                new_values: Varlena::default(),
                row_key: Varlena::default(),
                old_row_key: Varlena::default(),
                changed: Vec::new(),
                named: Vec::new(),
                changed_names: Varlena::default(),
            })
        })
    }

    /// Leaves it to the table's next statement.
    pub fn give_back(mut self: Box<Self>, plan: &TablePlan) {
        let images = [self.old_values.buffer(), self.new_values.buffer()];
        let values: usize = images.iter().map(|buffer| buffer.capacity()).sum();
        if values + self.images.capacity() <= LARGEST {
            plan.workspace.set(Some(self));
        }
    }
}
