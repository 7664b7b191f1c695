//! Summaries behind writers: whatever of the log is summarised, at whatever moment, a page is what the plain query says.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::volume::rows_read;
use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

const BY_HAND: &[(&str, &str)] = &[];
const PRELOADED: &[(&str, &str)] = &[
    ("shared_preload_libraries", "pg_attest"),
    ("audit.seal_interval", "20ms"),
];

/// Arguments of `audit.events`, and the condition that says the same.
const FILTERS: [(&str, &str); 12] = [
    ("target => 't', ", "table_oid = 't'::regclass"),
    ("app_user_id => 'u1', ", "app_user_id = 'u1'"),
    (
        "app_user_id => 'u2', operation => '{update}', ",
        "app_user_id = 'u2' AND operation = 'update'",
    ),
    ("category => '{c0,c3}', ", "category IN ('c0', 'c3')"),
    ("changed_column => 'v', ", "'v' = ANY (changed_columns)"),
    (
        "session_user_name => 'postgres', ",
        "session_user_name = 'postgres'",
    ),
    ("search => 'told 7', ", "description LIKE 'told 7%'"),
    ("request_id => 'shared', ", "request_id = 'shared'"),
    ("request_id => 'w1', ", "request_id = 'w1'"),
    ("request_id => 'w1 n20', ", "request_id = 'w1 n20'"),
    (
        "request_id => 'w2', process_id => 'p3', ",
        "request_id = 'w2' AND process_id = 'p3'",
    ),
    ("", "true"),
];

fn attach(client: &mut Client) -> Result<()> {
    client.run("CREATE TABLE t (id int PRIMARY KEY, v int); SELECT audit.attach('t')")
}

/// Pages of every filter at random places, against the plain query of the same snapshot.
fn compare(client: &mut Client) -> Result<()> {
    for (arguments, condition) in FILTERS {
        client.run("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        let wrong = client.table(&format!(
            "SELECT before FROM (
                 SELECT CASE WHEN n > 1 THEN (random() * (SELECT max(event_id) FROM audit.audit_events))::bigint ELSE 9223372036854775807 END,
                        CASE WHEN n % 2 = 0 THEN 50 ELSE 1 + (random() * 999)::int END
                 FROM generate_series(1, 3) n OFFSET 0) AS place (before, size)
             WHERE ARRAY(SELECT event_id FROM audit.events({arguments}before_id => before, page_size => size))
                IS DISTINCT FROM ARRAY(SELECT event_id FROM audit.audit_events WHERE event_id < before AND {condition}
                                       ORDER BY event_id DESC LIMIT size)"
        ))?;
        client.run("COMMIT")?;
        ensure!(
            wrong.is_empty(),
            "{arguments}: other pages before {wrong:?}"
        );
    }
    Ok(())
}

/// Every range has its events and their values, and those alone.
fn check(client: &mut Client) -> Result<()> {
    let wrong = client.number(
        "WITH truth AS (
             SELECT r.last_id, v.filter, v.value, array_agg(e.event_id ORDER BY e.event_id) AS ids
             FROM audit.event_ranges r JOIN audit.audit_events e ON e.event_id BETWEEN r.first_id AND r.last_id
             CROSS JOIN LATERAL (VALUES ('target', e.table_oid::text), ('operation', e.operation::text), ('app_user_id', e.app_user_id),
                                        ('category', e.category), ('action', e.action)) AS v (filter, value)
             WHERE v.value IS NOT NULL GROUP BY 1, 2, 3)
         SELECT count(*)
         FROM truth t
         FULL JOIN (SELECT * FROM audit.range_values WHERE filter IN ('target', 'operation', 'app_user_id', 'category', 'action')) v
                ON (v.last_id, v.filter::text, v.value) = (t.last_id, t.filter, t.value)
         WHERE v.events IS DISTINCT FROM cardinality(t.ids)
            OR v.ids IS DISTINCT FROM CASE WHEN cardinality(t.ids) <= 32 THEN t.ids END",
    )?;
    ensure!(wrong == 0, "{wrong} values of ranges are wrong");
    let wrong = client.number(
        "WITH groups AS (SELECT DISTINCT filter, value FROM audit.range_values WHERE filter IN ('request_id', 'process_id')),
         truth AS (
             SELECT r.last_id, g.filter, g.value, array_agg(e.event_id ORDER BY e.event_id) AS ids
             FROM audit.event_ranges r JOIN audit.audit_events e ON e.event_id BETWEEN r.first_id AND r.last_id
             JOIN groups g ON g.value = CASE g.filter WHEN 'request_id' THEN e.request_id ELSE e.process_id END GROUP BY 1, 2, 3)
         SELECT count(*)
         FROM truth t
         FULL JOIN (SELECT * FROM audit.range_values WHERE filter IN ('request_id', 'process_id')) v USING (last_id, filter, value)
         WHERE v.events IS DISTINCT FROM cardinality(t.ids)
            OR v.ids IS DISTINCT FROM CASE WHEN cardinality(t.ids) <= 32 THEN t.ids END",
    )?;
    ensure!(wrong == 0, "{wrong} ranges of large groups are wrong");
    let gaps = client.number(
        "SELECT count(*) FROM audit.audit_events e
         WHERE e.event_id <= (SELECT max(last_id) FROM audit.event_ranges)
           AND NOT EXISTS (SELECT FROM audit.event_ranges r WHERE e.event_id BETWEEN r.first_id AND r.last_id)",
    )?;
    ensure!(gaps == 0, "{gaps} events are in no range");
    Ok(())
}

fn until_summarized(client: &mut Client) -> Result<()> {
    wait_until("the worker to summarise", || {
        let left = client.number(
            "SELECT count(*) FROM audit.audit_events WHERE event_id > (SELECT coalesce(max(last_id), 0) FROM audit.event_ranges)",
        )?;
        Ok((left < 2048).then_some(()))
    })
}

/// What a writer does: transactions short and long, kept and rolled back.
fn write(db: &Database, writer: usize, stop: &AtomicBool) -> Result<()> {
    let mut session = db.connect()?;
    for n in 0..400 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let first = (writer * 1000 + n) * 100;
        let end = if n % 7 == 3 { "ROLLBACK" } else { "COMMIT" };
        session.run(&format!(
            "BEGIN; SELECT set_config('audit.app_user_id', 'u{}', true), set_config('audit.process_id', 'p{}', true),
                           set_config('audit.request_id', '{}', true);
             INSERT INTO t SELECT {first} + i, 0 FROM generate_series(1, {}) i;
             SAVEPOINT s; UPDATE t SET v = 1 WHERE id BETWEEN {first} AND {first} + {}; {}
             SELECT audit.log_event('a{}', 'told ' || {n}, category => 'c{}'); {end}",
            n / 40 % 5,
            n / 60 % 5,
            match n % 10 {
                0 => format!("w{writer} n{n}"),
                1 => "shared".into(),
                _ => format!("w{writer}"),
            },
            n % 60,
            n % 20,
            if n % 5 == 0 { "ROLLBACK TO s;" } else { "" },
            n % 3,
            n / 50 % 4,
        ))?;
    }
    Ok(())
}

#[test]
fn pages_are_right_while_others_write_and_the_worker_summarises() {
    own_cluster(PRELOADED, |db| {
        let mut client = db.connect()?;
        attach(&mut client)?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop = &stop;
            let writers: Vec<_> = (0..3)
                .map(|writer| scope.spawn(move || write(db, writer, stop)))
                .collect();
            let mut outcome = Ok(());
            while outcome.is_ok()
                && !writers
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished)
            {
                outcome = compare(&mut client);
            }
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                match writer.join() {
                    Ok(written) => written?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            outcome
        })?;
        until_summarized(&mut client)?;
        ensure!(
            client.number("SELECT count(*) FROM audit.event_ranges")? > 10,
            "few ranges"
        );
        check(&mut client)?;
        ensure!(
            client.number("SELECT count(DISTINCT value) FROM audit.range_values WHERE filter = 'request_id' AND value IN ('shared', 'w0', 'w1', 'w2')")? == 4,
            "a large request is not summarised"
        );
        compare(&mut client)
    });
}

#[test]
fn an_open_transaction_s_events_are_waited_for() {
    own_cluster(BY_HAND, |db| {
        let mut client = db.connect()?;
        attach(&mut client)?;
        client.run("INSERT INTO t SELECT i, 0 FROM generate_series(1, 5000) i")?;
        let mut slow = db.connect()?;
        slow.run("BEGIN; SET LOCAL audit.app_user_id = 'u1'; INSERT INTO t VALUES (-1, 0)")?;
        client.run("INSERT INTO t SELECT i, 0 FROM generate_series(5001, 15000) i")?;
        client.run("SELECT audit.seal()")?;
        client.run("INSERT INTO t SELECT i, 0 FROM generate_series(15001, 20000) i")?;
        client.run("SELECT audit.seal()")?;
        // Below its first checkpoint there is none yet.
        ensure!(
            client.number("SELECT audit.summarize_events()")? == 0,
            "events are summarised above an open transaction's"
        );
        compare(&mut client)?;
        slow.run("COMMIT")?;
        compare(&mut client)?;
        client.run("SELECT audit.seal()")?;
        ensure!(client.number("SELECT audit.summarize_events()")? > 18_000);
        check(&mut client)?;
        ensure!(client.number("SELECT count(*) FROM audit.events(app_user_id => 'u1')")? == 1);
        compare(&mut client)
    });
}

#[test]
fn a_crash_leaves_whole_ranges() {
    own_cluster(BY_HAND, |db| {
        let mut client = db.connect()?;
        attach(&mut client)?;
        client.run("INSERT INTO t SELECT i, 0 FROM generate_series(1, 60000) i")?;
        client.run("SELECT audit.seal()")?;
        std::thread::scope(|scope| {
            let summarising = scope.spawn(|| -> Result<()> {
                let mut session = db.connect()?;
                while session.number("SELECT audit.summarize_events(1)")? > 0 {}
                Ok(())
            });
            wait_until("some ranges", || {
                let ranges = client.number("SELECT count(*) FROM audit.event_ranges")?;
                Ok((ranges > 2).then_some(()))
            })?;
            db.cluster().crash()?;
            // Its connection is gone, or it was done before.
            let _ = summarising.join();
            db.cluster().start()
        })?;
        let mut client = db.connect()?;
        check(&mut client)?;
        compare(&mut client)?;
        client.run("INSERT INTO t SELECT i, 0 FROM generate_series(60001, 64000) i")?;
        client.run("SELECT audit.seal()")?;
        ensure!(client.number("SELECT audit.summarize_events()")? > 0);
        ensure!(client.number("SELECT sum(events) FROM audit.event_ranges")? > 61_000);
        check(&mut client)?;
        compare(&mut client)
    });
}

#[test]
fn two_do_not_summarise_the_same() {
    own_cluster(BY_HAND, |db| {
        let mut client = db.connect()?;
        attach(&mut client)?;
        client.run("INSERT INTO t SELECT i, 0 FROM generate_series(1, 50000) i")?;
        client.run("SELECT audit.seal()")?;
        let made = std::thread::scope(|scope| -> Result<i64> {
            let sessions: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| -> Result<i64> {
                        let mut session = db.connect()?;
                        let mut made = 0;
                        loop {
                            match session.number("SELECT audit.summarize_events(2)")? {
                                0 => return Ok(made),
                                events => made += events,
                            }
                        }
                    })
                })
                .collect();
            let mut made = 0;
            for session in sessions {
                match session.join() {
                    Ok(events) => made += events?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(made)
        })?;
        let ranges = client.number("SELECT sum(events) FROM audit.event_ranges")?;
        ensure!(
            made == ranges && made > 45_000,
            "{made} events summarised, {ranges} in ranges"
        );
        check(&mut client)
    });
}

/// So many rows of the log may be read to find what lies in a few ranges of it: these, and what no range covers.
const NEAR: i64 = 4 * 2_048;

#[test]
fn what_belongs_together_is_found_by_ranges() {
    own_cluster(BY_HAND, |db| {
        let mut client = db.connect()?;
        attach(&mut client)?;
        let mut slow = db.connect()?;
        slow.run("BEGIN; SELECT now(); INSERT INTO t VALUES (-1, 0)")?;
        client.run(
            "SET audit.request_id = 'bulk'; SET audit.process_id = 'worker';
             INSERT INTO t SELECT i, 0 FROM generate_series(1, 40000) i;
             RESET audit.request_id; RESET audit.process_id",
        )?;
        let before = client.one("SELECT clock_timestamp()")?;
        client.run("UPDATE t SET v = 7 WHERE id = 11")?;
        // It began long before, as its first event tells.
        slow.run("UPDATE t SET v = 8 WHERE id = -1; COMMIT")?;
        let after = client.one("SELECT clock_timestamp()")?;
        client.run("INSERT INTO t SELECT i, 0 FROM generate_series(40001, 80000) i")?;
        client.run("SELECT audit.seal()")?;
        ensure!(client.number("SELECT audit.summarize_events()")? > 75_000);
        client.run("VACUUM ANALYZE audit.audit_events")?;
        let xact = client.one(
            "SELECT xact_id FROM audit.audit_events WHERE operation = 'update' AND row_key = '11'",
        )?;
        let middle = client.one("SELECT event_id FROM audit.audit_events WHERE request_id = 'bulk' ORDER BY event_id OFFSET 20000 LIMIT 1")?;
        for (sql, found, reads) in [
            (
                "SELECT count(*) FROM audit.events(request_id => 'bulk')".into(),
                50,
                1,
            ),
            (
                format!(
                    "SELECT count(*) FROM audit.events(process_id => 'worker', before_id => {middle})"
                ),
                50,
                1,
            ),
            (
                "SELECT audit.count_events(request_id => 'bulk')".into(),
                40_000,
                1,
            ),
            (
                "SELECT audit.count_events()".into(),
                client.number("SELECT count(*) FROM audit.audit_events")?,
                1,
            ),
            (
                format!("SELECT count(*) FROM audit.changes_between('{before}', '{after}')"),
                2,
                1,
            ),
            (
                format!(
                    "SELECT count(*) FROM audit.changes_between('{before}', '{after}', net => false)"
                ),
                2,
                1,
            ),
            // Once for rows, once for what no row tells.
            (
                format!("SELECT count(*) FROM audit.revert(xact_id => '{xact}')"),
                1,
                2,
            ),
        ] {
            let (count, by_seq, by_index) = rows_read(&mut client, &sql)?;
            ensure!(count == found, "{sql}: {count} rows");
            ensure!(
                by_seq == 0 && by_index <= reads * NEAR,
                "{sql} reads {by_seq} rows by sequential scans and {by_index} by index scans"
            );
        }
        // A day in which nothing was captured, and all of them.
        ensure!(
            client
                .number("SELECT count(*) FROM audit.changes_between('2000-01-01', '2000-01-02')")?
                == 0
        );
        ensure!(
            client.number(
                "SELECT count(*) FROM audit.changes_between('-infinity', 'infinity', net => false)"
            )? > 80_000
        );
        Ok(())
    });
}
