//! Archives: closed months as Parquet files that need no database; DuckDB reads them; a database takes them back.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, shared};
use serde_json::Value as Json;

use crate::attest_cli::{Auditor, tamper};

/// The columns of an event, as both sides print them alike: (DuckDB, PostgreSQL).
const PRINTED: (&str, &str) = (
    "event_id, epoch_us(occurred_at), epoch_us(captured_at), xact_id, statement_id, backend_pid, table_oid, operation, lower(hex(salt)),
     schema_name, table_name, row_key, old_row_key, old_values::varchar, new_values::varchar, to_json(changed_columns)::varchar,
     session_user_name, effective_role, app_user_id, request_id, process_id, session_id, tenant_id, reason, application_name,
     client_addr, action, category, severity, entity_type, entity_id, entity_name, description, context::varchar,
     lower(hex(payload_hash)), epoch, leaf_index",
    "event_id, (extract(epoch FROM occurred_at) * 1000000)::bigint, (extract(epoch FROM captured_at) * 1000000)::bigint, xact_id,
     statement_id, backend_pid, table_oid, operation, replace(salt::text, '-', ''), schema_name, table_name, row_key, old_row_key,
     old_values, new_values, to_json(changed_columns), session_user_name, effective_role, app_user_id, request_id, process_id,
     session_id, tenant_id, reason, application_name, abbrev(client_addr), action, category, severity, entity_type, entity_id,
     entity_name, description, context, encode(payload_hash, 'hex'), l.epoch, l.leaf_index",
);

/// The months of a log whose first events are some months old: the oldest one's name. It and the next one have half of the events each.
pub fn months(db: &Database, rows: u32) -> Result<String> {
    unequal_months(db, rows, 2)
}

/// The same; the oldest one has this part of the events.
pub fn unequal_months(db: &Database, rows: u32, part: u32) -> Result<String> {
    let mut client = db.connect()?;
    client.run(
        "CREATE TABLE t (id serial PRIMARY KEY, name text, tags text[], n numeric, at timestamptz DEFAULT now());
         SELECT audit.attach('t')",
    )?;
    client.run(&format!(
        "INSERT INTO t (name, tags, n) SELECT 'Zoë \"' || md5(n::text) || '\"', ARRAY['a', NULL, 'b'], n / 7.0 FROM generate_series(1, {rows}) n"
    ))?;
    client.run("SELECT audit.set_context(request_id => 'r-1', reason => '', app_user_id => 'ann', is_local => false)")?;
    client.run("UPDATE t SET name = name || E'\\n', tags = NULL WHERE id % 7 = 0; DELETE FROM t WHERE id % 11 = 0")?;
    // As if they had happened then: nothing is sealed yet.
    let middle = client.one(&format!(
        "SELECT max(event_id) / {part} FROM audit.audit_events"
    ))?;
    for (half, months) in [("<=", 3), (">", 2)] {
        tamper(
            db,
            &format!(
                "UPDATE audit.audit_events SET occurred_at = occurred_at - interval '{months} months',
                 captured_at = captured_at - interval '{months} months',
                 client_addr = CASE event_id % 3 WHEN 0 THEN '10.1.2.3'::inet WHEN 1 THEN '2001:db8::/32'::inet END,
                 changed_columns = CASE WHEN event_id % 5 = 0 THEN '{{}}'::text[] WHEN event_id % 5 = 1 THEN ARRAY['x', NULL] ELSE changed_columns END
                 WHERE event_id {half} {middle}"
            ),
        )?;
    }
    client.run(
        "ALTER TABLE audit.archived_events ENABLE ALWAYS TRIGGER refuse_write, ENABLE ALWAYS TRIGGER refuse_truncate; SELECT audit.maintain()",
    )?;
    client.run("SELECT audit.seal(); INSERT INTO t (name) VALUES ('now'); SELECT audit.seal(); INSERT INTO t (name) VALUES ('unsealed')")?;
    client
        .one("SELECT min(tableoid::regclass::text) FROM audit.audit_events")
        .map(|name| name.trim_start_matches("audit.").to_owned())
}

pub fn duckdb(query: &str) -> Result<Vec<String>> {
    let output = Command::new(python()?)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/python/read_archive.py"
        ))
        .arg(query)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect())
}

pub fn python() -> Result<String> {
    std::env::var("PG_ATTEST_PYTHON")
        .context("PG_ATTEST_PYTHON is not set: give a Python with the packages of pg_test/live/python/requirements.txt")
}

pub fn manifest(archive: &str) -> Result<Json> {
    let text = std::fs::read(format!("{archive}/manifest.json"))?;
    Ok(serde_json::from_slice(&text)?)
}

/// One line of everything: for comparing rows whose texts have newlines.
fn lines(columns: &str) -> String {
    format!("SELECT translate(concat_ws('|', {columns}), chr(10), '~')")
}

#[test]
fn an_archive_is_what_the_log_had_and_comes_back() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let mut client = db.connect()?;
        let month = months(db, 3000)?;
        let dest = auditor.path("archive");
        let archivist = db.role("archivist")?;
        client.run(&format!(
            "SELECT audit.grant_access('{archivist}', 'admin')"
        ))?;
        let output = auditor
            .command(&["archive", "--db", "DB", &dest])?
            .env("PGUSER", &archivist)
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout)?;
        let archive = format!("{dest}/{month}");
        let manifest = manifest(&archive)?;
        let held = client.number(&format!("SELECT count(*) FROM audit.{month}"))?;
        ensure!(
            manifest["count"] == held
                && held > 500
                && said.contains(&format!("{month}: {held} events archived")),
            "{held} events; {said}; {manifest:#}"
        );
        let sealed = client.number("SELECT count(*) FROM audit.audit_events WHERE occurred_at < date_trunc('month', now(), 'UTC')")?;
        let recorded = client.number("SELECT sum(events) FROM audit.archives")?;
        ensure!(
            recorded == sealed,
            "{recorded} of {sealed} events are recorded"
        );
        let digest = client.one(&format!(
            "SELECT encode(manifest_sha256, 'hex') FROM audit.archives WHERE partition = '{month}'"
        ))?;
        auditor.attest(0, &["verify", &archive, "--manifest-sha256", &digest])?;
        auditor.attest(
            1,
            &["verify", &archive, "--manifest-sha256", &"0".repeat(64)],
        )?;
        let all: Json =
            serde_json::from_slice(&auditor.attest(0, &["verify", &dest, "--json"])?.stdout)?;
        ensure!(
            all["archives"].as_array().is_some_and(|all| all.len() == 2),
            "{all:#}"
        );

        // Again, there is nothing to do.
        let again = auditor.attest(0, &["archive", "--db", "DB", &dest])?;
        ensure!(
            String::from_utf8(again.stdout)?.contains("is archived already"),
            "archived twice"
        );

        // DuckDB sees the same values, the exact text of JSON included.
        let (duck, pg) = PRINTED;
        let theirs = duckdb(&format!(
            "{} FROM '{archive}/events/*.parquet' ORDER BY event_id",
            lines(duck)
        ))?;
        let ours = client.table(&format!(
            "{} FROM audit.{month} e, audit.find_leaf(e.event_id) l ORDER BY event_id",
            lines(pg)
        ))?;
        for (theirs, ours) in theirs.iter().zip(&ours) {
            ensure!(theirs == ours, "DuckDB: {theirs}\nPostgreSQL: {ours}");
        }
        ensure!(
            theirs.len() == ours.len(),
            "{} rows, not {}",
            theirs.len(),
            ours.len()
        );

        // Back in the database.
        auditor.attest(0, &["restore-archive", &archive, "--db", "DB"])?;
        let again = auditor.attest(0, &["restore-archive", &archive, "--db", "DB"])?;
        ensure!(
            String::from_utf8(again.stdout)?.contains("already"),
            "restored twice"
        );
        let columns = client.one(
            "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = 'audit.audit_events'::regclass AND attnum > 0",
        )?;
        let (live, back) = (
            format!("SELECT {columns} FROM audit.{month}"),
            format!("SELECT {columns} FROM audit.archived_events WHERE archive = '{month}'"),
        );
        let differ = client.number(&format!(
            "SELECT count(*) FROM (({live} EXCEPT {back}) UNION ALL ({back} EXCEPT {live})) d"
        ))?;
        ensure!(differ == 0, "{differ} events differ");
        let wrong = client.number(
            "SELECT count(*) FROM audit.archived_events a WHERE (epoch, leaf_index) IS DISTINCT FROM (SELECT (l.epoch, l.leaf_index) FROM audit.find_leaf(a.event_id) l)",
        )?;
        ensure!(wrong == 0, "{wrong} events have another leaf");
        let indexes = |table: &str| {
            format!(
                "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') FROM pg_index WHERE indrelid = '{table}'::regclass ORDER BY 1"
            )
        };
        let of_log = client.table(&indexes("audit.audit_events_default"))?;
        let restored = client.table(&indexes(&format!("audit.archived_{month}")))?;
        ensure!(
            of_log.len() > 5 && restored == of_log,
            "restored with {restored:?}, the log has {of_log:?}"
        );
        for refused in [
            "INSERT INTO audit.archived_events SELECT * FROM audit.archived_events",
            "UPDATE audit.archived_events SET reason = 'x'",
            "DELETE FROM audit.archived_events",
            "TRUNCATE audit.archived_events",
            &format!("DELETE FROM audit.archived_{month}"),
            &format!("TRUNCATE audit.archived_{month}"),
        ] {
            client.refused("42501", refused)?;
        }
        // It cannot become a part of the log, and the log does not know it.
        client.run(&format!(
            "BEGIN; ALTER TABLE audit.archived_events DETACH PARTITION audit.archived_{month}"
        ))?;
        client.refused(
            "42804",
            &format!("ALTER TABLE audit.audit_events ATTACH PARTITION audit.archived_{month} FOR VALUES FROM ('1999-01-01') TO ('1999-02-01')"),
        )?;
        client.run("ROLLBACK")?;
        let reader = db.role("reader")?;
        client.run(&format!("SELECT audit.grant_access('{reader}', 'reader')"))?;
        let seen = db
            .connect_as(&reader)?
            .number("SELECT count(*) FROM audit.archived_events")?;
        ensure!(seen == held, "the reader sees {seen} of {held}");
        auditor.attest(0, &["verify", "--db", "DB"])?;
        auditor.attest(0, &["restore-archive", "--drop", &month, "--db", "DB"])?;
        ensure!(
            client.number("SELECT count(*) FROM audit.archived_events")? == 0,
            "still there"
        );
        auditor
            .attest(2, &["restore-archive", "--drop", &month, "--db", "DB"])
            .map(drop)
    });
}

/// Columns that are NULL throughout have chunks, too.
#[test]
fn every_column_chunk_is_compressed_with_zstd() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        months(db, 3000)?;
        let dest = auditor.path("archive");
        auditor.attest(0, &["archive", "--db", "DB", &dest])?;
        let files = format!("'{dest}/*/events/*.parquet'");
        let chunks = duckdb(&format!(
            "SELECT compression, count(*) = 37 * count(DISTINCT (file_name, row_group_id)), count(DISTINCT file_name),
                    sum(total_compressed_size) < sum(total_uncompressed_size) / 2
             FROM parquet_metadata({files}) GROUP BY 1"
        ))?;
        let written = duckdb(&format!("SELECT count(*) FROM glob({files})"))?;
        ensure!(
            chunks == [format!("ZSTD|True|{}|True", written[0])],
            "{chunks:?} of {written:?} files"
        );
        Ok(())
    });
}

#[test]
fn events_that_came_late_make_another_archive() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let month = months(db, 300)?;
        let dest = auditor.path("archive");
        let arguments = ["archive", "--db", "DB", &dest, "--partition", &month];
        let late = format!(
            "UPDATE audit.audit_events SET occurred_at = (SELECT max(occurred_at) FROM audit.{month})
             WHERE event_id > (SELECT max(last_event_id) FROM audit.checkpoints)"
        );
        auditor.attest(0, &arguments)?;
        // Not sealed: not archived.
        db.connect()?
            .run("INSERT INTO t (name) SELECT 'late' FROM generate_series(1, 10)")?;
        tamper(db, &late)?;
        let output = auditor.attest(2, &arguments)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(said.contains("are not sealed"), "{said}");
        db.connect()?.run("SELECT audit.seal()")?;
        auditor.attest(0, &arguments)?;
        let (first, second) = (
            manifest(&format!("{dest}/{month}"))?["count"].as_u64(),
            manifest(&format!("{dest}/{month}-2"))?["count"].as_u64(),
        );
        let held = db
            .connect()?
            .number(&format!("SELECT count(*) FROM audit.{month}"))?;
        ensure!(
            second == u64::try_from(held).ok()
                && first.is_some_and(|first| first + 10 <= held.unsigned_abs()),
            "{first:?}, then {second:?} of {held}"
        );
        auditor.attest(0, &["verify", &dest])?;
        let current = db
            .connect()?
            .one("SELECT 'audit_events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")?;
        auditor.attest(
            2,
            &["archive", "--db", "DB", &dest, "--partition", &current],
        )?;
        auditor.attest(2, &["archive", "--db", "DB", &dest, "--partition", "t"])?;
        // Another log's archive is not taken for one's own, and two do not write at once.
        let other = Database::new(db.cluster())?;
        months(&other, 10)?;
        let said = Auditor::new(&other)?.attest(2, &["archive", "--db", "DB", &dest])?;
        let said = String::from_utf8(said.stderr)?;
        ensure!(said.contains("another log"), "{said}");
        let mut holder = db.connect()?;
        holder.run("SELECT pg_advisory_lock(x'61726368697665'::bigint)")?;
        let said = String::from_utf8(auditor.attest(2, &arguments)?.stderr)?;
        ensure!(said.contains("is at work"), "{said}");
        Ok(())
    });
}
