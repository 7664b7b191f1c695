//! Memory stays bounded, whatever the statement's size and however long the session lives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, oracle, own_cluster, shared, wait_until};
use postgres::Client;

/// Largest growth allowed while 300,000 rows (some 120 MB of images on each side) are captured:
/// work_mem for each transition table, a batch of events, and the 16 MB of shared buffers that
/// the kernel counts as the backend's once it has touched them.
const BOUND_KB: u64 = 96 * 1024;

/// Peak resident memory of a backend, in kB.
fn peak(pid: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .context("no VmHWM")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .context("no value")?
        .parse()?)
}

fn big_table(client: &mut Client) -> Result<()> {
    client.run(
        "CREATE TABLE big (id int PRIMARY KEY, v int, price numeric, note text);
         INSERT INTO big SELECT i, 0, i * 1.25, repeat(md5(i::text), 10) FROM generate_series(1, 300000) i;
         SELECT audit.attach('big')",
    )?;
    client.run("VACUUM ANALYZE big")
}

#[test]
fn case_29_memory_of_a_big_statement_is_bounded() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        big_table(&mut client)?;
        for statement in [
            "UPDATE big SET v = v + 1",
            "INSERT INTO big SELECT id + 1000000, v, price, note FROM big",
            "DELETE FROM big WHERE id > 1000000",
        ] {
            // A session of its own: the peak is the statement's.
            let mut session = db.connect()?;
            session.run("UPDATE big SET v = v WHERE id = 1; INSERT INTO big VALUES (-1, 0, 0, ''); DELETE FROM big WHERE id = -1")?;
            let pid = session.one("SELECT pg_backend_pid()")?;
            let before = peak(&pid)?;
            session.run(statement)?;
            let grown = peak(&pid)? - before;
            ensure!(
                grown < BOUND_KB,
                "{statement}: grew by {grown} kB, allowed are {BOUND_KB} kB"
            );
        }
        let counts = client.table(
            "SELECT operation, count(*) > 299999 FROM audit.audit_events
             WHERE table_name = 'big' AND operation IN ('insert', 'update', 'delete') GROUP BY 1 ORDER BY 1",
        )?;
        ensure!(counts == ["insert|t", "update|t", "delete|t"], "{counts:?}");
        Ok(())
    });
}

#[test]
fn case_29_capture_is_cancelled_at_once() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        big_table(&mut client)?;
        client.run("UPDATE big SET v = 1 WHERE id = 1")?;
        let partition = client.one("SELECT tableoid::regclass FROM audit.audit_events LIMIT 1")?;
        let size = format!("SELECT pg_relation_size('{partition}')");
        let before = client.number(&size)?;
        let mut session = db.connect()?;
        let pid = session.one("SELECT pg_backend_pid()")?;
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                session
                    .refused("57014", "UPDATE big SET v = v + 1")
                    .map(drop)
            });
            // Events of the open transaction grow the file: capture is under way.
            wait_until("capture to write events", || {
                Ok((client.number(&size)? > before + 2_000_000).then_some(()))
            })?;
            let asked = Instant::now();
            client.run(&format!("SELECT pg_cancel_backend({pid})"))?;
            match worker.join() {
                Ok(outcome) => outcome?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
            let took = asked.elapsed();
            ensure!(
                took < Duration::from_secs(2),
                "cancelled only after {took:?}"
            );
            let left = client
                .number("SELECT count(*) FROM audit.audit_events WHERE operation = 'update'")?;
            ensure!(
                left == 1,
                "the cancelled statement left {left} update events instead of 1"
            );
            Ok(())
        })
    });
}

/// Bytes in all memory contexts of the session.
fn contexts(client: &mut Client) -> Result<i64> {
    client.number("SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts")
}

#[test]
fn case_30_memory_is_flat_over_many_transactions() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, v int, note text);
             INSERT INTO t SELECT i, 0, 'note' FROM generate_series(1, 100) i;
             CREATE TABLE p (id int, v int) PARTITION BY HASH (id);
             CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             SELECT audit.attach('t', baseline => true); SELECT audit.attach('p')",
        )?;
        let update = client.prepare("UPDATE t SET v = v + 1 WHERE id = $1")?;
        let insert = client.prepare("INSERT INTO p VALUES ($1, 0)")?;
        let work = |client: &mut Client, count: i32| -> Result<()> {
            for i in 0..count {
                if i % 10 == 0 {
                    client.run(&format!(
                        "BEGIN; SET LOCAL audit.request_id = 'r{i}'; UPDATE t SET v = v + 1 WHERE id = 1;
                         SAVEPOINT s; DELETE FROM t WHERE id = 2; ROLLBACK TO s; COMMIT"
                    ))?;
                    client.refused("23505", "INSERT INTO t VALUES (1000, 0, ''), (1, 0, '')")?;
                } else if i % 2 == 0 {
                    client.execute(&insert, &[&i])?;
                } else {
                    client.execute(&update, &[&(1 + i % 100)])?;
                }
            }
            Ok(())
        };
        work(&mut client, 2_000)?;
        let before = contexts(&mut client)?;
        work(&mut client, 18_000)?;
        let grown = contexts(&mut client)? - before;
        ensure!(
            grown < 128 * 1024,
            "grew by {grown} bytes over 18,000 transactions"
        );
        oracle::check(&mut client, "t")?;
        oracle::check(&mut client, "p")
    });
}

/// Growth of the session over 5,000 statements within one transaction.
fn growth_in_one_transaction(client: &mut Client, table: &str) -> Result<i64> {
    let work = |client: &mut Client, count: i32| -> Result<()> {
        for i in 0..count {
            client.run(&format!("UPDATE {table} SET v = {i} WHERE id = 1"))?;
        }
        Ok(())
    };
    client.run("BEGIN")?;
    work(client, 500)?;
    let before = contexts(client)?;
    work(client, 5_000)?;
    let grown = contexts(client)? - before;
    client.run("COMMIT")?;
    Ok(grown)
}

#[test]
fn case_30_memory_is_flat_within_one_transaction() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0);
             CREATE TABLE plain (id int PRIMARY KEY, v int); INSERT INTO plain VALUES (1, 0);
             CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER noop AFTER UPDATE ON plain REFERENCING OLD TABLE AS o NEW TABLE AS n
                 FOR EACH STATEMENT EXECUTE FUNCTION noop();
             SELECT audit.attach('t', baseline => true)",
        )?;
        // PostgreSQL itself keeps some 50 bytes for each version of the row, and as much for each
        // firing of any trigger with transition tables.
        let plain = growth_in_one_transaction(&mut db.connect()?, "plain")?;
        let audited = growth_in_one_transaction(&mut db.connect()?, "t")?;
        ensure!(
            audited < plain + 64 * 1024,
            "grew by {audited} bytes over 5,000 statements, with an empty trigger by {plain}"
        );
        oracle::check(&mut client, "t")?;
        oracle::check_ordered(&mut client, "t")
    });
}
