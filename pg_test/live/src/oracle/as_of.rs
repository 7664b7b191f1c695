//! `audit.rows_at` and `audit.as_of` against a copy that was taken at that moment.

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use postgres::Client;

use super::pinned;
use super::plan::{Identity, Plan};
use super::report;
use crate::sql::{Sql, literal};

/// Demands that `table` as of `moment` is what its `copy` has, masked and excluded columns aside. At the moment no transaction had
/// open changes of the table.
///
/// # Errors
/// The rows that only one of the two has.
pub fn check_as_of(client: &mut Client, table: &str, copy: &str, moment: &str) -> Result<()> {
    pinned(client, |client| {
        let plan = Plan::of(client, table, Identity::Oid)?;
        // Refused by design: an UPDATE's event does not say which row it was.
        if plan.diff && plan.key.starts_with("NULL") {
            return Ok(());
        }
        let (name, moment) = (literal(table), literal(moment));
        let told = format!("SELECT image::text FROM audit.rows_at({name}, {moment})");
        let copied = format!(
            "SELECT (SELECT coalesce(jsonb_object_agg(key, value), '{{}}') FROM jsonb_each({})
                     WHERE NOT (value = '\"***\"' AND key IN (SELECT unnest(mask) FROM audit.attachments WHERE target = {name}::regclass)))::text FROM {copy} t",
            plan.image
        );
        let side = |left: &str, right: &str| format!("({left} EXCEPT ALL {right}) LIMIT 5");
        let mut text = String::new();
        for (what, query) in [("told alone", side(&told, &copied)), ("in the copy alone", side(&copied, &told))] {
            for row in client.table(&query)? {
                write!(text, "\n  {what}: {}", report::cut(&row))?;
            }
        }
        if !text.is_empty() {
            bail!("the rows of then differ:{text}");
        }
        let typed = client.number(&format!("SELECT count(*) FROM audit.as_of(NULL::{table}, {moment})"))?;
        let rows = client.number(&format!("SELECT count(*) FROM {copy}"))?;
        ensure!(typed == rows, "audit.as_of gives {typed} rows, not {rows}");
        Ok(())
    })
    .with_context(|| format!("{table} as of {moment}"))
}
