//! Statements that the executor runs in unusual ways: stopped early, or changed under way.

use anyhow::ensure;
use live_tests::env::without;
use live_tests::{Sql, oracle, shared};

#[test]
fn case_22_statement_stopped_early_by_an_spi_row_limit() {
    if without("plperl") {
        eprintln!("left out by PG_ATTEST_WITHOUT: plperl");
        return;
    }
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE EXTENSION plperl;
             CREATE TABLE t (id int PRIMARY KEY, v int);
             INSERT INTO t SELECT i, 0 FROM generate_series(1, 5) i;
             SELECT audit.attach('t', baseline => true)",
        )?;
        // With a limit SPI stops pulling rows: AFTER STATEMENT triggers never fire.
        for (statement, operation, least) in [
            ("UPDATE t SET v = v + 1 RETURNING id", "update", 1),
            (
                "INSERT INTO t SELECT i, 9 FROM generate_series(10, 15) i RETURNING id",
                "insert",
                1,
            ),
            ("DELETE FROM t WHERE id > 2 RETURNING id", "delete", 1),
        ] {
            client.run(&format!(
                "DO LANGUAGE plperl $$ spi_exec_query('{statement}', 1) $$"
            ))?;
            oracle::check(&mut client, "t")?;
            let count = client.number(&format!(
                "SELECT count(*) FROM audit.audit_events WHERE table_name = 't' AND operation = '{operation}'"
            ))?;
            ensure!(count >= least, "{statement}: {count} events");
        }
        // Within one transaction the statements before and after it stay right too.
        client.run(
            "BEGIN; UPDATE t SET v = 50 WHERE id = 1;
             DO LANGUAGE plperl $$ spi_exec_query('UPDATE t SET v = v + 1 RETURNING id', 2);
                                   spi_exec_query('UPDATE t SET v = v + 10'); $$;
             UPDATE t SET v = 60 WHERE id = 2; COMMIT;
             UPDATE t SET v = 70",
        )?;
        oracle::check(&mut client, "t")?;
        oracle::check_ordered(&mut client, "t")
    });
}

#[test]
fn case_16_before_trigger_that_replaces_the_row_of_the_same_key() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, v int);
             CREATE FUNCTION replace() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN DELETE FROM t WHERE id = new.id; RETURN new; END $$;
             CREATE TRIGGER replace BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION replace();
             INSERT INTO t VALUES (1, 1), (2, 2);
             SELECT audit.attach('t', baseline => true);
             INSERT INTO t VALUES (1, 10);
             INSERT INTO t VALUES (2, 20), (3, 30), (2, 21)",
        )?;
        // The row 2 of the last statement is inserted, deleted by its own trigger, and inserted again.
        ensure!(
            client.table("TABLE t ORDER BY id")? == ["1|10", "2|21", "3|30"],
            "not replaced"
        );
        oracle::check(&mut client, "t")?;
        // INSERT and the DELETEs within it overlap: between the two commands a key may have two
        // images, but an image that is taken away must have been there.
        let operations = client.table(
            "SELECT operation, count(*) FROM audit.audit_events
             WHERE table_name = 't' AND operation IN ('insert', 'delete') GROUP BY 1 ORDER BY 1",
        )?;
        ensure!(operations == ["insert|4", "delete|3"], "{operations:?}");
        let negative = client.table(
            "SELECT image, running FROM (
                 SELECT image, sum(n) OVER (PARTITION BY image ORDER BY xact_id, statement_id) AS running
                 FROM (SELECT xact_id, statement_id, new_values::text AS image, 1 AS n FROM audit.audit_events
                       WHERE table_name = 't' AND new_values IS NOT NULL
                       UNION ALL
                       SELECT xact_id, statement_id, old_values::text, -1 FROM audit.audit_events
                       WHERE table_name = 't' AND old_values IS NOT NULL) signed) s
             WHERE running < 0",
        )?;
        ensure!(
            negative.is_empty(),
            "taken away before it was there: {negative:?}"
        );
        Ok(())
    });
}

#[test]
fn case_16_before_trigger_that_changes_a_row_of_the_same_statement() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, seen int DEFAULT 0);
             CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN UPDATE t SET seen = seen + 1 WHERE id < new.id; RETURN new; END $$;
             CREATE TRIGGER touch BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch();
             SELECT audit.attach('t');
             INSERT INTO t VALUES (1), (2), (3);
             INSERT INTO t SELECT i FROM generate_series(4, 6) i",
        )?;
        oracle::check(&mut client, "t")?;
        oracle::check_ordered(&mut client, "t")
    });
}

#[test]
fn case_16_nested_statements_of_every_trigger_time() {
    // What a BEFORE trigger changed, its statement may not change again: it writes elsewhere.
    for (time, level, written) in [
        ("BEFORE", "STATEMENT", "other"),
        ("AFTER", "STATEMENT", "t"),
        ("AFTER", "ROW", "t"),
    ] {
        shared(|db| {
            let mut client = db.connect()?;
            client.run(&format!(
                "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE log (id serial PRIMARY KEY, what text);
                 INSERT INTO t SELECT i, 0 FROM generate_series(1, 4) i;
                 CREATE TABLE other (LIKE t INCLUDING ALL); INSERT INTO other SELECT * FROM t;
                 CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     INSERT INTO log (what) VALUES (tg_op || pg_trigger_depth());
                     IF pg_trigger_depth() < 4 THEN
                         UPDATE {written} SET v = v + 1 WHERE id = pg_trigger_depth();
                         BEGIN
                             UPDATE {written} SET v = 1 / (pg_trigger_depth() - 2);
                         EXCEPTION WHEN division_by_zero THEN UPDATE log SET what = what || '!';
                         END;
                     END IF;
                     RETURN NULL;
                 END $$;
                 CREATE TRIGGER nested {time} INSERT OR UPDATE OR DELETE ON t
                     FOR EACH {level} EXECUTE FUNCTION nested();
                 SELECT audit.attach(x, baseline => true) FROM unnest('{{t,log,other}}'::regclass[]) x;
                 UPDATE t SET v = 5 WHERE id > 2; INSERT INTO t VALUES (5, 5); DELETE FROM t WHERE id = 4;
                 BEGIN; UPDATE t SET v = v + 1; UPDATE t SET v = v + 1; COMMIT"
            ))?;
            for table in ["t", "log", "other"] {
                oracle::check(&mut client, table)?;
                oracle::check_ordered(&mut client, table)?;
            }
            Ok(())
        });
    }
}
