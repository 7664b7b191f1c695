//! `audit.attach_schema`: the present and future tables of a schema.

use super::{ddl, detach_table, registry, request, required_reason, target};
use crate::act::Act;
use crate::capture::event::EventKind;
use crate::error::{AttestError, Result, SqlState, or_raise, required};
use crate::pg::catalog;
use crate::pg::query::Arg;
use crate::pg::relation::OpenRelation;
use crate::pg::role::ActAsSuperuser;
use pgrx::prelude::*;
use serde_json::{Map, Value as Json};
use std::ffi::CString;

/// `audit.attach_schema_with(schema_name name, settings jsonb, baseline boolean)`: what `audit.attach_schema` calls.
#[pg_extern(sql = false)]
#[allow(clippy::needless_pass_by_value)] // what pgrx passes
fn attach_schema_with(
    schema_name: Option<&std::ffi::CStr>,
    settings: Option<pgrx::JsonB>,
    baseline: Option<bool>,
) {
    let settings = or_raise(required(settings, "settings")).0;
    or_raise(attach_schema(
        schema_name,
        &settings,
        baseline.unwrap_or(false),
    ));
}

/// `audit.detach_schema(schema_name name, reason text)`.
#[pg_extern(sql = false)]
fn detach_schema(schema_name: Option<&std::ffi::CStr>, reason: Option<&str>) {
    or_raise(detach_all(schema_name, reason));
}

fn owned_schema(name: Option<&std::ffi::CStr>) -> Result<pg_sys::Oid> {
    let name = required(name, "schema_name")?;
    let shown = name.to_string_lossy();
    let Some(schema) = catalog::namespace_oid(&CString::from(name)) else {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_SCHEMA_NAME,
            format!("schema \"{shown}\" does not exist"),
        )
        .detail("There is nothing to attach.")
        .hint("\\dn lists the schemas."));
    };
    if shown.starts_with("pg_") || shown == "information_schema" || shown == "audit" {
        return Err(AttestError::new(
            SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("cannot attach schema \"{shown}\""),
        )
        .detail("It belongs to the system.")
        .hint("Attach the schemas of your application."));
    }
    if !catalog::owns_namespace(schema) {
        return Err(AttestError::new(
            SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("must be owner of schema {shown}"),
        )
        .hint(
            "Only a schema's owner or a superuser decides whether and how its tables are audited.",
        ));
    }
    Ok(schema)
}

fn attach_schema(name: Option<&std::ffi::CStr>, settings: &Json, baseline: bool) -> Result<()> {
    let schema = owned_schema(name)?;
    let tables: Vec<pg_sys::Oid> = {
        let _superuser = ActAsSuperuser::new();
        registry::oids(
            "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p', 'f') \
             AND NOT c.relispartition AND c.relpersistence <> 't' ORDER BY c.relname",
            &[Arg::Oid(schema)],
        )?
    };
    for table in &tables {
        target::check_owner(*table)?;
    }
    for table in tables {
        attach_where_possible(table, settings, baseline)?;
    }
    let _superuser = ActAsSuperuser::new();
    if registry::schema_settings(schema)?.as_ref() == Some(settings) {
        return Ok(());
    }
    registry::put_schema(schema, settings)?;
    record_act("attach schema", schema, None, Some(settings))
}

fn record_act(
    action: &str,
    schema: pg_sys::Oid,
    reason: Option<&str>,
    settings: Option<&Json>,
) -> Result<()> {
    let mut said = Map::new();
    said.insert("schema".into(), catalog::namespace_name(schema).into());
    if let Some(settings) = settings {
        said.insert("settings".into(), settings.clone());
    }
    Act {
        reason,
        said,
        ..Act::new(EventKind::System, action)
    }
    .record()
    .map(drop)
}

/// Attaches a table of an attached schema; one that cannot be attached is named in a notice.
pub fn attach_where_possible(table: pg_sys::Oid, settings: &Json, baseline: bool) -> Result<()> {
    let opened = OpenRelation::table(table, super::LOCK);
    if let Err(refusal) = target::check(opened.relation()) {
        refusal.notice();
        return Ok(());
    }
    let settings = request::parse(
        opened.relation(),
        settings,
        request::Strictness::WhereItApplies,
    )?;
    drop(opened);
    // A table that was attached before keeps the baseline that it has.
    let baseline = baseline && registry::settings_of(table)?.is_none();
    super::attach(table, &settings, baseline)
}

fn detach_all(name: Option<&std::ffi::CStr>, reason: Option<&str>) -> Result<()> {
    let reason = required_reason(reason)?;
    let schema = owned_schema(name)?;
    let tables = {
        let _superuser = ActAsSuperuser::new();
        let _own = ddl::OwnDdl::new();
        let tables = registry::tables_in(schema)?;
        if registry::schema_settings(schema)?.is_some() {
            registry::remove_schema(schema)?;
            record_act("detach schema", schema, Some(reason), None)?;
        } else if tables.is_empty() {
            let name = catalog::namespace_name(schema);
            return Err(AttestError::new(
                SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("schema \"{name}\" is not attached"),
            )
            .detail("Neither the schema nor any of its tables is attached.")
            .hint("SELECT * FROM audit.attachments; shows what is."));
        }
        tables
    };
    for table in &tables {
        target::check_owner(*table)?;
    }
    for table in tables {
        detach_table(table, reason)?;
    }
    Ok(())
}
