//! A `jsonb` argument as its text: pgrx's own `JsonB` panics on JSON that is nested deeper than `serde_json` reads.

use super::datum::{cstring_bytes, varlena_bytes};
use super::jsonb_text::{self, Printed};
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::FromDatum;
use pgrx::nullable::Nullable;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// The argument's text; None when it is too long to print.
pub struct JsonbArg(Option<String>);

impl JsonbArg {
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromDatum for JsonbArg {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        let mut text = Vec::new();
        // SAFETY: a jsonb datum, by the caller; detoasted into the call's own context.
        let printed = unsafe { jsonb_text::write(varlena_bytes(datum), &mut text) };
        match printed {
            Printed::Whole => {}
            Printed::TooLong => return Some(Self(None)),
            Printed::NotPlain => {
                // SAFETY: as above; jsonb_out returns a palloc'd C string, and checks its stack.
                text = unsafe {
                    let printed = pg_sys::OidOutputFunctionCall(pg_sys::F_JSONB_OUT.into(), datum);
                    cstring_bytes(printed).to_vec()
                };
            }
        }
        Some(Self(String::from_utf8(text).ok()))
    }
}

// SAFETY: reads the datum as the SQL declaration has it, by copying.
unsafe impl<'fcx> ArgAbi<'fcx> for JsonbArg {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: by the caller. A NULL reads as a text that cannot be had; the SQL-facing functions take an Option.
        unsafe { arg.unbox_arg_using_from_datum().unwrap_or(Self(None)) }
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: by the caller.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

// SAFETY: names the SQL type that `FromDatum` reads.
unsafe impl SqlTranslatable for JsonbArg {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(JsonbArg);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
