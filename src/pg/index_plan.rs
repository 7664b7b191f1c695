//! What has to be known of a table's indexes to insert into them without an executor.

use super::btree::Buffers;
use super::memory::Context;
use super::relation::{OpenRelation, RelationRef, attribute, lock};
use super::tuple::Field;
use pgrx::pg_sys;
use std::cell::Cell;

/// What is known of a table's indexes, kept across statements.
pub struct IndexPlans {
    pub(in crate::pg) simple: Vec<IndexPlan>,
    /// An index that is not a plain btree is left to the executor, and all others with it.
    pub(in crate::pg) needs_executor: bool,
    /// Holds the `IndexInfos`.
    _home: Context,
}

/// One index.
pub(in crate::pg) struct IndexPlan {
    pub(in crate::pg) oid: pg_sys::Oid,
    pub(in crate::pg) columns: Vec<i32>,
    /// Position in `columns` of the text that orders most of the entries of a statement.
    pub(in crate::pg) text: Option<usize>,
    pub(in crate::pg) unique: bool,
    /// A partial index is written only where this column is not NULL.
    pub(in crate::pg) not_null: Option<i32>,
    /// What the next transaction's entries wait in.
    pub(in crate::pg) buffers: Cell<Buffers>,
}

impl IndexPlans {
    /// Reads the indexes of an open table.
    pub fn of(table: RelationRef<'_>) -> Self {
        let home = Context::long_lived(c"pg_attest index plans");
        let mut simple = Vec::new();
        let mut needs_executor = false;
        // SAFETY: open table; BuildIndexInfo allocates in `home`, which lives as long as the plans.
        unsafe {
            let oids = super::catalog::take_oids(pg_sys::RelationGetIndexList(table.raw()));
            for oid in oids {
                let index = OpenRelation::index(oid, lock::ROW_EXCLUSIVE);
                let info = home.run(|| pg_sys::BuildIndexInfo(index.raw()));
                match IndexPlan::simple(oid, info, index.raw()) {
                    Some(plan) => simple.push(plan),
                    None => needs_executor = true,
                }
            }
        }
        Self {
            simple,
            needs_executor,
            _home: home,
        }
    }
}

impl IndexPlan {
    /// Whether the index has an entry for a row of these fields.
    pub(in crate::pg) fn takes(&self, fields: &[Field<'_>]) -> bool {
        self.not_null
            .is_none_or(|column| !matches!(fields[column as usize - 1], Field::Null))
    }

    /// The plan of a btree over plain columns, whose predicate, if any, is `column IS NOT NULL`; None for other indexes.
    ///
    /// # Safety
    /// `info` was built from the open `index`.
    unsafe fn simple(
        oid: pg_sys::Oid,
        info: *mut pg_sys::IndexInfo,
        index: pg_sys::Relation,
    ) -> Option<Self> {
        // SAFETY: by the caller.
        unsafe {
            if (*(*index).rd_rel).relam != pg_sys::BTREE_AM_OID
                || !(*info).ii_ReadyForInserts
                || !(*info).ii_ExclusionOps.is_null()
            {
                return None;
            }
            let count = usize::try_from((*info).ii_NumIndexAttrs).ok()?;
            let numbers = (*info).ii_IndexAttrNumbers;
            let columns: Vec<i32> = numbers[..count]
                .iter()
                .map(|attnum| i32::from(*attnum))
                .collect();
            if columns.iter().any(|attnum| *attnum <= 0) {
                return None;
            }
            let text = (0..count).rfind(|position| {
                (*attribute((*index).rd_att, *position)).atttypid == pg_sys::TEXTOID
            });
            let predicate = (*info).ii_Predicate;
            let not_null = if predicate.is_null() {
                None
            } else {
                Some(not_null_column(predicate)?)
            };
            Some(Self {
                oid,
                columns,
                text,
                unique: (*info).ii_Unique,
                not_null,
                buffers: Cell::default(),
            })
        }
    }
}

/// The column of a predicate of the form `column IS NOT NULL`.
///
/// # Safety
/// `predicate` is a list of nodes.
unsafe fn not_null_column(predicate: *mut pg_sys::List) -> Option<i32> {
    // SAFETY: node tags are checked before the casts.
    unsafe {
        if (*predicate).length != 1 {
            return None;
        }
        let node = (*(*predicate).elements)
            .ptr_value
            .cast::<pg_sys::NullTest>();
        if (*node).xpr.type_ != pg_sys::NodeTag::T_NullTest
            || (*node).nulltesttype != pg_sys::NullTestType::IS_NOT_NULL
            || (*node).argisrow
        {
            return None;
        }
        let variable = (*node).arg.cast::<pg_sys::Var>();
        let is_column = (*variable).xpr.type_ == pg_sys::NodeTag::T_Var && (*variable).varattno > 0;
        is_column.then(|| i32::from((*variable).varattno))
    }
}
