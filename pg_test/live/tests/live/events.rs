//! Pages of events at volume: no filter reads more than it must, pages stay in place while others write, a whole log streams
//! through a backend that does not grow.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, shared, wait_until};
use postgres::Client;

/// 240,000 events: a busy table, one that was filled long ago, one with two rows; application events in between and on top.
const VOLUME: &str = "
    CREATE TABLE busy (id int PRIMARY KEY, v int, note text);
    CREATE TABLE quiet (id int PRIMARY KEY, v int);
    CREATE TABLE small (id int PRIMARY KEY, v int);
    SELECT audit.attach(t) FROM unnest('{busy,quiet,small}'::regclass[]) t;
    INSERT INTO quiet SELECT i, 0 FROM generate_series(1, 9000) i;
    INSERT INTO small VALUES (1, 1), (2, 2);
    DELETE FROM small WHERE id = 1;
    DO $$
    BEGIN
        FOR i IN 1..400 LOOP
            PERFORM audit.set_context('r' || i, 'p' || i % 100, 'u' || i % 80, session_id => 's' || i % 200, tenant_id => 't' || i % 8);
            INSERT INTO busy SELECT i * 1000 + j, 0, 'note' FROM generate_series(1, 300) j;
            UPDATE busy SET v = 1 WHERE id BETWEEN i * 1000 AND i * 1000 + 100;
            PERFORM audit.log_event('act' || (i + j) % 20, 'told ' || j, 'type' || j % 5, 'id' || j % 50, 'Name', 'cat' || j % 4,
                                    (ARRAY['debug', 'info', 'notice', 'warning'])[1 + j % 4])
            FROM generate_series(1, 150) j;
        END LOOP;
    END
    $$;
    SELECT audit.log_event('alarm', 'the needle', 'rare', 'rare', 'Rare', 'rare', 'critical');
    SET application_name = 'noise';
    DO $$ BEGIN PERFORM audit.log_event('noise', category => 'noise') FROM generate_series(1, 10000); END $$";

/// Each filter alone, and what it finds at least (a page has 50).
const FILTERS: [(&str, i64); 27] = [
    ("", 50),
    ("category => '{cat1}'", 50),
    ("category => '{rare,cat1,noise}'", 50),
    ("category => '{rare}'", 1),
    ("severity => '{critical}'", 1),
    ("severity => '{critical,warning}'", 50),
    ("action => '{act3}'", 50),
    ("action => '{alarm}'", 1),
    ("app_user_id => 'u7'", 50),
    ("app_user_id => 'nobody'", 0),
    ("session_user_name => 'postgres'", 50),
    ("session_user_name => 'nobody'", 0),
    ("entity_type => 'type2'", 50),
    ("entity_id => 'rare'", 1),
    ("target => 'busy'", 50),
    ("target => 'quiet'", 50),
    ("target => 'small'", 4),
    ("target => 'busy', row_key => '399007'", 1),
    ("request_id => 'r7'", 50),
    ("process_id => 'p7'", 50),
    ("tenant_id => 't3'", 50),
    ("session_id => 's9'", 50),
    ("operation => '{system}'", 3),
    ("operation => '{delete}'", 1),
    ("operation => '{update}'", 50),
    ("since => now() - interval '1 hour'", 50),
    ("since => now() + interval '1 hour'", 0),
];

/// What else reads a part of the log, and how many rows it finds at least.
const OTHERS: [(&str, i64); 8] = [
    (
        "(SELECT FROM audit.my_activity ORDER BY event_id DESC LIMIT 50) AS mine",
        50,
    ),
    ("audit.recent_activity(50)", 50),
    (
        "audit.record_version WHERE table_oid = 'small'::regclass",
        3,
    ),
    (
        "audit.logged_actions WHERE relid = 'small'::regclass AND action = 'D'",
        1,
    ),
    ("audit.report_ddl('-infinity', 'infinity')", 3),
    (
        "audit.report_changes(now() + interval '1 hour', 'infinity')",
        0,
    ),
    ("audit.sign_offs", 0),
    ("audit.count_events(category => '{rare}')", 1),
];

/// So many rows of the log a page may read: those behind the last range (2,048), and two ranges; or the largest group that is
/// sorted (a process: 2,204 events).
const BOUND: i64 = 6_200;

/// So many where all that an application user did is read: his 2,755 events lie in twice as many ranges as chapters (5).
const ONES_OWN: i64 = 2_048 * 11;

/// What a statement counts, and the rows of the log that it read: by sequential scans, and by index scans.
pub fn rows_read(client: &mut Client, sql: &str) -> Result<(i64, i64, i64)> {
    // Not yet sent to the statistics, which happens between transactions alone: what this session read lately.
    let read = |client: &mut Client, column: &str| {
        client.number(&format!(
            "SELECT coalesce(sum({column}), 0)::bigint FROM pg_stat_xact_all_tables
             WHERE schemaname = 'audit' AND relname LIKE 'audit\\_events%'"
        ))
    };
    client.run("BEGIN")?;
    let (seq, index) = (
        read(client, "seq_tup_read")?,
        read(client, "idx_tup_fetch")?,
    );
    let found = client.number(sql)?;
    let by_seq = read(client, "seq_tup_read")? - seq;
    let by_index = read(client, "idx_tup_fetch")? - index;
    client.run("COMMIT")?;
    Ok((found, by_seq, by_index))
}

#[test]
fn no_page_reads_more_than_it_must() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(VOLUME)?;
        client.run("SELECT audit.seal()")?;
        wait_until("nobody to hold the summaries up", || {
            client.run("SELECT audit.summarize_events()")?;
            let left = client.number(
                "SELECT count(*) FROM audit.audit_events WHERE event_id > (SELECT coalesce(max(last_id), 0) FROM audit.event_ranges)",
            )?;
            Ok((left < 2048).then_some(()))
        })?;
        client.run("VACUUM ANALYZE audit.audit_events")?;
        let events = client.number("SELECT count(*) FROM audit.audit_events")?;
        ensure!(events > 230_000, "{events} events only");
        for (filter, least) in FILTERS {
            let comma = if filter.is_empty() { "" } else { ", " };
            let first = format!("SELECT count(*) FROM audit.events({filter})");
            let middle = format!(
                "SELECT count(*) FROM audit.events({filter}{comma}before_id =>
                     (SELECT event_id FROM audit.audit_events ORDER BY event_id OFFSET 100000 LIMIT 1))"
            );
            let (found, by_seq, by_index) = rows_read(&mut client, &first)?;
            ensure!(found >= least, "{filter}: {found} events on the first page");
            ensure!(
                by_seq == 0 && by_index <= BOUND,
                "{filter}: the first page reads {by_seq} rows by sequential scans and {by_index} by index scans"
            );
            // Finding the id in the middle reads 100,000 rows itself.
            let (_, by_seq, by_index) = rows_read(&mut client, &middle)?;
            ensure!(
                by_seq == 0 && by_index - 100_001 <= BOUND,
                "{filter}: a page in the middle reads {by_seq} rows by sequential scans and {by_index} by index scans"
            );
        }
        client.run("SET audit.app_user_id = 'u7'")?;
        for (source, least) in OTHERS {
            let (found, by_seq, by_index) =
                rows_read(&mut client, &format!("SELECT count(*) FROM {source}"))?;
            ensure!(found >= least, "{source}: {found} rows");
            let bound = if source.contains("my_activity") {
                ONES_OWN
            } else {
                BOUND
            };
            ensure!(
                by_seq == 0 && by_index <= bound,
                "{source} reads {by_seq} rows by sequential scans and {by_index} by index scans"
            );
        }
        Ok(())
    });
}

#[test]
fn pages_stay_in_place_while_others_write() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id bigserial PRIMARY KEY, v int);
             SELECT audit.attach('t');
             INSERT INTO t (v) SELECT i FROM generate_series(1, 1000) i;
             SELECT audit.log_event('before', category => 'c') FROM generate_series(1, 1000)",
        )?;
        let known: BTreeSet<i64> = ids(
            &mut client,
            "SELECT event_id FROM audit.audit_events WHERE operation IN ('insert', 'event')",
        )?
        .into_iter()
        .collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    let stop = &stop;
                    scope.spawn(move || -> Result<()> {
                        let mut session = db.connect()?;
                        // Not without end: all that they write is paged through.
                        for _ in 0..300 {
                            if stop.load(Ordering::Relaxed) {
                                break;
                            }
                            session.run(
                                "BEGIN; INSERT INTO t (v) SELECT 1 FROM generate_series(1, 20);
                                 SELECT audit.log_event('during', category => 'c'); COMMIT",
                            )?;
                        }
                        Ok(())
                    })
                })
                .collect();
            let outcome = [
                "",
                "category => '{c}', ",
                "target => 't', ",
                "operation => '{insert,event}', ",
            ]
            .into_iter()
            .try_for_each(|filter| page_through(&mut client, filter, &known));
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                match writer.join() {
                    Ok(outcome) => outcome?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            outcome
        })
    });
}

fn ids(client: &mut Client, sql: &str) -> Result<Vec<i64>> {
    let rows = client.rows(sql)?;
    rows.into_iter()
        .map(|row| Ok(row[0].as_deref().context("a null id")?.parse()?))
        .collect()
}

/// Reads all pages: in falling order, each event once, and all that were there before the first page.
fn page_through(client: &mut Client, filter: &str, known: &BTreeSet<i64>) -> Result<()> {
    let expected = match filter {
        "category => '{c}', " | "target => 't', " => known.len() / 2,
        _ => known.len(),
    };
    let mut before = String::from("NULL");
    let (mut last, mut seen) = (i64::MAX, 0);
    loop {
        let page = ids(
            client,
            &format!(
                "SELECT event_id FROM audit.events({filter}before_id => {before}, page_size => 150)"
            ),
        )?;
        let Some(lowest) = page.last() else { break };
        for id in &page {
            ensure!(*id < last, "{filter}: {id} comes after {last}");
            last = *id;
            seen += usize::from(known.contains(id));
        }
        before = lowest.to_string();
    }
    ensure!(
        seen == expected,
        "{filter}: {seen} of {expected} events on the pages"
    );
    Ok(())
}

/// Growth allowed while 500,000 events (240 MB as text) stream: buffers that the backend touches for the first time count as
/// its own in the kernel's eyes (16 MB), as do its caches.
const GROWTH_KB: u64 = 32 * 1024;

/// Peak resident memory of a backend, in kB.
fn peak(pid: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(value.context("no VmHWM")?.parse()?)
}

#[test]
fn a_whole_log_streams_in_bounded_memory() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, note text);
             SELECT audit.attach('t');
             INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 500000) i",
        )?;
        // The two ways that docs/activity.md shows.
        let mut session = db.connect()?;
        let pid = session.one("SELECT pg_backend_pid()")?;
        session.run("SELECT count(*) FROM audit.audit_events WHERE event_id < 1000")?;
        let before = peak(&pid)?;
        let mut lines = 0;
        {
            let reader = session.copy_out(
                "COPY (SELECT * FROM audit.audit_events WHERE event_id > 0 ORDER BY event_id) TO STDOUT",
            )?;
            for line in BufReader::new(reader).lines() {
                line?;
                lines += 1;
            }
        }
        ensure!(lines >= 500_000, "{lines} lines only");
        let grown = peak(&pid)? - before;
        ensure!(grown < GROWTH_KB, "COPY: the backend grew by {grown} kB");

        let mut session = db.connect()?;
        let pid = session.one("SELECT pg_backend_pid()")?;
        session.run(
            "BEGIN; DECLARE log CURSOR FOR SELECT * FROM audit.audit_events WHERE event_id > 0 ORDER BY event_id; FETCH 1000 FROM log",
        )?;
        let before = peak(&pid)?;
        let mut fetched = 1000;
        loop {
            let batch = session.rows("FETCH 10000 FROM log")?.len();
            if batch == 0 {
                break;
            }
            fetched += batch;
        }
        ensure!(fetched >= 500_000, "{fetched} events only");
        let grown = peak(&pid)? - before;
        ensure!(grown < GROWTH_KB, "cursor: the backend grew by {grown} kB");
        Ok(())
    });
}
