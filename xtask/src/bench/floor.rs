//! The storage floor: what PostgreSQL itself takes to store the same events.

use super::turns::Bench;
use anyhow::Result;
use postgres::Client;
use std::time::{Instant, SystemTime};

/// How the floors' names among the systems begin.
pub const PREFIX: &str = "floor of ";

/// The name of the floor under a system.
pub fn name(system: &str) -> String {
    format!("{PREFIX}{system}")
}

/// The milliseconds that COPY takes for the events of one operation, from a binary file into an
/// empty copy of their partition with the same indexes. Leaves the log as it was.
///
/// JSONB goes through the file as the bytes in which it is stored: COPY would have to parse it, which is
/// not storage.
pub fn measure(
    bench: &Bench,
    client: &mut Client,
    operation: &str,
    since: SystemTime,
) -> Result<f64> {
    let file = bench.server.cluster.home().join("floor.copy");
    let file = file.display();
    let since: String = client
        .query_one("SELECT $1::timestamptz::text", &[&since])?
        .get(0);
    let (partition, columns, bytes): (String, String, String) = {
        let row = client.query_one(SHAPE, &[&operation, &since])?;
        (row.get(0), row.get(1), row.get(2))
    };
    client.batch_execute(&format!(
        "CREATE CAST (jsonb AS bytea) WITHOUT FUNCTION;
         CREATE TABLE public.storage_floor (LIKE {partition} INCLUDING ALL);
         ALTER TABLE public.storage_floor {bytes};
         COPY (SELECT {columns} FROM {partition} WHERE operation = '{operation}' AND occurred_at > '{since}')
         TO '{file}' BINARY"
    ))?;
    let started = Instant::now();
    client.batch_execute(&format!("COPY public.storage_floor FROM '{file}' BINARY"))?;
    let time = started.elapsed();
    client.batch_execute("DROP TABLE public.storage_floor; DROP CAST (jsonb AS bytea)")?;
    Ok(time.as_secs_f64() * 1e3)
}

/// The partition of the operation's events, its columns, and what makes bytes of its JSONB columns.
const SHAPE: &str = "
    SELECT p.partition::text,
           string_agg(quote_ident(attname) || CASE WHEN is_json THEN '::bytea' ELSE '' END, ', ' ORDER BY attnum),
           string_agg(format('ALTER COLUMN %I TYPE bytea USING %1$I::bytea', attname), ', ') FILTER (WHERE is_json)
    FROM (SELECT DISTINCT tableoid::regclass AS partition
          FROM audit.audit_events
          WHERE operation = $1::text::audit.operation AND occurred_at > $2::text::timestamptz) AS p
    JOIN LATERAL (SELECT attname, attnum, atttypid = 'jsonb'::regtype AS is_json
                  FROM pg_attribute WHERE attrelid = p.partition AND attnum > 0 AND NOT attisdropped) AS c ON true
    GROUP BY p.partition";
