//! What survives a transaction's end, and in whose session: savepoints, two-phase commit, crashes.

use anyhow::{Result, ensure};
use live_tests::{Sql, oracle, own_cluster, shared};
use postgres::Client;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL);
     INSERT INTO t SELECT i, 0 FROM generate_series(1, 5) i;
     SELECT audit.attach('t', baseline => true)";

fn events(client: &mut Client) -> Result<i64> {
    client.number(
        "SELECT count(*) FROM audit.audit_events WHERE table_name = 't' AND operation NOT IN ('ddl', 'system')",
    )
}

fn replay(client: &mut Client) -> Result<()> {
    oracle::check(client, "t")?;
    oracle::check_ordered(client, "t")
}

#[test]
fn case_24_savepoints_take_their_events_along() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(TABLE)?;
        client.run(
            "BEGIN;
             UPDATE t SET v = 1 WHERE id = 1;
             SAVEPOINT a; UPDATE t SET v = 2 WHERE id IN (1, 2);
               SAVEPOINT b; DELETE FROM t WHERE id = 3; RELEASE b;
             ROLLBACK TO a;
             UPDATE t SET v = 3 WHERE id = 2;
             SAVEPOINT c; INSERT INTO t VALUES (6, 0);
               SAVEPOINT d; UPDATE t SET v = v + 1; ROLLBACK TO d; DELETE FROM t WHERE id = 5;
             RELEASE c;
             COMMIT",
        )?;
        ensure!(
            events(&mut client)? == 5 + 4,
            "a rolled-back savepoint left its events"
        );
        replay(&mut client)?;
        // Each statement has its own, growing statement_id.
        let ids = client.table(
            "SELECT array_agg(DISTINCT statement_id ORDER BY statement_id) =
                    array_agg(statement_id ORDER BY event_id), count(DISTINCT statement_id)
             FROM audit.audit_events WHERE table_name = 't' AND operation IN ('insert', 'update', 'delete')",
        )?;
        ensure!(ids == ["t|4"], "statement ids out of order: {ids:?}");
        Ok(())
    });
}

#[test]
fn case_24_exception_blocks_take_their_events_along() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(TABLE)?;
        client.run(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN IF new.v = 99 THEN RAISE EXCEPTION 'refused'; END IF; RETURN new; END $$;
             CREATE TRIGGER fail AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fail();
             DO $$ BEGIN
                 UPDATE t SET v = 1 WHERE id = 1;
                 FOR i IN 1..3 LOOP
                     BEGIN
                         UPDATE t SET v = v + 10;
                         UPDATE t SET v = 99 WHERE id = i;  -- fails while its own stamp is open
                     EXCEPTION WHEN raise_exception THEN
                         UPDATE t SET v = v + 1 WHERE id = i;
                     END;
                     BEGIN
                         INSERT INTO t VALUES (7, 0), (1, 0);  -- fails in the middle
                     EXCEPTION WHEN unique_violation THEN NULL;
                     END;
                 END LOOP;
                 DELETE FROM t WHERE id = 4;
             END $$",
        )?;
        ensure!(
            events(&mut client)? == 5 + 1 + 3 + 1,
            "{} events",
            events(&mut client)?
        );
        replay(&mut client)
    });
}

#[test]
fn case_24_failed_statement_leaves_the_session_clean() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(TABLE)?;
        // Errors at every stage: while rows change, in a trigger, at commit, by cancellation.
        client.run(
            "CREATE TABLE parent (id int PRIMARY KEY);
             ALTER TABLE t ADD CONSTRAINT late FOREIGN KEY (v) REFERENCES parent DEFERRABLE INITIALLY DEFERRED
                 NOT VALID",
        )?;
        for round in 0..20 {
            client.refused("23505", "INSERT INTO t VALUES (100, 0), (1, 0)")?;
            client.refused("22012", "UPDATE t SET v = v / (id - 3)")?;
            client.refused(
                "23503",
                &format!("UPDATE t SET v = {} WHERE id = 1", round + 1),
            )?;
            client.refused(
                "57014",
                "SET statement_timeout = '1ms'; UPDATE t SET v = 0 WHERE pg_sleep(5) IS NULL",
            )?;
            client.run("RESET statement_timeout")?;
        }
        client.run("INSERT INTO parent VALUES (7); UPDATE t SET v = 7 WHERE id = 2")?;
        ensure!(
            events(&mut client)? == 5 + 1,
            "{} events",
            events(&mut client)?
        );
        replay(&mut client)
    });
}

#[test]
fn case_24_prepared_transaction_committed_elsewhere() {
    shared(|db| {
        let (mut first, mut second) = (db.connect()?, db.connect()?);
        first.run(TABLE)?;
        let gid = format!("case24_{}", db.name());
        first.run(&format!(
            "BEGIN; SET LOCAL audit.request_id = 'r24';
             UPDATE t SET v = 1 WHERE id = 1; INSERT INTO t VALUES (6, 6); DELETE FROM t WHERE id = 2;
             PREPARE TRANSACTION '{gid}'"
        ))?;
        // The session that prepared goes on with a transaction of its own.
        first.run("UPDATE t SET v = 2 WHERE id = 3")?;
        first.run("BEGIN; UPDATE t SET v = 3 WHERE id = 4; ROLLBACK")?;
        ensure!(
            events(&mut second)? == 5 + 1,
            "events of a prepared transaction are visible"
        );
        replay(&mut second)?;
        second.run(&format!("COMMIT PREPARED '{gid}'"))?;
        ensure!(
            events(&mut second)? == 5 + 4,
            "{} events",
            events(&mut second)?
        );
        let whole = second.one(
            "SELECT count(DISTINCT xact_id) || ' ' || count(*) FROM audit.audit_events
             WHERE request_id = 'r24'",
        )?;
        ensure!(whole == "1 3", "the prepared transaction's events: {whole}");
        replay(&mut second)?;
        replay(&mut first)
    });
}

#[test]
fn case_24_prepared_transaction_rolled_back_elsewhere() {
    shared(|db| {
        let (mut first, mut second) = (db.connect()?, db.connect()?);
        first.run(TABLE)?;
        let gid = format!("case24r_{}", db.name());
        first.run(&format!(
            "BEGIN; UPDATE t SET v = v + 1; PREPARE TRANSACTION '{gid}'"
        ))?;
        second.run(&format!("ROLLBACK PREPARED '{gid}'"))?;
        ensure!(
            events(&mut second)? == 5,
            "events of a rolled-back prepared transaction"
        );
        first.run("UPDATE t SET v = v + 1 WHERE id = 1")?;
        replay(&mut second)
    });
}

#[test]
fn case_24_crash_between_prepare_and_commit() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        client.run(TABLE)?;
        client.run(
            "BEGIN; UPDATE t SET v = v + 1; TRUNCATE t; INSERT INTO t VALUES (8, 8);
             PREPARE TRANSACTION 'survives';
             BEGIN; CREATE TABLE other (id int); PREPARE TRANSACTION 'goes'",
        )?;
        drop(client);
        db.cluster().crash()?;
        db.cluster().start()?;
        let mut client = db.connect()?;
        ensure!(
            events(&mut client)? == 5,
            "events of a prepared transaction are visible"
        );
        client.run("ROLLBACK PREPARED 'goes'")?;
        client.run("COMMIT PREPARED 'survives'")?;
        // 5 updates, 1 truncate, 1 insert.
        ensure!(
            events(&mut client)? == 5 + 7,
            "{} events",
            events(&mut client)?
        );
        client.run("UPDATE t SET v = 9")?;
        replay(&mut client)
    });
}
