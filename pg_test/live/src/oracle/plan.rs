//! What the oracle has to know of a table: how its rows' images and keys are computed in SQL.
//!
//! Invariant: the expressions use nothing of pg_attest but the attachment's settings, so that they
//! judge the extension's images instead of repeating them.

use std::fmt::Write;

use anyhow::{Result, ensure};
use postgres::Client;

use crate::sql::{Sql, literal};

/// How events are told to be a table's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    Oid,
    Name,
}

#[derive(Debug)]
pub struct Plan {
    /// A condition on `audit.audit_events e`.
    pub events: String,
    /// `FROM` item of the table's own rows, alias `t`.
    pub from: String,
    /// A row's image, of type jsonb.
    pub image: String,
    /// A row's key as text; `NULL` without one.
    pub key: String,
    /// `capture => 'diff'`.
    pub diff: bool,
}

/// A JSON document that jsonb cannot hold is recorded as a marked substitute.
const JSON_FUNCTION: &str = "
CREATE OR REPLACE FUNCTION pg_temp.live_json(document json) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN document::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN jsonb_build_object('pg_attest', 'substitute', 'type', 'json',
        'length', octet_length(document::text),
        'sha256', encode(sha256(convert_to(document::text, 'UTF8')), 'hex'));
END $$";

impl Plan {
    pub fn of(client: &mut Client, table: &str, identity: Identity) -> Result<Self> {
        let table = literal(table);
        // Names in the caller's table are resolved without a search path: they come qualified.
        let found = client.rows(&format!(
            "SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relkind, n.nspname, c.relname
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = coalesce(to_regclass({table}), to_regclass('public.' || {table}))"
        ))?;
        ensure!(found.len() == 1, "no table {table}");
        let cell = |i: usize| found[0][i].clone().unwrap_or_default();
        let (oid, name, kind) = (cell(0), cell(1), cell(2));
        let events = match identity {
            Identity::Oid => format!("e.table_oid = {oid}"),
            Identity::Name => format!(
                "(e.schema_name, e.table_name) = ({}, {})",
                literal(&cell(3)),
                literal(&cell(4))
            ),
        };
        let only = if kind == "p" { "" } else { "ONLY " };
        let settings = client.rows(&format!(
            "SELECT coalesce(capture, ''), coalesce(array_to_json(exclude)::text, '[]'),
                    coalesce(array_to_json(mask)::text, '[]')
             FROM audit.attachments WHERE target = {oid}"
        ))?;
        ensure!(
            settings.len() == 1,
            "{table} is not attached ({} attachments)",
            settings.len()
        );
        let setting = |i: usize| settings[0][i].clone().unwrap_or_default();
        client.run(JSON_FUNCTION)?;
        Ok(Self {
            events,
            from: format!("{only}{name} t"),
            image: image(client, &oid, &setting(1), &setting(2))?,
            key: key(client, &oid)?,
            diff: setting(0) == "diff",
        })
    }
}

/// The image expression: `to_jsonb` of the row, with excluded, masked and odd columns by hand.
fn image(client: &mut Client, oid: &str, exclude: &str, mask: &str) -> Result<String> {
    let (exclude, mask) = (literal(exclude), literal(mask));
    let columns = client.rows(&format!(
        "SELECT quote_ident(attname), quote_literal(attname),
                CASE WHEN {exclude}::jsonb ? attname THEN 'leave out'
                     WHEN {mask}::jsonb ? attname THEN 'mask'
                     WHEN atttypid = 'json'::regtype THEN 'json' ELSE 'plain' END
         FROM pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    ))?;
    let mut plain = Vec::new();
    let mut special = String::new();
    let mut all_plain = true;
    for column in &columns {
        let [Some(name), Some(key), Some(kind)] = column.as_slice() else {
            continue;
        };
        let value = match kind.as_str() {
            "plain" => {
                plain.push(format!("t.{name}"));
                continue;
            }
            "mask" => format!("CASE WHEN t.{name} IS NULL THEN NULL ELSE '***'::text END"),
            "json" => format!("pg_temp.live_json(t.{name})"),
            _ => String::new(),
        };
        all_plain = false;
        if !value.is_empty() {
            write!(special, " || jsonb_build_object({key}, {value})")?;
        }
    }
    if all_plain {
        return Ok("to_jsonb(t)".into());
    }
    Ok(format!(
        "((SELECT to_jsonb(s) FROM (SELECT {}) s){special})",
        plain.join(", ")
    ))
}

/// The key expression: the primary key's column as text, or its columns as a row literal.
fn key(client: &mut Client, oid: &str) -> Result<String> {
    let columns = client.one(&format!(
        "SELECT string_agg('t.' || quote_ident(a.attname), ', ' ORDER BY k.place)
         FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place), pg_attribute a
         WHERE i.indrelid = {oid} AND i.indisprimary
           AND a.attrelid = i.indrelid AND a.attnum = k.attnum"
    ))?;
    Ok(match columns.as_str() {
        "" => "NULL::text".into(),
        one if !one.contains(", ") => format!("({one})::text"),
        several => format!("ROW({several})::text"),
    })
}
