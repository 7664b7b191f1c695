//! The signed fold: exact for every statement and any number of sessions, done by the server.
//!
//! A `truncate` event empties the table: events before it (in its transaction by statement, in
//! others by `captured_at`, which TRUNCATE's exclusive lock makes exact) no longer count.

use std::fmt::Write;

use anyhow::{Result, bail};
use postgres::Client;

use super::plan::Plan;
use super::report;
use crate::sql::Sql;

pub fn check(client: &mut Client, plan: &Plan) -> Result<()> {
    let Plan {
        events,
        from,
        image,
        key,
        ..
    } = plan;
    let residue = client.rows(&format!(
        "WITH event AS MATERIALIZED (
             SELECT * FROM audit.audit_events e WHERE {events}),
         -- Few rows, looked at once for each event: not to be found by scanning them all.
         emptied AS MATERIALIZED (SELECT * FROM event WHERE operation::text = 'truncate'),
         living AS (
             SELECT * FROM event e
             WHERE e.operation::text IN ('insert', 'update', 'delete', 'snapshot')
               AND NOT EXISTS (
                   SELECT FROM emptied x
                   WHERE CASE WHEN x.xact_id = e.xact_id
                              THEN (e.statement_id, e.event_id) < (x.statement_id, x.event_id)
                              ELSE e.captured_at < x.captured_at END)),
         signed (image, n, key) AS (
             SELECT new_values::text, 1, row_key FROM living WHERE new_values IS NOT NULL
             UNION ALL
             SELECT old_values::text, -1, coalesce(old_row_key, row_key) FROM living
             WHERE old_values IS NOT NULL
             UNION ALL
             SELECT ({image})::text, -1, {key} FROM {from})
         SELECT image, sum(n), min(key) FROM signed GROUP BY image HAVING sum(n) <> 0
         ORDER BY min(key), image LIMIT 40"
    ))?;
    if residue.is_empty() {
        return Ok(());
    }
    let mut text = String::from("the events do not add up to the rows:\n");
    let mut keys = Vec::new();
    let mut images = Vec::new();
    for row in &residue {
        let cell = |i: usize| row[i].clone().unwrap_or_default();
        let count: i64 = cell(1).parse()?;
        let meaning = if count > 0 {
            "by the events alone"
        } else {
            "in the table alone"
        };
        writeln!(
            text,
            "  {:>3} × {meaning}: {}",
            count.abs(),
            report::cut(&cell(0))
        )?;
        images.push(cell(0));
        keys.extend(row[2].clone());
    }
    text.push_str(&report::events(client, plan, &keys, &images)?);
    bail!(text)
}
