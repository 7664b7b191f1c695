//! The arguments of a call as a row: a function of a table's columns reads them as that table's rows are read.

use super::slot::Row;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::nullable::Nullable;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// Arguments at most.
const MOST: usize = 40;

/// All arguments of the call.
pub struct CallRow {
    values: [pg_sys::Datum; MOST],
    nulls: [bool; MOST],
    count: usize,
}

impl CallRow {
    /// The arguments, which stand for the columns that the function's SQL declaration names in their order.
    pub fn row(&self) -> Row<'_> {
        Row::of_values(&self.values[..self.count], &self.nulls[..self.count])
    }
}

// SAFETY: reads as many arguments as the call has; it takes the place of all of them.
unsafe impl<'fcx> ArgAbi<'fcx> for CallRow {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let mut row = Self {
            values: [pg_sys::Datum::null(); MOST],
            nulls: [true; MOST],
            count: 0,
        };
        // SAFETY: the live argument of a version-1 C-language function, by the caller: `nargs` values follow it.
        let arguments = unsafe {
            let call = pg_sys::FunctionCallInfo::unbox_arg_unchecked(arg);
            (*call).args.as_slice((*call).nargs as usize)
        };
        assert!(arguments.len() <= MOST, "too many arguments");
        for (index, argument) in arguments.iter().enumerate() {
            row.values[index] = argument.value;
            row.nulls[index] = argument.isnull;
        }
        row.count = arguments.len();
        row
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: by the caller.
        unsafe { Nullable::Valid(Self::unbox_arg_unchecked(arg)) }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: the function is declared in SQL by hand; this names no type of an argument.
unsafe impl SqlTranslatable for CallRow {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(CallRow);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Err(ReturnsError::Datum);
}
