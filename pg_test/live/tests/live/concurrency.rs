//! Two writers and two hundred: nobody waits for another's audit, nobody fails because of it.

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, oracle, shared};
use postgres::Client;

/// Locks that would make another session wait, or could.
const SUSPECT_LOCKS: &str = "
    SELECT l.pid, l.locktype, coalesce(n.nspname || '.' || c.relname, ''), l.mode, l.granted
    FROM pg_locks l
    JOIN pg_stat_activity s ON s.pid = l.pid AND s.datname = current_database()
    LEFT JOIN pg_class c ON c.oid = l.relation AND l.database = s.datid
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT l.granted
       OR (n.nspname = 'audit' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
       OR l.locktype IN ('advisory', 'extend', 'page', 'tuple', 'object')";

/// Every kind of write to the rows with keys from `base` to `base + 9`.
fn writes(base: i32) -> String {
    format!(
        "INSERT INTO t VALUES ({base}, 1), ({base} + 1, 1), ({base} + 2, 1);
         UPDATE t SET v = v + 1 WHERE id = {base};
         DELETE FROM t WHERE id = {base} + 1;
         INSERT INTO t VALUES ({base}, 5) ON CONFLICT (id) DO UPDATE SET v = t.v + excluded.v;
         MERGE INTO t USING (VALUES ({base} + 2), ({base} + 3)) s (id) ON t.id = s.id
             WHEN MATCHED THEN UPDATE SET v = 7 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 8);
         INSERT INTO p VALUES ({base}, 1), ({base} + 1, 2);
         UPDATE p SET part = 3 - part WHERE id = {base};
         INSERT INTO parent VALUES ({base}); INSERT INTO child VALUES ({base}, {base});
         UPDATE parent SET id = {base} + 5 WHERE id = {base};
         DELETE FROM parent WHERE id = {base} + 5"
    )
}

fn schema(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    client.run(
        "CREATE TABLE t (id int PRIMARY KEY, v int);
         CREATE TABLE p (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
         CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
         CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE child (id int PRIMARY KEY,
             parent int REFERENCES parent ON UPDATE CASCADE ON DELETE CASCADE);
         CREATE INDEX ON child (parent);
         SELECT audit.attach(x) FROM unnest('{t,p,parent,child}'::regclass[]) x",
    )?;
    Ok(client)
}

fn replay(client: &mut Client) -> Result<()> {
    for table in ["t", "p", "parent", "child"] {
        oracle::check(client, table)?;
    }
    Ok(())
}

fn impatient(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    client.run("SET lock_timeout = '2s'; SET statement_timeout = '20s'")?;
    Ok(client)
}

#[test]
fn case_32_a_write_waits_for_no_other_transactions_audit() {
    shared(|db| {
        let mut admin = schema(db)?;
        let (mut first, mut second) = (impatient(db)?, impatient(db)?);
        first.run("BEGIN")?;
        first.run(&writes(100))?;
        // The first transaction stays open, with events of every kind written.
        second.run("BEGIN")?;
        second
            .run(&writes(200))
            .context("beside an open audited transaction")?;
        let locks = admin.table(SUSPECT_LOCKS)?;
        ensure!(
            locks.is_empty(),
            "locks that others may wait for: {locks:#?}"
        );
        second.run("COMMIT")?;
        second
            .run(&writes(300))
            .context("as one implicit transaction")?;
        first.run(&writes(400))?;
        first.run("COMMIT")?;
        replay(&mut admin)
    });
}

#[test]
fn case_32_forty_open_transactions_write_side_by_side() {
    shared(|db| {
        let mut admin = schema(db)?;
        let mut sessions = (0..40).map(|_| impatient(db)).collect::<Result<Vec<_>>>()?;
        let mut base = 1000;
        for round in 0..3 {
            for session in &mut sessions {
                if round == 0 {
                    session.run("BEGIN")?;
                }
                session
                    .run(&writes(base))
                    .context("beside 39 open audited transactions")?;
                base += 10;
            }
            let locks = admin.table(SUSPECT_LOCKS)?;
            ensure!(
                locks.is_empty(),
                "locks that others may wait for: {locks:#?}"
            );
        }
        for (i, session) in sessions.iter_mut().enumerate() {
            session.run(if i % 4 == 0 { "ROLLBACK" } else { "COMMIT" })?;
        }
        replay(&mut admin)
    });
}

#[test]
fn case_32_no_deadlock_whatever_the_order_of_tables() {
    shared(|db| {
        let mut admin = schema(db)?;
        // Opposite orders of tables, different rows: without audit nothing to wait for.
        let orders = [
            "INSERT INTO t VALUES ($, 1); INSERT INTO parent VALUES ($); INSERT INTO p VALUES ($, 1)",
            "INSERT INTO p VALUES ($, 2); INSERT INTO parent VALUES ($); INSERT INTO t VALUES ($, 2)",
        ];
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|worker| {
                    scope.spawn(move || {
                        let mut session = impatient(db)?;
                        for i in 0..25 {
                            let key = (worker * 1000 + i).to_string();
                            let sql = orders[usize::from(worker % 2 == 1)].replace('$', &key);
                            session.run(&format!("BEGIN; {sql}; COMMIT"))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(join)
        })?;
        let count =
            admin.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(count == 8 * 25 * 3, "{count} insert events");
        replay(&mut admin)
    });
}

/// Runs the same interleaving of two transactions on a table; the SQLSTATE of each failure.
fn interleaved(db: &Database, level: &str, table: &str) -> Result<Vec<String>> {
    let (mut first, mut second) = (impatient(db)?, impatient(db)?);
    let mut failures = Vec::new();
    for round in 0..10 {
        let (a, b) = (1 + round, 4000 - round);
        let steps = [
            (0, format!("BEGIN ISOLATION LEVEL {level}")),
            (1, format!("BEGIN ISOLATION LEVEL {level}")),
            (0, format!("SELECT * FROM {table} WHERE id = {a}")),
            (1, format!("SELECT * FROM {table} WHERE id = {b}")),
            (0, format!("UPDATE {table} SET v = v + 1 WHERE id = {a}")),
            (1, format!("UPDATE {table} SET v = v + 1 WHERE id = {b}")),
            (1, format!("DELETE FROM {table} WHERE id = {b} - 100")),
            (0, format!("INSERT INTO {table} VALUES (-{a}, 0, '')")),
            (
                1,
                format!("INSERT INTO {table} VALUES (10000 + {b}, 0, '')"),
            ),
            (0, "COMMIT".into()),
            (1, "COMMIT".into()),
        ];
        for (who, sql) in steps {
            let session = if who == 0 { &mut first } else { &mut second };
            if let Some(error) = session.attempt(&sql)? {
                failures.push(format!("{} {sql}", error.sqlstate));
            }
        }
    }
    Ok(failures)
}

#[test]
fn case_33_snapshot_isolation_fails_no_oftener_than_unaudited() {
    shared(|db| {
        let mut admin = db.connect()?;
        admin.run(
            "CREATE TABLE plain (id int PRIMARY KEY, v int, pad text);
             CREATE TABLE audited (LIKE plain INCLUDING ALL);
             INSERT INTO plain SELECT i, 0, repeat('x', 100) FROM generate_series(1, 4000) i;
             INSERT INTO audited SELECT * FROM plain;
             ANALYZE plain, audited;
             SELECT audit.attach('audited', baseline => true)",
        )?;
        for level in ["REPEATABLE READ", "SERIALIZABLE"] {
            let plain = interleaved(db, level, "plain")?;
            let audited = interleaved(db, level, "audited")?;
            let strip = |all: &[String]| -> Vec<String> {
                all.iter()
                    .map(|one| one.replace("plain", "_").replace("audited", "_"))
                    .collect()
            };
            ensure!(
                strip(&plain) == strip(&audited),
                "{level}: unaudited {plain:#?}, audited {audited:#?}"
            );
        }
        oracle::check(&mut admin, "audited")
    });
}

#[test]
fn case_33_serializable_writers_of_different_tables_never_fail() {
    shared(|db| {
        let mut admin = db.connect()?;
        for i in 0..6 {
            admin.run(&format!(
                "CREATE TABLE own{i} (id int PRIMARY KEY, v int); SELECT audit.attach('own{i}')"
            ))?;
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..6)
                .map(|i| {
                    scope.spawn(move || {
                        let mut session = impatient(db)?;
                        session.run("SET default_transaction_isolation = 'serializable'")?;
                        for round in 0..40 {
                            session.run(&format!(
                                "BEGIN; SELECT * FROM own{i}; INSERT INTO own{i} VALUES ({round}, 0);
                                 UPDATE own{i} SET v = v + 1; COMMIT"
                            ))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(join)
        })?;
        for i in 0..6 {
            oracle::check(&mut admin, &format!("own{i}"))?;
            oracle::check_ordered(&mut admin, &format!("own{i}"))?;
        }
        Ok(())
    });
}

fn join(worker: std::thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    match worker.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
