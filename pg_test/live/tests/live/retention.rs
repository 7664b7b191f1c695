//! Pruning beside writers, by the worker, and after a restore.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

use crate::no_alarm::dump_and_restore;
use crate::past::{PER_MONTH, declared_and_gone, with_a_past};

/// Of each of eight writers.
const ROUNDS: i64 = 150;
/// How long a lock may be waited for: on a busy machine whoever holds one may have to wait for a processor.
const AN_INSTANT: &str = "250ms";
/// Settings of a cluster whose log tells of waits.
const WATCHED: &[(&str, &str)] = &[("log_lock_waits", "on"), ("deadlock_timeout", AN_INSTANT)];

/// Waits for locks of relations that the server logged: those longer than `AN_INSTANT`.
fn waits(db: &Database) -> Vec<String> {
    let log = db.cluster().log_tail("still waiting for", 1000);
    log.lines()
        .filter(|line| line.contains("on relation"))
        .map(ToOwned::to_owned)
        .collect()
}

/// The longest time for which a lock of the log that shuts writers out was seen, while `goes_on`.
fn longest_shut(client: &mut Client, goes_on: impl Fn() -> bool) -> Result<Duration> {
    let (mut longest, mut since) = (Duration::ZERO, None);
    while goes_on() {
        let asked = Instant::now();
        let shut = client.number(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND relation = 'audit.audit_events'::regclass
             AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')",
        )?;
        if shut == 0 {
            since = None;
        } else {
            longest = longest.max(since.get_or_insert(asked).elapsed());
        }
    }
    Ok(longest)
}

/// Does the work again and again while eight sessions write; gives how many events they wrote. Nobody may have waited.
fn beside_writers(db: &Database, mut work: impl FnMut() -> Result<()>) -> Result<i64> {
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
        let watcher = scope
            .spawn(|| longest_shut(&mut db.connect()?, || writing.load(Ordering::Relaxed) > 0));
        let mut times = 0;
        let mut outcome = Ok(());
        while outcome.is_ok() && writing.load(Ordering::Relaxed) > 0 {
            outcome = work();
            times += 1;
        }
        let mut written = 0;
        for writer in writers {
            written += writer.join().map_err(|_| anyhow!("a writer panicked"))??;
        }
        ensure!(times > 0, "nothing was done beside the writers");
        let shut = watcher
            .join()
            .map_err(|_| anyhow!("the watcher panicked"))??;
        ensure!(
            shut < Duration::from_secs(1),
            "the log was shut for {shut:?}"
        );
        outcome.map(|()| written)
    })?;
    let found = waits(db);
    ensure!(found.is_empty(), "somebody waited: {found:#?}");
    Ok(written)
}

#[test]
fn eight_writers_never_wait_for_a_prune() {
    own_cluster(WATCHED, |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.set_retention('7 years')")?;
        client.run("SELECT audit.set_retention(NULL, target => 't', max_events => 100)")?;
        let written = beside_writers(db, || client.run("CALL audit.prune()"))?;
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
fn eight_writers_never_wait_for_an_erasure_or_a_clearing() {
    own_cluster(WATCHED, |db| {
        let mut client = with_a_past(db)?;
        let (mut logged, mut cleared, mut erased) = (0, 0, 0);
        let written = beside_writers(db, || {
            client.run("SELECT audit.log_event('visit', category => 'visits')")?;
            logged += 1;
            cleared += client.number("SELECT audit.clear('visits', 'tidy')")?;
            if erased < PER_MONTH {
                erased += 1;
                client.run(&format!(
                    "SELECT audit.erase('t', 'old {erased}', 'article 17')"
                ))?;
            }
            Ok(())
        })?;
        client.run("SELECT audit.seal()")?;
        cleared += client.number("SELECT audit.clear('visits', 'tidy')")?;
        ensure!(cleared == logged, "{cleared} of {logged} are cleared");
        let state = client.table("SELECT count(*), count(*) FILTER (WHERE payload_hash IS NOT NULL) FROM audit.audit_events WHERE operation IN ('insert', 'update')")?;
        // Each month has a row of the key.
        let expected = format!("{}|{}", 3 * PER_MONTH + written, 3 * erased);
        ensure!(state == [expected.as_str()], "{state:?}, not {expected}");
        client.run("SELECT audit.seal()")?;
        let found = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(found.is_empty(), "found: {found:?}");
        Ok(())
    });
}

#[test]
fn a_reader_of_one_month_keeps_none_of_the_others() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.set_retention('7 years')")?;
        let mut reader = db.connect()?;
        reader.run("BEGIN; SELECT FROM audit.audit_events_2015_02")?;
        let failures = "SELECT task, subject, sqlstate FROM audit.upkeep_failures";
        for _ in 0..2 {
            client.run("CALL audit.prune()")?;
            ensure!(
                declared_and_gone(&mut client)? == 2 * PER_MONTH,
                "the other months are not gone"
            );
            let failed = client.table(failures)?;
            ensure!(
                failed == ["prune|audit.audit_events_2015_02|55P03"],
                "{failed:?}"
            );
        }
        reader.run("ROLLBACK")?;
        client.run("CALL audit.prune()")?;
        ensure!(
            declared_and_gone(&mut client)? == 3 * PER_MONTH,
            "the month that was read is not gone"
        );
        let failed = client.table(failures)?;
        ensure!(failed.is_empty(), "still said to fail: {failed:?}");
        Ok(())
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
