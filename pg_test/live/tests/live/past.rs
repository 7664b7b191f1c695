//! A log with a past, and whether what is gone of it is declared.

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, wait_until};
use postgres::Client;

const OLD_MONTHS: &[&str] = &["2015-01", "2015-02", "2015-03"];
pub const PER_MONTH: i64 = 300;

/// An attached table with old events: three months of them, restored, moved to their partitions and sealed.
pub fn with_a_past(db: &Database) -> Result<Client> {
    with_more_of_a_past(db, "")
}

/// The same, and what a statement restores beside it, under ids below 10,000.
pub fn with_more_of_a_past(db: &Database, restoring: &str) -> Result<Client> {
    let mut client = db.connect()?;
    client.run("CREATE TABLE t (id bigserial PRIMARY KEY, v text); SELECT audit.attach('t')")?;
    // Under ids that the sequence has passed.
    client.run("SELECT setval('audit.audit_events_event_id_seq', 20000)")?;
    client.run("SET audit.restore = on")?;
    for (number, month) in OLD_MONTHS.iter().enumerate() {
        let first = 10_000 + i64::try_from(number)? * PER_MONTH;
        client.run(&format!(
            "INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation,
                 salt, schema_name, table_name, row_key, new_values, session_user_name, effective_role)
             SELECT {first} + g, '{month}-01'::timestamptz + g * interval '1 minute', '{month}-01', '3', 0, 1, 't'::regclass, 'insert',
                 gen_random_uuid(), 'public', 't', 'old ' || g, jsonb_build_object('v', 'secret of the past'), 'old', 'old'
             FROM generate_series(1, {PER_MONTH}) g"
        ))?;
    }
    client.run(restoring)?;
    client.run("RESET audit.restore; SELECT * FROM audit.maintain()")?;
    // A session that restored keeps seals off until it ends.
    drop(client);
    let mut client = db.connect()?;
    wait_until("the restoring session to end", || {
        Ok(client
            .attempt("SELECT audit.seal()")?
            .is_none()
            .then_some(()))
    })?;
    Ok(client)
}

/// Every leaf whose event is gone is declared once by a prune; no event that is there is; declared counts are right. How many are
/// gone.
pub fn declared_and_gone(client: &mut Client) -> Result<i64> {
    client.run("SELECT audit.seal()")?;
    let odd = client.table(
        "WITH leaves AS MATERIALIZED (SELECT * FROM audit.leaves(0, 9223372036854775807)),
         runs AS (SELECT d.event_id, d.context, (r ->> 1)::bigint AS first, (r ->> 2)::bigint AS last
                  FROM audit.audit_events d, jsonb_array_elements(d.context -> 'leaves') r
                  WHERE d.operation = 'system' AND d.action = 'prune')
         SELECT l.leaf_index, e.event_id, count(r.event_id)
         FROM leaves l LEFT JOIN audit.audit_events e USING (event_id) LEFT JOIN runs r ON l.leaf_index BETWEEN r.first AND r.last
         GROUP BY 1, 2 HAVING (e.event_id IS NULL)::int <> count(r.event_id)",
    )?;
    ensure!(
        odd.is_empty(),
        "declared and there, or gone and not declared: {odd:?}"
    );
    let bad = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
    ensure!(bad.is_empty(), "found: {bad:?}");
    client.number("SELECT coalesce(sum((context ->> 'count')::bigint), 0) FROM audit.audit_events WHERE operation = 'system' AND action = 'prune'")
}
