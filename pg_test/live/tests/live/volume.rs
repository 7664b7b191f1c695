//! A log of 230,000 events: nothing that asks for a part of it reads much more than that part.

use anyhow::{Result, ensure};
use live_tests::{Sql, shared, wait_until};
use postgres::Client;

use super::grafana;

/// A busy table, one that was filled long ago, one with two rows.
const TABLES: &str = "
    CREATE TABLE busy (id int PRIMARY KEY, v int, note text);
    CREATE TABLE quiet (id int PRIMARY KEY, v int);
    CREATE TABLE small (id int PRIMARY KEY, v int);
    SELECT audit.attach(t) FROM unnest('{busy,quiet,small}'::regclass[]) t;
    INSERT INTO quiet SELECT i, 0 FROM generate_series(1, 9000) i;
    INSERT INTO small VALUES (1, 1), (2, 2);
    DELETE FROM small WHERE id = 1";

/// Requests, each a transaction of its own, with a process and application events.
const REQUESTS: &str = "DO $$
    BEGIN
        FOR i IN 1..400 LOOP
            PERFORM audit.set_context('r' || i, 'p' || i % 100, 'u' || i % 80, session_id => 's' || i % 200, tenant_id => 't' || i % 8);
            INSERT INTO busy SELECT i * 1000 + j, 0, 'note' FROM generate_series(1, 300) j;
            PERFORM audit.begin_process('work', process_id => 'w' || i);
            UPDATE busy SET v = 1 WHERE id BETWEEN i * 1000 AND i * 1000 + 100;
            PERFORM audit.end_process();
            PERFORM audit.log_event('act' || (i + j) % 20, 'told ' || j, 'type' || j % 5, 'id' || j % 50, 'Name', 'cat' || j % 4,
                                    (ARRAY['debug', 'info', 'notice', 'warning'])[1 + j % 4])
            FROM generate_series(1, 150) j;
            PERFORM audit.log_request('/work', 'GET', 200, j) FROM generate_series(1, 10) j;
            COMMIT;
        END LOOP;
    END
    $$";

/// Application events on top.
const NOISE: &str = "
    SELECT audit.log_event('alarm', 'the needle', 'rare', 'rare', 'Rare', 'rare', 'critical');
    SET application_name = 'noise';
    DO $$ BEGIN PERFORM audit.log_event('noise', category => 'noise') FROM generate_series(1, 10000); END $$";

/// Each filter alone, and what it finds at least (a page has 50).
const FILTERS: [(&str, i64); 33] = [
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
    ("target => 'busy', row_key => '399007'", 2),
    ("request_id => 'r7'", 50),
    ("process_id => 'p7'", 50),
    ("tenant_id => 't3'", 50),
    ("session_id => 's9'", 50),
    ("changed_column => 'v'", 50),
    ("changed_column => 'note'", 0),
    ("search => 'the needle'", 1),
    ("search => 'told 1'", 50),
    ("operation => '{system}'", 3),
    ("operation => '{delete}'", 1),
    ("operation => '{update}'", 50),
    ("since => now() - interval '1 hour'", 50),
    ("since => now() + interval '1 hour'", 0),
    ("until => now()", 50),
    ("until => now() - interval '1 hour'", 0),
];

/// So many rows of the log a page may read: those behind the last range (2,048), and two ranges; or the largest group that is
/// sorted (a process: 1,848 events).
const PAGE: i64 = 6_200;

/// So many where all that an application user did is read: his 2,810 events lie in twice as many ranges as requests (5).
const ONES_OWN: i64 = 2_048 * 11;

/// So many where a hundredth of the log is read: its 2,400 events lie in three ranges; and those behind the last one.
const PERIOD: i64 = 2_048 * 4;

/// What else reads a part of the log, how many rows it finds at least, and how many it may read. `middle` is an event in the
/// middle, `since` and `until` are the hundredth of the log around it.
const OTHERS: [(&str, i64, i64); 22] = [
    ("audit.my_activity", 2_000, ONES_OWN),
    ("audit.my_events()", 50, PAGE),
    ("audit.my_events(before_id => middle)", 50, PAGE),
    ("audit.recent_activity(50)", 50, PAGE),
    (
        "audit.record_version WHERE table_oid = 'small'::regclass",
        3,
        10,
    ),
    (
        "audit.logged_actions WHERE relid = 'small'::regclass AND action = 'D'",
        1,
        10,
    ),
    ("audit.processes WHERE process_id = 'w7'", 1, 10),
    ("audit.processes WHERE request_id = 'r7'", 1, 1_000),
    // Its 562 events twice, and the 100 of its process.
    ("audit.lineage('r7')", 562, 2_000),
    ("audit.history('busy', '7007')", 2, 100),
    ("audit.row_lineage('busy', '7007')", 2, 100),
    ("audit.blame('busy', '7007')", 3, 100),
    ("audit.report_ddl('-infinity', 'infinity')", 3, PAGE),
    ("audit.report_changes(since, until, 'user')", 2, PERIOD),
    ("audit.report_reasons(since, until)", 2, PERIOD),
    ("audit.report_privileged(since, until)", 1, PERIOD),
    (
        "audit.metrics('1 day', since, until, '{events}')",
        2,
        PERIOD,
    ),
    (
        "audit.metrics('1 day', since, until, '{requests}')",
        6,
        PERIOD,
    ),
    // Once to know which tiles, once for the events.
    (
        "audit.metrics('1 day', since, until, '{seal}')",
        2,
        2 * PERIOD,
    ),
    ("audit.metrics('1 day', since, until)", 4, 4 * PERIOD),
    ("audit.sign_offs", 0, PAGE),
    ("audit.count_events(category => '{rare}')", 1, PAGE),
];

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

/// Demands that a source finds so many rows, and reads no more of the log than that.
fn check(client: &mut Client, source: &str, least: i64, most: i64) -> Result<()> {
    let (found, by_seq, by_index) = rows_read(client, &format!("SELECT count(*) FROM {source}"))?;
    ensure!(found >= least, "{source}: {found} rows");
    ensure!(
        by_seq == 0 && by_index <= most,
        "{source} reads {by_seq} rows by sequential scans and {by_index} by index scans, {most} at most"
    );
    Ok(())
}

/// The log, summarised but for less than a range.
fn fill(client: &mut Client) -> Result<()> {
    client.run(TABLES)?;
    client.run(REQUESTS)?;
    client.run(NOISE)?;
    client.run("SELECT audit.seal()")?;
    wait_until("nobody to hold the summaries up", || {
        client.run("SELECT audit.summarize_events()")?;
        let left = client.number(
            "SELECT count(*) FROM audit.audit_events WHERE event_id > (SELECT coalesce(max(last_id), 0) FROM audit.event_ranges)",
        )?;
        Ok((left < 2048).then_some(()))
    })?;
    client.run("VACUUM ANALYZE audit.audit_events")
}

#[test]
fn nothing_reads_more_of_the_log_than_it_must() {
    shared(|db| {
        let mut client = db.connect()?;
        fill(&mut client)?;
        let events = client.number("SELECT count(*) FROM audit.audit_events")?;
        ensure!(events > 230_000, "{events} events only");
        let mut at = |hundredths: i64, column: &str| {
            client.one(&format!(
                "SELECT {column} FROM audit.audit_events ORDER BY event_id OFFSET {} LIMIT 1",
                events * hundredths / 200
            ))
        };
        let middle = at(100, "event_id")?;
        let [since, until] = [at(99, "occurred_at")?, at(101, "occurred_at")?];
        for (filter, least) in FILTERS {
            let comma = if filter.is_empty() { "" } else { ", " };
            check(&mut client, &format!("audit.events({filter})"), least, PAGE)?;
            let page = format!("audit.events({filter}{comma}before_id => {middle})");
            check(&mut client, &page, 0, PAGE)?;
        }
        client.run("SET audit.app_user_id = 'u7'")?;
        for (source, least, most) in OTHERS {
            let source = source
                .replace("=> middle", &format!("=> {middle}"))
                .replace("since, until", &format!("'{since}', '{until}'"));
            check(&mut client, &source, least, most)?;
        }
        for query in grafana::queries(&since, &until)? {
            let panel = format!("({}) AS \"{}\"", query.sql, query.title);
            check(&mut client, &panel, 0, 2 * PERIOD)?;
        }
        Ok(())
    });
}
