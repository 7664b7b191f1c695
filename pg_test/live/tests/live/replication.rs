//! Logical replication: the apply worker fires row triggers alone, the initial copy fires all.
//! Publisher and subscriber are two databases of one cluster, so the slot is made by hand.

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, oracle, own_cluster, wait_until};
use postgres::Client;

const TABLES: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v text, amount numeric, data jsonb);
    CREATE TABLE p (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
    CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
    CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
    CREATE TABLE whole (a int, b text); ALTER TABLE whole REPLICA IDENTITY FULL";

struct Pair<'a> {
    publisher: Client,
    subscriber: Client,
    _databases: [Database<'a>; 1],
}

/// A publication of three tables and, in `db`, a subscription to it.
fn replicate<'a>(db: &Database<'a>, existing_rows: &str) -> Result<Pair<'a>> {
    let source = Database::empty(db.cluster())?;
    let mut publisher = source.connect()?;
    publisher.run(TABLES)?;
    publisher.run(existing_rows)?;
    publisher.run(
        "CREATE PUBLICATION pub FOR TABLE t, p, whole WITH (publish_via_partition_root = true)",
    )?;
    publisher.run("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')")?;
    let mut subscriber = db.connect()?;
    subscriber.run(TABLES)?;
    subscriber.run("SELECT audit.attach(x) FROM unnest('{t,p,whole}'::regclass[]) x")?;
    subscriber.run(&format!(
        "CREATE SUBSCRIPTION sub CONNECTION '{}' PUBLICATION pub
         WITH (create_slot = false, slot_name = 'slot')",
        db.cluster().conninfo(source.name())
    ))?;
    Ok(Pair {
        publisher,
        subscriber,
        _databases: [source],
    })
}

impl Pair<'_> {
    /// Waits until the subscriber has all that the publisher wrote.
    fn catch_up(&mut self) -> Result<()> {
        let subscriber = &mut self.subscriber;
        wait_until("the initial copy", || {
            let busy = subscriber.number(
                "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')",
            )?;
            Ok((busy == 0).then_some(()))
        })?;
        let publisher = &mut self.publisher;
        let target = publisher.one("SELECT pg_current_wal_lsn()")?;
        wait_until("the subscriber to apply", || {
            let done = publisher.one(&format!(
                "SELECT coalesce(bool_and(confirmed_flush_lsn >= '{target}'), false)
                 FROM pg_replication_slots WHERE slot_name = 'slot'"
            ))?;
            Ok((done == "t").then_some(()))
        })
    }

    /// The subscriber's events of one table, as `operation count`.
    fn events(&mut self, table: &str) -> Result<Vec<String>> {
        self.subscriber.table(&format!(
            "SELECT operation || ' ' || count(*) FROM audit.audit_events
             WHERE table_name = '{table}' AND operation NOT IN ('ddl', 'system') GROUP BY operation ORDER BY operation"
        ))
    }

    /// The subscription has to go before its database can.
    fn finish(mut self) -> Result<()> {
        self.subscriber.run("ALTER SUBSCRIPTION sub DISABLE")?;
        let publisher = &mut self.publisher;
        wait_until("the slot to be released", || {
            let active = publisher.number(
                "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = 'slot'",
            )?;
            Ok((active == 0).then_some(()))
        })?;
        self.subscriber
            .run("ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub")?;
        self.publisher
            .run("SELECT pg_drop_replication_slot('slot')")
    }
}

fn same(what: &str, got: &[String], expected: &[&str]) -> Result<()> {
    ensure!(
        got == expected,
        "{what}: got {got:?}, expected {expected:?}"
    );
    Ok(())
}

#[test]
fn case_23_initial_copy_is_captured_once() {
    own_cluster(&[], |db| {
        let mut pair = replicate(
            db,
            "INSERT INTO t SELECT i, 'v' || i, i / 4.0, NULL FROM generate_series(1, 2500) i;
             INSERT INTO p SELECT i, 1 + i % 2, 'x' FROM generate_series(1, 1000) i;
             INSERT INTO whole VALUES (1, 'one'), (1, 'one'), (NULL, NULL)",
        )?;
        pair.catch_up()?;
        same("t", &pair.events("t")?, &["insert 2500"])?;
        same("p", &pair.events("p")?, &["insert 1000"])?;
        same("whole", &pair.events("whole")?, &["insert 3"])?;
        for table in ["t", "p", "whole"] {
            oracle::check(&mut pair.subscriber, table)?;
        }
        pair.finish()
    });
}

#[test]
fn case_23_applied_changes_are_captured_once_per_row() {
    own_cluster(&[], |db| {
        let mut pair = replicate(db, "INSERT INTO t VALUES (0, 'before', 0, '{}')")?;
        pair.catch_up()?;
        pair.publisher.run(
            "INSERT INTO t SELECT i, 'v' || i, i / 4.0, '{\"a\": 1}' FROM generate_series(1, 10) i;
             UPDATE t SET v = 'new', amount = amount * 1.10 WHERE id <= 4;
             BEGIN; UPDATE t SET id = id + 100 WHERE id IN (5, 6); UPDATE t SET v = 'twice' WHERE id = 105;
             COMMIT;
             DELETE FROM t WHERE id IN (7, 8);
             INSERT INTO p VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c');
             UPDATE p SET v = 'changed' WHERE id = 3;
             DELETE FROM p WHERE id = 2;
             INSERT INTO whole VALUES (1, 'x'), (2, 'y'); UPDATE whole SET b = 'z' WHERE a = 2;
             DELETE FROM whole WHERE a = 1",
        )?;
        pair.catch_up()?;
        same(
            "t",
            &pair.events("t")?,
            &["insert 11", "update 8", "delete 2"],
        )?;
        same(
            "p",
            &pair.events("p")?,
            &["insert 3", "update 1", "delete 1"],
        )?;
        same(
            "whole",
            &pair.events("whole")?,
            &["insert 2", "update 1", "delete 1"],
        )?;
        for table in ["t", "p", "whole"] {
            oracle::check(&mut pair.subscriber, table)?;
        }
        oracle::check_ordered(&mut pair.subscriber, "t")?;
        let moved = pair.subscriber.table(
            "SELECT row_key, old_row_key FROM audit.audit_events
             WHERE table_name = 't' AND old_row_key IS NOT NULL ORDER BY 1",
        )?;
        same("changed keys", &moved, &["105|5", "106|6"])?;
        pair.finish()
    });
}

#[test]
fn case_23_applied_partition_move_keeps_both_images() {
    own_cluster(&[], |db| {
        let mut pair = replicate(db, "INSERT INTO p VALUES (1, 1, 'a'), (2, 1, 'b')")?;
        pair.catch_up()?;
        pair.publisher
            .run("UPDATE p SET part = 2, v = 'moved' WHERE id = 1")?;
        pair.catch_up()?;
        oracle::check(&mut pair.subscriber, "p")?;
        // The apply worker's row triggers see DELETE and INSERT; one UPDATE would be best.
        let events = pair.events("p")?;
        ensure!(
            events == ["insert 2", "update 1"] || events == ["insert 3", "delete 1"],
            "a partition move by the apply worker: {events:?}"
        );
        pair.finish()
    });
}

#[test]
fn case_23_applied_truncate_is_captured_once() {
    own_cluster(&[], |db| {
        let mut pair = replicate(
            db,
            "INSERT INTO t VALUES (1, 'a', 1, NULL), (2, 'b', 2, NULL); INSERT INTO p VALUES (1, 1, 'a')",
        )?;
        pair.catch_up()?;
        pair.publisher
            .run("TRUNCATE t, p; INSERT INTO t VALUES (3, 'c', 3, NULL)")?;
        pair.catch_up()?;
        same("t", &pair.events("t")?, &["insert 3", "truncate 1"])?;
        same("p", &pair.events("p")?, &["insert 1", "truncate 1"])?;
        oracle::check(&mut pair.subscriber, "t")?;
        oracle::check(&mut pair.subscriber, "p")?;
        // An ordinary session beside the apply worker is captured by its statements, once too.
        pair.subscriber.run(
            "INSERT INTO t VALUES (50, 'local', 1, NULL); UPDATE t SET v = 'here' WHERE id = 50;
             INSERT INTO p VALUES (50, 2, 'local')",
        )?;
        same(
            "t",
            &pair.events("t")?,
            &["insert 4", "update 1", "truncate 1"],
        )?;
        oracle::check(&mut pair.subscriber, "t")?;
        oracle::check(&mut pair.subscriber, "p")?;
        pair.finish()
    });
}
