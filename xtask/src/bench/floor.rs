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
/// empty copy of their partition with the same indexes. Leaves the database as it was.
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
    let partition: String = client
        .query_one(
            "SELECT DISTINCT tableoid::regclass::text FROM audit.audit_events
             WHERE operation = $1::text::audit.operation AND occurred_at > $2::text::timestamptz",
            &[&operation, &since],
        )?
        .get(0);
    client.batch_execute(&format!(
        "COPY (SELECT * FROM {partition} WHERE operation = '{operation}' AND occurred_at > '{since}') TO '{file}' BINARY"
    ))?;
    client.batch_execute(&format!(
        "CREATE TABLE public.storage_floor (LIKE {partition} INCLUDING ALL)"
    ))?;
    let started = Instant::now();
    client.batch_execute(&format!("COPY public.storage_floor FROM '{file}' BINARY"))?;
    let time = started.elapsed();
    client.batch_execute("DROP TABLE public.storage_floor")?;
    Ok(time.as_secs_f64() * 1e3)
}
