//! The log's indexes after many entries at once: complete, in order, and the same after a crash.

use std::thread;

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, oracle, own_cluster, shared};
use postgres::Client;

/// Statements whose row keys come in every order: ascending, descending, scattered, all alike but for their ends, long, missing.
const STATEMENTS: [&str; 9] = [
    "INSERT INTO t SELECT g::text FROM generate_series(1, 3000) g",
    "INSERT INTO t SELECT md5(g::text) FROM generate_series(1, 3000) g",
    "INSERT INTO t SELECT 'a key that begins like all others ' || g FROM generate_series(3000, 1, -1) g",
    "INSERT INTO t SELECT repeat('long', 60) || md5(g::text) FROM generate_series(1, 2000) g",
    "UPDATE t SET v = v + 1",
    "INSERT INTO n SELECT g FROM generate_series(1, 3000) g",
    "UPDATE t SET k = 'new' || k WHERE k < '5'",
    "UPDATE t SET v = v + 1 WHERE k > 'a'",
    "DELETE FROM t WHERE k LIKE '%7%'",
];

const WRITERS: [&str; 3] = ["x", "y", "z"];

/// Rows of the table that all writers update, and how many parts they do it in: a statement's rows come from everywhere in it.
const ROWS: usize = 6000;
const PARTS: usize = 12;

/// Each writer has its own tables `t_…` and `n_…`: what they share is the log, and the table `scattered`.
fn schema(db: &Database) -> Result<()> {
    let mut client = db.connect()?;
    for writer in WRITERS {
        client.run(&format!(
            "CREATE TABLE t_{writer} (k text PRIMARY KEY, v int NOT NULL DEFAULT 0);
             CREATE TABLE n_{writer} (v int);
             SELECT audit.attach('t_{writer}'), audit.attach('n_{writer}')"
        ))?;
    }
    scattered(&mut client)
}

/// The table `scattered` with some history.
fn scattered(client: &mut Client) -> Result<()> {
    client.run(&format!(
        "CREATE TABLE scattered (k int PRIMARY KEY, v int NOT NULL DEFAULT 0);
         SELECT audit.attach('scattered');
         INSERT INTO scattered SELECT generate_series(1, {ROWS})"
    ))?;
    for _ in 0..5 {
        client.run("UPDATE scattered SET v = v + 1")?;
    }
    Ok(())
}

/// An UPDATE of every twelfth row: each leaf of the log's index by row takes a few of its entries.
fn update_part(part: usize) -> String {
    format!("UPDATE scattered SET v = v + 1 WHERE k % {PARTS} = {part}")
}

/// The leaves that one writer's statement goes through are those that the others' do, and split.
fn scatter(db: &Database, writer: usize) -> Result<()> {
    let mut client = db.connect()?;
    for round in 0..24 {
        let part = writer + WRITERS.len() * (round % (PARTS / WRITERS.len()));
        client.run(&update_part(part))?;
    }
    Ok(())
}

/// The index by row of the log's partition that the events are in.
fn history_index(client: &mut Client) -> Result<String> {
    client.one(
        "SELECT i.indexrelid::regclass::text FROM pg_inherits h JOIN pg_index i ON i.indrelid = h.inhrelid
         WHERE h.inhparent = 'audit.audit_events'::regclass AND pg_get_indexdef(i.indexrelid) LIKE '%(table_oid, row_key)'
         ORDER BY pg_relation_size(i.indexrelid) DESC LIMIT 1",
    )
}

/// One writer: all statements; some under ids of its own, some under ids that all writers have, some under none.
fn write(db: &Database, writer: &str) -> Result<()> {
    let mut client = db.connect()?;
    for (position, statement) in STATEMENTS.iter().enumerate() {
        let statement = statement
            .replace(" t ", &format!(" t_{writer} "))
            .replace(" n ", &format!(" n_{writer} "));
        let request = [writer, "everybody", ""][position % 3];
        client.run(&format!(
            "SET audit.request_id = '{request}'; SET audit.process_id = '{request}'; {statement}"
        ))?;
    }
    Ok(())
}

/// How often pages of the index were visited.
fn visits(client: &mut Client, index: &str) -> Result<i64> {
    client.run("SELECT pg_stat_force_next_flush()")?;
    client.number(&format!(
        "SELECT pg_stat_get_blocks_fetched('{index}'::regclass)"
    ))
}

/// Every index agrees with its heap, in both directions, and finds what a scan of the heap finds.
fn sound(db: &Database) -> Result<()> {
    let mut client = db.connect()?;
    client.run("CREATE EXTENSION IF NOT EXISTS amcheck")?;
    let checked = client.number(
        "SELECT count(*) FROM (SELECT bt_index_parent_check(i.indexrelid, true, true)
             FROM pg_inherits h JOIN pg_index i ON i.indrelid = h.inhrelid
             WHERE h.inhparent = 'audit.audit_events'::regclass OFFSET 0) checked",
    )?;
    ensure!(checked >= 8, "only {checked} indexes were there to check");
    for lookup in [
        "count(*) FROM audit.audit_events WHERE event_id BETWEEN 100 AND 90000",
        "count(*) FROM audit.audit_events WHERE table_oid = 't_x'::regclass AND row_key > 'a'",
        "count(*) FROM audit.audit_events WHERE request_id = 'x'",
        "count(*) FROM audit.audit_events WHERE process_id = 'y'",
        "count(*) FROM audit.audit_events WHERE request_id = 'everybody'",
    ] {
        let by_index = client.number(&format!(
            "SET enable_seqscan = off; SET enable_bitmapscan = on; SELECT {lookup}"
        ))?;
        let by_heap = client.number(&format!(
            "SET enable_seqscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off;
             SET enable_bitmapscan = off; SELECT {lookup}"
        ))?;
        ensure!(
            by_index == by_heap && by_heap > 0,
            "{by_index} by index, {by_heap} by heap: {lookup}"
        );
    }
    for writer in WRITERS {
        oracle::check(&mut client, &format!("t_{writer}"))?;
        oracle::check(&mut client, &format!("n_{writer}"))?;
    }
    oracle::check(&mut client, "scattered")
}

#[test]
fn entries_of_writers_side_by_side_are_complete_and_in_order() {
    shared(|db| {
        schema(db)?;
        thread::scope(|scope| -> Result<()> {
            let writers = WRITERS.map(|writer| scope.spawn(move || write(db, writer)));
            for writer in writers {
                writer.join().expect("a writer panicked")?;
            }
            let scatterers = [0, 1, 2].map(|writer| scope.spawn(move || scatter(db, writer)));
            for scatterer in scatterers {
                scatterer.join().expect("a writer panicked")?;
            }
            Ok(())
        })?;
        sound(db)
    });
}

/// From leaf to leaf, not from the root each: fewer pages are visited than entries come in, and most have a native record.
#[test]
fn scattered_entries_go_from_leaf_to_leaf() {
    shared(|db| {
        let mut client = db.connect()?;
        scattered(&mut client)?;
        client.run("CREATE EXTENSION pg_walinspect")?;
        let index = history_index(&mut client)?;
        let before = visits(&mut client, &index)?;
        let start = client.one("SELECT pg_current_wal_insert_lsn()")?;
        client.run("UPDATE scattered SET v = v + 1 WHERE k % 24 = 0")?;
        let visits = visits(&mut client, &index)? - before;
        let records = client.number(&format!(
            "SELECT count(*) FROM pg_get_wal_records_info('{start}', pg_current_wal_flush_lsn())
             WHERE record_type LIKE 'INSERT_LEAF%'
                 AND block_ref LIKE '%/' || pg_relation_filenode('{index}') || ' %'"
        ))?;
        let entries = i64::try_from(ROWS / 24)?;
        ensure!(
            records > entries * 3 / 4,
            "{records} records of {entries} entries"
        );
        ensure!(
            visits < entries * 4 / 5,
            "{visits} visits to pages for {entries} entries"
        );
        Ok(())
    });
}

/// Replay compares every page that it restores with the image that the server had when it wrote the record.
#[test]
fn recovery_restores_the_very_pages() {
    own_cluster(&[("wal_consistency_checking", "all")], |db| {
        schema(db)?;
        db.connect()?.run("CHECKPOINT")?;
        for (number, writer) in WRITERS.iter().enumerate() {
            write(db, writer)?;
            scatter(db, number)?;
        }
        db.cluster().kill_postmaster()?;
        db.cluster().start()?;
        sound(db)
    });
}

/// Under `wal_level` minimal, what a transaction puts into storage of its own goes to disk without WAL.
#[test]
fn an_index_of_the_own_transaction_is_spared_the_wal() {
    let settings = [("wal_level", "minimal"), ("max_wal_senders", "0")];
    own_cluster(&settings, |db| {
        schema(db)?;
        for writer in WRITERS {
            write(db, writer)?;
        }
        let mut client = db.connect()?;
        let index = history_index(&mut client)?;
        client.run(&format!(
            "BEGIN; REINDEX INDEX {index}; {}; {}; COMMIT",
            update_part(0),
            update_part(1)
        ))?;
        db.cluster().kill_postmaster()?;
        db.cluster().start()?;
        sound(db)
    });
}

/// A sequence that somebody set back must not bring an id twice: the primary key refuses, however many entries come at once.
#[test]
fn an_event_id_that_is_there_already_is_refused() {
    shared(|db| {
        schema(db)?;
        let mut client = db.connect()?;
        client.run("INSERT INTO n_x SELECT generate_series(1, 500)")?;
        for rows in [1, 400] {
            client.run("SELECT setval('audit.audit_events_event_id_seq', 1, false)")?;
            client.refused(
                "23505",
                &format!("INSERT INTO n_x SELECT generate_series(1, {rows})"),
            )?;
        }
        let kept = client.number("SELECT count(*) FROM n_x")?;
        ensure!(kept == 500, "{kept} rows");
        Ok(())
    });
}
