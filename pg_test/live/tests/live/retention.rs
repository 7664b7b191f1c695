//! Pruning and erasing while others write, and crashes in their middle: everything is declared and gone, or nothing is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

use crate::no_alarm::dump_and_restore;

const OLD_MONTHS: &[&str] = &["2015-01", "2015-02", "2015-03"];
const PER_MONTH: i64 = 300;
/// Of each of eight writers.
const ROUNDS: i64 = 150;
/// How long a lock may be waited for: on a busy machine whoever holds one may have to wait for a processor.
const AN_INSTANT: &str = "250ms";

/// An attached table with old events: three months of them, restored, moved to their partitions and sealed.
fn with_a_past(db: &Database) -> Result<Client> {
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
fn declared_and_gone(client: &mut Client) -> Result<i64> {
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
    let bad = client.table("SELECT check_name, detail FROM audit.verify_chain() WHERE NOT ok")?;
    ensure!(bad.is_empty(), "the chain is broken: {bad:?}");
    client.number("SELECT coalesce(sum((context ->> 'count')::bigint), 0) FROM audit.audit_events WHERE operation = 'system' AND action = 'prune'")
}

/// The backend of this application name, once it waits for the lock that the test holds or has shown what it is at.
fn backend(client: &mut Client, name: &str, condition: &str) -> Result<String> {
    wait_until("the backend to be in the middle", || {
        let found = client.table(&format!(
            "SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' AND backend_xid IS NOT NULL AND {condition}"
        ))?;
        Ok(found.into_iter().next())
    })
}

/// Runs a command in a session of its own, kills that with signal 9 once it has written something and waits for `blocker`, and
/// waits for the server to be back.
fn kill_in_the_middle(db: &Database, command: &str, blocker: &str, condition: &str) -> Result<()> {
    let mut blocking = db.connect()?;
    blocking.run(&format!("BEGIN; {blocker}"))?;
    let mut watching = db.connect()?;
    thread::scope(|scope| {
        let victim = scope.spawn(|| -> Result<()> {
            let mut client = db.connect()?;
            client.run("SET application_name = 'victim'")?;
            ensure!(client.run(command).is_err(), "{command} was not killed");
            Ok(())
        });
        let killed = backend(&mut watching, "victim", condition)
            .and_then(|pid| db.cluster().kill_backend(&pid));
        let _ = blocking.run("ROLLBACK");
        victim
            .join()
            .map_err(|_| anyhow!("the victim panicked"))??;
        killed
    })?;
    wait_until("the server to be back", || {
        Ok(db.connect().is_ok().then_some(()))
    })
}

#[test]
fn a_kill_in_the_middle_of_a_prune_leaves_whole_partitions() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.set_retention('7 years')")?;
        let before =
            client.one("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(before == "900", "{before} events at first");
        drop(client);
        // A reader keeps the second of three months: the first one, of March, is committed by then.
        kill_in_the_middle(
            db,
            "CALL audit.prune()",
            "SELECT count(*) FROM audit.audit_events_2015_02",
            "query LIKE 'pruning audit.audit_events_2015_02%'",
        )?;
        let mut client = db.connect()?;
        let left =
            client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(left == 2 * PER_MONTH, "{left} events are left");
        ensure!(
            declared_and_gone(&mut client)? == PER_MONTH,
            "more or less is declared"
        );
        // Taken up again, it ends; the months are gone, and nothing else is.
        client.run("CALL audit.prune()")?;
        ensure!(
            declared_and_gone(&mut client)? == 3 * PER_MONTH,
            "not all is declared"
        );
        let rest =
            client.table("SELECT name FROM audit.log_partitions WHERE ends < '2016-01-01'")?;
        ensure!(rest.is_empty(), "months are left: {rest:?}");
        Ok(())
    });
}

#[test]
fn a_kill_in_the_middle_of_a_batch_leaves_its_events() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        // Not the whole month is due, so events are deleted one batch after the other.
        client.run("SELECT audit.set_retention(NULL, target => 't', max_events => 700)")?;
        drop(client);
        kill_in_the_middle(
            db,
            "CALL audit.prune()",
            "SELECT FROM audit.audit_events_2015_01 WHERE row_key = 'old 50' FOR UPDATE",
            "wait_event_type = 'Lock'",
        )?;
        let mut client = db.connect()?;
        let left =
            client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(left == 3 * PER_MONTH, "{left} events are left");
        ensure!(
            declared_and_gone(&mut client)? == 0,
            "something is declared"
        );
        client.run("CALL audit.prune()")?;
        let left =
            client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(left == 700, "{left} events are left");
        ensure!(
            declared_and_gone(&mut client)? == 3 * PER_MONTH - 700,
            "not all is declared"
        );
        Ok(())
    });
}

#[test]
fn a_kill_in_the_middle_of_an_erasure_leaves_the_row() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.seal()")?;
        drop(client);
        kill_in_the_middle(
            db,
            "SELECT audit.erase('t', 'old 7', 'article 17')",
            "SELECT FROM audit.audit_events_2015_03 WHERE row_key = 'old 7' FOR UPDATE",
            "wait_event_type = 'Lock'",
        )?;
        let mut client = db.connect()?;
        let state = "SELECT count(*) FILTER (WHERE row_key = 'old 7' AND salt IS NOT NULL), count(*) FILTER (WHERE payload_hash IS NOT NULL),
                            count(*) FILTER (WHERE action = 'erase') FROM audit.audit_events";
        let found = client.table(state)?;
        ensure!(found == ["3|0|0"], "half erased: {found:?}");
        client.run("SELECT audit.erase('t', 'old 7', 'article 17')")?;
        let found = client.table(state)?;
        ensure!(found == ["0|3|1"], "not erased: {found:?}");
        let wrong = client.table(
            "SELECT e.event_id FROM audit.audit_events e JOIN audit.leaves(0, 1000000) l USING (event_id)
             WHERE sha256('\\x00' || audit.event_leaf(e.event_id)) <> l.leaf_hash",
        )?;
        ensure!(wrong.is_empty(), "leaves changed: {wrong:?}");
        Ok(())
    });
}

/// Waits for locks of relations that the server logged: those longer than `AN_INSTANT`.
fn waits(db: &Database) -> Vec<String> {
    let log = db.cluster().log_tail("still waiting for", 1000);
    log.lines()
        .filter(|line| line.contains("on relation"))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn eight_writers_never_wait_for_a_prune() {
    let settings = [("log_lock_waits", "on"), ("deadlock_timeout", AN_INSTANT)];
    own_cluster(&settings, |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.set_retention('7 years')")?;
        client.run("SELECT audit.set_retention(NULL, target => 't', max_events => 100)")?;
        let writing = AtomicUsize::new(8);
        let written = thread::scope(|scope| -> Result<i64> {
            let writers: Vec<_> = (0..8)
                .map(|n| {
                    let writing = &writing;
                    scope.spawn(move || -> Result<i64> {
                        let written = db.connect().and_then(|mut client| {
                            for _ in 0..ROUNDS {
                                client.run(&format!("INSERT INTO t (v) VALUES ('{n}'); UPDATE t SET v = 'x' WHERE id = currval('t_id_seq')"))?;
                            }
                            Ok(2 * ROUNDS)
                        });
                        writing.fetch_sub(1, Ordering::Relaxed);
                        written
                    })
                })
                .collect();
            let mut prunes = 0;
            let mut outcome = Ok(());
            while outcome.is_ok() && writing.load(Ordering::Relaxed) > 0 {
                outcome = client.run("CALL audit.prune()");
                prunes += 1;
            }
            let mut written = 0;
            for writer in writers {
                written += writer.join().map_err(|_| anyhow!("a writer panicked"))??;
            }
            ensure!(prunes > 0, "nothing was pruned beside the writers");
            outcome.map(|()| written)
        })?;
        let found = waits(db);
        ensure!(found.is_empty(), "somebody waited: {found:#?}");
        // Quiet again: what is left to do is done, and the months go.
        client.run("CALL audit.prune()")?;
        let gone = declared_and_gone(&mut client)?;
        ensure!(
            gone == 3 * PER_MONTH + written - 100,
            "{gone} are gone of {written} written"
        );
        let rest =
            client.table("SELECT name FROM audit.log_partitions WHERE ends < '2016-01-01'")?;
        ensure!(rest.is_empty(), "months are left: {rest:?}");
        // That a wait would have been seen.
        client.run("BEGIN; LOCK TABLE audit.audit_events IN ACCESS EXCLUSIVE MODE")?;
        thread::scope(|scope| {
            let late = scope.spawn(|| db.connect()?.run("INSERT INTO t (v) VALUES ('waits')"));
            let seen = wait_until("the server to log a wait", || {
                Ok((!waits(db).is_empty()).then_some(()))
            });
            client.run("ROLLBACK")?;
            late.join().map_err(|_| anyhow!("the writer panicked"))??;
            seen
        })
    });
}

#[test]
fn the_worker_keeps_the_schedule() {
    let settings = [
        ("shared_preload_libraries", "pg_attest"),
        // Restored events have to be there before the first seal.
        ("audit.seal_interval", "0"),
        ("audit.retention_schedule", "0"),
    ];
    own_cluster(&settings, |db| {
        let mut client = with_a_past(db)?;
        client.run(
            "SELECT audit.set_retention('7 years');
             CREATE TABLE visits (at timestamptz); INSERT INTO visits VALUES ('2001-01-01'), (now());
             SELECT audit.attach_cleanup('visits', 'at', '1 year');
             CREATE TABLE a (at date); INSERT INTO a VALUES ('2001-01-01');
             SELECT audit.attach_cleanup('a', 'at', '1 year');
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;
             CREATE TRIGGER refuse BEFORE DELETE ON a FOR EACH ROW EXECUTE FUNCTION refuse();
             CREATE TRIGGER refuse BEFORE TRUNCATE ON audit.audit_events_2015_02 FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
        )?;
        client.run("ALTER SYSTEM SET audit.seal_interval = '20ms'")?;
        client.run("ALTER SYSTEM SET audit.retention_schedule = '1s'")?;
        client.run("SELECT pg_reload_conf()")?;
        // One table and one month fail; all else is done, in the same run.
        let failures = "SELECT task, subject FROM audit.upkeep_failures ORDER BY 1";
        wait_until("a run to end", || {
            let ended = client.number("SELECT count(*) FROM audit.audit_events WHERE action = 'end upkeep' AND context ->> 'events_pruned' = '600' AND context ->> 'rows_cleaned_up' = '1'")?;
            Ok((ended == 1).then_some(()))
        })?;
        let failed = client.table(failures)?;
        ensure!(
            failed == ["cleanup|public.a", "prune|audit.audit_events_2015_02"],
            "{failed:?}"
        );
        client
            .run("DROP TRIGGER refuse ON a; DROP TRIGGER refuse ON audit.audit_events_2015_02")?;
        wait_until("the keeper to prune the rest", || {
            let left = client.number("SELECT (SELECT count(*) FROM audit.audit_events WHERE operation = 'insert' AND occurred_at < '2016-01-01') + (SELECT count(*) FROM visits) - 1 + (SELECT count(*) FROM a)")?;
            Ok((left == 0).then_some(()))
        })?;
        wait_until("the run to end", || {
            let ended = client.number("SELECT count(*) FROM audit.audit_events WHERE action = 'end upkeep' AND context ->> 'events_pruned' = '300' AND context ->> 'rows_cleaned_up' = '1'")?;
            Ok((ended == 1).then_some(()))
        })?;
        let failed = client.table(failures)?;
        ensure!(failed.is_empty(), "still said to fail: {failed:?}");
        client.run("ALTER SYSTEM SET audit.retention_schedule = 0")?;
        client.run("SELECT pg_reload_conf()")?;
        ensure!(
            declared_and_gone(&mut client)? == 3 * PER_MONTH,
            "not all is declared"
        );
        wait_until("the status to be good", || {
            let status = client.table("SELECT value <> 'none by the worker', ok FROM audit.status() WHERE item = 'last upkeep'")?;
            Ok((status == ["t|t"]).then_some(()))
        })
    });
}

/// Where a partition's bytes are looked for: its files, those of its indexes and of its TOAST table.
fn files_with(db: &Database, client: &mut Client, needle: &str) -> Result<Vec<String>> {
    client.run("CHECKPOINT")?;
    let data = client.one("SHOW data_directory")?;
    let files = client.table(
        "SELECT pg_relation_filepath(r) || ' ' || r::regclass FROM (
             SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit.audit_events'::regclass
             UNION ALL SELECT indexrelid FROM pg_index JOIN pg_inherits ON inhrelid = indrelid WHERE inhparent = 'audit.audit_events'::regclass
             UNION ALL SELECT reltoastrelid FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid WHERE inhparent = 'audit.audit_events'::regclass) AS files (r)",
    )?;
    let mut found = Vec::new();
    for line in files {
        let (file, name) = line.split_once(' ').context("a file and its name")?;
        let bytes = std::fs::read(std::path::Path::new(&data).join(file))
            .with_context(|| format!("cannot read {file} of {}", db.name()))?;
        if bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
        {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// The erased row is the first, the last or in the middle of its page; its values are so long that they are toasted.
#[test]
fn erased_bytes_are_gone_from_the_files_after_vacuum_and_wipe() {
    own_cluster(&[("autovacuum", "off")], |db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE p (id text PRIMARY KEY, v text, w text); SELECT audit.attach('p')",
        )?;
        let needles = [
            "key-of-nobody-else",
            "value-of-nobody-else",
            "long-of-nobody-else",
        ];
        for place in ["first", "middle", "last"] {
            client.run(&format!(
                "INSERT INTO p SELECT 'before {place} ' || g, 'other' FROM generate_series(1, 150) g WHERE '{place}' <> 'first'"
            ))?;
            client.run(&format!(
                "INSERT INTO p SELECT 'key-of-nobody-else {place}', 'value-of-nobody-else', 'long-of-nobody-else' || string_agg(encode(sha256(g::text::bytea), 'hex'), '') FROM generate_series(1, 300) g"
            ))?;
            client.run(&format!(
                "INSERT INTO p SELECT 'behind {place} ' || g, 'other' FROM generate_series(1, 150) g WHERE '{place}' <> 'last'"
            ))?;
        }
        client.run("SELECT audit.seal()")?;
        for needle in needles {
            ensure!(
                !files_with(db, &mut client, needle)?.is_empty(),
                "{needle} is nowhere"
            );
        }
        for place in ["first", "middle", "last"] {
            client.run(&format!(
                "SELECT audit.erase('p', 'key-of-nobody-else {place}', 'article 17')"
            ))?;
        }
        let month = client.one(
            "SELECT DISTINCT tableoid::regclass FROM audit.audit_events WHERE table_name = 'p'",
        )?;
        client.run(&format!("VACUUM {month}"))?;
        ensure!(
            client.number(&format!("SELECT audit.wipe_free_space('{month}')"))? > 0,
            "no page had anything left"
        );
        for needle in needles {
            let found = files_with(db, &mut client, needle)?;
            ensure!(found.is_empty(), "{needle} is still in {found:?}");
        }
        // What is not free is what it was.
        let wrong = client.table("SELECT check_name, event_id, detail FROM audit.verify() WHERE NOT ok AND check_name <> 'last good checkpoint' AND event_id IS NOT NULL")?;
        ensure!(wrong.is_empty(), "verification found {wrong:?}");
        let again = client.number("SELECT audit.wipe_free_space()")?;
        ensure!(again == 0, "{again} pages were written again");
        Ok(())
    });
}

/// Policies and holds arrive with a dump, though table OIDs do not: they go by names, also of a table that was renamed.
#[test]
fn policies_and_holds_survive_a_restore() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        client.run("CREATE TABLE u (id int PRIMARY KEY); SELECT audit.attach('u')")?;
        client.run("INSERT INTO u VALUES (1)")?;
        client.run("SELECT audit.set_retention('100 years', target => 't', locked => true)")?;
        client.run("SELECT audit.set_retention('1 day')")?;
        client
            .run("SELECT audit.hold('case', target => 'u', row_key => '1', reason => 'court')")?;
        client.run("ALTER TABLE t RENAME TO renamed; ALTER TABLE u RENAME TO v")?;
        client.run("INSERT INTO renamed (v) VALUES ('new')")?;
        client.run("SELECT * FROM audit.maintain()")?;
        client.run("SELECT audit.seal()")?;
        let copy = Database::empty(db.cluster())?;
        // Other tables have the OIDs there.
        copy.connect()?
            .run("CREATE TABLE a (); CREATE TABLE b (); CREATE TABLE c ()")?;
        dump_and_restore(db, &copy, "1")?;
        let mut client = copy.connect()?;
        wait_until("the restoring sessions to end", || {
            Ok(client
                .attempt("SELECT audit.seal()")?
                .is_none()
                .then_some(()))
        })?;
        let policies = client
            .table("SELECT policy, target, locked FROM audit.retention_policies ORDER BY 1")?;
        ensure!(
            policies == ["default|∅|f", "table public.t|renamed|t"],
            "{policies:?}"
        );
        let refused =
            client.attempt("SELECT audit.set_retention('1 year', target => 'renamed')")?;
        ensure!(refused.is_some(), "the lock is lost");
        let due = client.table("SELECT policy, subject, due, held FROM audit.apply_retention()")?;
        ensure!(due.is_empty(), "due are {due:?}");
        client.run("SELECT audit.set_retention(NULL, max_events => 0)")?;
        let due = client.table("SELECT policy, subject, sum(due) = sum(held) + 1 FROM audit.apply_retention() GROUP BY 1, 2 ORDER BY 2")?;
        ensure!(
            due.iter().all(|row| !row.starts_with("table public.t")),
            "the locked table's events are due: {due:?}"
        );
        client.run("SELECT audit.apply_retention(false)")?;
        let left = client.table("SELECT table_name, count(*) FROM audit.audit_events WHERE operation = 'insert' GROUP BY 1 ORDER BY 1")?;
        ensure!(left == ["renamed|1", "t|900", "u|1"], "left are {left:?}");
        Ok(())
    });
}
