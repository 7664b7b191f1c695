//! The storage of a month that was emptied: put aside with the month's end, freed in steps, never lost with a rollback.

use anyhow::{Result, ensure};
use live_tests::cluster::Cluster;
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

use crate::past::{PER_MONTH, declared_and_gone, with_more_of_a_past};

/// Events of the large month, which comes before all others.
const LARGE: i64 = 5_000;
/// Of them, those with short values.
const SHORT: i64 = 200;
/// Pages of what was put aside, TOAST included; nobody has to wait to ask for it.
const ASIDE: &str = "SELECT (sum(pg_relation_size(part)) / 8192)::bigint FROM pg_class, unnest(ARRAY[oid, reltoastrelid]) AS part
    WHERE oid = 'audit.emptied_month'::regclass";
/// What a lost or altered event would change.
const ALL_EVENTS: &str = "SELECT count(*), md5(string_agg(e::text, ',' ORDER BY event_id)) FROM audit.audit_events e WHERE occurred_at < '2016-01-01'";

/// A log with a past, of which one month has values out of line: 5 MB of heap and 20 MB of TOAST, so that they do not go in one step.
fn with_a_large_month(db: &Database) -> Result<Client> {
    let restoring = format!(
        "INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation,
             salt, schema_name, table_name, row_key, new_values, session_user_name, effective_role)
         SELECT 1000 + g, '2014-12-01'::timestamptz + g * interval '1 minute', '2014-12-01', '3', 0, 1, 't'::regclass, 'insert',
             gen_random_uuid(), 'public', 't', 'large ' || g, jsonb_build_object('filled', repeat('x', 700), 'v', (
                 SELECT string_agg(encode(sha256((g * 1000 + n)::text::bytea), 'hex'), '') FROM generate_series(1, 50) n)), 'old', 'old'
         FROM generate_series(1, {LARGE} - {SHORT}) g;
         -- Of these, values go out of line that ANALYZE would read, for they are short.
         INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation,
             salt, schema_name, table_name, row_key, old_values, new_values, changed_columns, reason, session_user_name, effective_role)
         SELECT 8000 + g, '2014-12-10'::timestamptz + g * interval '1 minute', '2014-12-10', '3', 0, 1, 't'::regclass, 'update',
             gen_random_uuid(), 'public', 't', 'short ' || g, jsonb_build_object('v', short), jsonb_build_object('v', left(short, -1)), '{{v}}',
             short, 'old', 'old'
         FROM generate_series(1, {SHORT}) g, LATERAL (
             SELECT string_agg(encode(sha256((g * 1000 + n)::text::bytea), 'base64'), '') AS short FROM generate_series(1, 20) n) AS shorts"
    );
    let mut client = with_more_of_a_past(db, &restoring)?;
    client.run("SELECT audit.set_retention('7 years')")?;
    Ok(client)
}

/// The files of the large month's heap and TOAST table.
fn files(client: &mut Client) -> Result<Vec<String>> {
    let files = client.table(
        "SELECT pg_relation_filepath(part) FROM pg_class, unnest(ARRAY[oid, reltoastrelid]) AS part WHERE oid = 'audit.audit_events_2014_12'::regclass",
    )?;
    ensure!(files.len() == 2, "its files are {files:?}");
    Ok(files)
}

/// Prunes until the large month is empty; its storage has been put aside then.
fn empty_the_month(client: &mut Client) -> Result<()> {
    loop {
        let step = client.table("SELECT * FROM audit.prune_batch()")?;
        if step == [format!("audit_events_2014_12|{LARGE}|f")] {
            let aside = client.number(ASIDE)?;
            ensure!(aside > 2_000, "{aside} pages were put aside");
            return Ok(());
        }
        ensure!(step != ["∅|0|t"], "the month was not emptied");
    }
}

/// Everything has been freed: by the catalog, and on disk.
fn freed(cluster: &Cluster, client: &mut Client, files: &[String]) -> Result<()> {
    let aside = client.number(ASIDE)?;
    ensure!(aside == 0, "{aside} pages are left");
    // Empty files stay until the next checkpoint, or restart point.
    client.run("CHECKPOINT")?;
    let data = cluster.dir().join("data");
    for file in files {
        for fork in ["", "_fsm", "_vm"] {
            let file = format!("{file}{fork}");
            ensure!(!data.join(&file).exists(), "{file} is still there");
        }
    }
    let found = client
        .table("SELECT value, ok FROM audit.status() WHERE item = 'storage of emptied months'")?;
    ensure!(found == ["0 bytes|t"], "status says {found:?}");
    Ok(())
}

/// All of the past is declared and gone, its months with it.
fn pruned(client: &mut Client) -> Result<()> {
    ensure!(
        declared_and_gone(client)? == LARGE + 3 * PER_MONTH,
        "not all is declared"
    );
    let rest = client.table("SELECT name FROM audit.log_partitions WHERE ends < '2016-01-01'")?;
    ensure!(rest.is_empty(), "months are left: {rest:?}");
    Ok(())
}

#[test]
fn storage_outlives_a_crash_and_is_freed_on_a_standby_too() {
    let settings = [("autovacuum", "off"), ("wal_keep_size", "1GB")];
    own_cluster(&settings, |db| {
        let mut client = with_a_large_month(db)?;
        let standby = db.cluster().standby()?;
        let files = files(&mut client)?;
        empty_the_month(&mut client)?;
        let rest = client.one("SELECT count(*) FROM audit.audit_events_2014_12")?;
        ensure!(rest == "0", "{rest} events are left");
        let found = client
            .table("SELECT ok FROM audit.status() WHERE item = 'storage of emptied months'")?;
        ensure!(found == ["f"], "status says {found:?}");
        // Nobody stumbles over it.
        client.run("VACUUM (FREEZE, ANALYZE)")?;
        drop(client);
        db.cluster().kill_postmaster()?;
        db.cluster().start()?;
        let mut client = db.connect()?;
        let aside = client.number(ASIDE)?;
        ensure!(aside > 2_000, "{aside} pages are put aside");
        client.run("CALL audit.prune()")?;
        freed(db.cluster(), &mut client, &files)?;
        pruned(&mut client)?;
        let written = client.one("SELECT pg_current_wal_lsn()")?;
        let mut reading = standby.connect(db.name(), "postgres")?;
        wait_until("the standby to replay", || {
            let there = reading.one(&format!("SELECT pg_last_wal_replay_lsn() >= '{written}'"))?;
            Ok((there == "t").then_some(()))
        })?;
        freed(&standby, &mut reading, &files)?;
        drop(reading);
        standby.stop()
    });
}

/// Pages that are freed do not come back with a rollback: so none is, before the month's end is committed.
#[test]
fn a_rollback_brings_a_month_back_whole() {
    own_cluster(&[], |db| {
        let mut client = with_a_large_month(db)?;
        let before = client.table(ALL_EVENTS)?;
        let steps = "FOR n IN 1..60 LOOP PERFORM audit.prune_batch(); END LOOP";
        // Each a transaction, though not a block; the last one with a subtransaction, and committed.
        for (broken_off, sqlstate) in [
            (
                format!("DO $$ BEGIN {steps}; PERFORM 1 / 0; END $$"),
                Some("22012"),
            ),
            (
                "SELECT audit.prune_batch(), 1 / (60 - n) FROM generate_series(1, 60) n".to_owned(),
                Some("22012"),
            ),
            (
                format!(
                    "DO $$ BEGIN BEGIN {steps}; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN END; END $$"
                ),
                None,
            ),
        ] {
            let error = client.attempt(&broken_off)?.map(|error| error.sqlstate);
            ensure!(error.as_deref() == sqlstate, "{broken_off} gave {error:?}");
            let after = client.table(ALL_EVENTS)?;
            ensure!(after == before, "{broken_off} left {after:?} of {before:?}");
        }
        client.run(&format!("BEGIN; DO $$ BEGIN {steps}; END $$; ROLLBACK"))?;
        client.run(&format!(
            "BEGIN; SAVEPOINT s; DO $$ BEGIN {steps}; END $$; ROLLBACK TO s; COMMIT"
        ))?;
        let after = client.table(ALL_EVENTS)?;
        ensure!(after == before, "a rollback left {after:?} of {before:?}");
        let found = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(found.is_empty(), "found: {found:?}");
        let files = files(&mut client)?;
        // And committed together, it is gone; what was put aside first is freed by the next one.
        client.run(&format!("BEGIN; DO $$ BEGIN {steps}; END $$; COMMIT"))?;
        let aside = client.number(ASIDE)?;
        ensure!(aside > 0, "nothing was put aside");
        client.run("CALL audit.prune()")?;
        freed(db.cluster(), &mut client, &files)?;
        pruned(&mut client)
    });
}

#[test]
fn storage_in_use_or_elsewhere_stops_no_prune() {
    own_cluster(
        &[("wal_level", "minimal"), ("max_wal_senders", "0")],
        |db| {
            let mut client = with_a_large_month(db)?;
            let files = files(&mut client)?;
            empty_the_month(&mut client)?;
            let mut reading = db.connect()?;
            reading.run("BEGIN; SELECT FROM audit.emptied_month LIMIT 1")?;
            client.run("CALL audit.prune()")?;
            let aside = client.number(ASIDE)?;
            ensure!(aside > 0, "what is read was freed");
            let rest =
                client.table("SELECT name FROM audit.log_partitions WHERE ends < '2016-01-01'")?;
            ensure!(rest.is_empty(), "months are left: {rest:?}");
            reading.run("ROLLBACK")?;
            client.run("CALL audit.prune()")?;
            freed(db.cluster(), &mut client, &files)?;
            pruned(&mut client)
        },
    );
    own_cluster(&[], |db| {
        let mut client = with_a_large_month(db)?;
        let place = live_tests::scratch::new_dir()?;
        client.run(&format!(
            "CREATE TABLESPACE elsewhere LOCATION '{}'",
            place.display()
        ))?;
        client.run("ALTER TABLE audit.audit_events_2014_12 SET TABLESPACE elsewhere")?;
        client.run("CALL audit.prune()")?;
        let aside = client.number(ASIDE)?;
        ensure!(aside == 0, "{aside} pages are put aside");
        pruned(&mut client)?;
        client.run("DROP TABLESPACE elsewhere")
    });
}

/// What TRUNCATE removes is what was declared and what is put back, whatever told the prune of a month's events.
#[test]
fn a_month_with_events_that_nobody_told_of_is_not_emptied() {
    own_cluster(&[], |db| {
        let mut client = with_a_large_month(db)?;
        let before = client.table(ALL_EVENTS)?;
        let honest = client.one("SELECT pg_get_functiondef('audit.next_events'::regproc)")?;
        let other = honest.replace("event_id > $2", "event_id > $2 AND event_id <> 1007");
        ensure!(other != honest, "{honest} looks otherwise now");
        client.run(&other)?;
        client.run("CALL audit.prune()")?;
        let failed = client.table("SELECT task, subject, sqlstate FROM audit.upkeep_failures")?;
        ensure!(
            failed == ["prune|audit.audit_events_2014_12|XX001"],
            "failed are {failed:?}"
        );
        client.run(&honest)?;
        let rest = client
            .number("SELECT count(*) FROM audit.audit_events WHERE occurred_at < '2015-01-01'")?;
        ensure!(rest == LARGE, "{rest} events are left of {before:?}");
        client.run("CALL audit.prune()")?;
        pruned(&mut client)
    });
}
