//! Seals while others write: every committed event is sealed exactly once, in its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, shared, wait_until};
use postgres::Client;

/// Verification finds nothing, and every event stands in the tree once, where it belongs.
pub fn check(client: &mut Client) -> Result<()> {
    let wrong = client.table(
        "SELECT check_name, event_id, leaf_index, detail FROM audit.verify() WHERE NOT ok",
    )?;
    ensure!(wrong.is_empty(), "verification found {wrong:#?}");
    let unsealed = client.number("SELECT events FROM audit.unsealed()")?;
    ensure!(unsealed == 0, "{unsealed} events are not sealed");
    let wrong = client.table(
        "WITH leaves AS (SELECT l.event_id, count(*) AS n FROM audit.epochs e,
                         LATERAL audit.leaves(0, 9223372036854775807, e.epoch) l GROUP BY 1)
         SELECT coalesce(e.event_id, l.event_id), l.n FROM audit.audit_events e FULL JOIN leaves l USING (event_id)
         WHERE l.n IS DISTINCT FROM 1 OR e.event_id IS NULL",
    )?;
    ensure!(
        wrong.is_empty(),
        "events without exactly one leaf: {wrong:?}"
    );
    check_order(client)
}

/// The leaves of each seal stand in the order of transaction, statement and event. The first seal of an epoch after a restore has
/// the transactions of two clusters.
fn check_order(client: &mut Client) -> Result<()> {
    let misplaced = client.table(
        "WITH seals AS (SELECT epoch, tree_size, lag(tree_size, 1, 0::bigint) OVER (PARTITION BY epoch ORDER BY tree_size) AS first
                        FROM audit.checkpoints),
              places AS (SELECT s.epoch, s.tree_size, l.leaf_index, v.event_id,
                                s.first - 1 + row_number() OVER (PARTITION BY s.epoch, s.first ORDER BY v.xact_id, v.statement_id, v.event_id) AS place
                         FROM seals s JOIN audit.epochs e USING (epoch), LATERAL audit.leaves(s.first, s.tree_size - s.first, s.epoch) l
                         JOIN audit.audit_events v USING (event_id)
                         WHERE s.first > 0 OR e.event_id IS NULL)
         SELECT * FROM places WHERE leaf_index <> place ORDER BY 1, 3",
    )?;
    ensure!(
        misplaced.is_empty(),
        "{} leaves are not in their places; the first of them: {:?}",
        misplaced.len(),
        &misplaced[..misplaced.len().min(10)]
    );
    Ok(())
}

/// Runs statements one by one: sent together they would be one transaction, which seals nothing of its own.
pub fn each(client: &mut Client, statements: &str) -> Result<()> {
    statements
        .split(';')
        .try_for_each(|statement| client.run(statement))
}

/// What one writer does, again and again.
const WRITES: &[&str] = &[
    "INSERT INTO t (w, v) SELECT $W, 'a' FROM generate_series(1, 5)",
    "BEGIN; INSERT INTO t (w, v) VALUES ($W, 'b'); SAVEPOINT s; UPDATE t SET v = 'c' WHERE w = $W AND id % 7 = 0; ROLLBACK TO s;
     SAVEPOINT u; DELETE FROM t WHERE w = $W AND id % 11 = 0; RELEASE u; COMMIT",
    "BEGIN; INSERT INTO t (w, v) SELECT $W, 'never' FROM generate_series(1, 70); ROLLBACK",
    "UPDATE t SET v = v || 'x' WHERE w = $W AND id % 5 = 0",
    "BEGIN; INSERT INTO t (w, v) VALUES ($W, 'two-phase'); PREPARE TRANSACTION 'p$W_$N'",
    "COMMIT PREPARED 'p$W_$M'",
    "BEGIN; INSERT INTO t (w, v) VALUES ($W, 'own'); SELECT audit.seal(); INSERT INTO t (w, v) VALUES ($W, 'own, too'); COMMIT",
];

fn write(client: &mut Client, writer: usize, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        let sql = WRITES[round % WRITES.len()]
            .replace("$W", &writer.to_string())
            .replace("$N", &round.to_string())
            .replace("$M", &round.wrapping_sub(1).to_string());
        client.run(&sql)?;
    }
    Ok(())
}

pub fn table(client: &mut Client) -> Result<()> {
    client.run("CREATE TABLE t (id bigserial PRIMARY KEY, w int, v text); SELECT audit.attach('t')")
}

/// Runs sessions side by side; the first error of any of them is the test's.
fn together(
    db: &Database,
    sessions: usize,
    work: impl Fn(usize, &mut Client) -> Result<()> + Sync,
) -> Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..sessions)
            .map(|n| scope.spawn(move || work(n, &mut db.connect()?)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a session panicked"))?)
    })
}

#[test]
fn sixteen_writers_and_two_sealers() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        table(&mut client)?;
        // Transactions that last over all seals: one that writes at its start, one at its end.
        let (mut early, mut late) = (db.connect()?, db.connect()?);
        early.run("BEGIN; INSERT INTO t (w, v) VALUES (-1, 'early')")?;
        late.run("BEGIN; SELECT pg_current_xact_id()")?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let sealers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| -> Result<i64> {
                        let mut client = db.connect()?;
                        let mut sealed = 0;
                        while !done.load(Ordering::Relaxed) {
                            sealed += client.number("SELECT audit.seal()")?;
                        }
                        Ok(sealed)
                    })
                })
                .collect();
            let written = together(db, 16, |n, client| write(client, n, 70));
            done.store(true, Ordering::Relaxed);
            for sealer in sealers {
                let sealed = sealer.join().map_err(|_| anyhow!("a sealer panicked"))??;
                ensure!(sealed > 0, "a sealer never had its turn");
            }
            written
        })?;
        client.run("SELECT audit.seal()")?;
        check(&mut client).context("while two transactions are open")?;
        late.run("INSERT INTO t (w, v) VALUES (-2, 'late'); COMMIT")?;
        ensure!(
            client.number("SELECT audit.seal()")? == 1,
            "the late event was not sealed"
        );
        early.run("INSERT INTO t (w, v) VALUES (-1, 'again'); COMMIT")?;
        ensure!(
            client.number("SELECT audit.seal()")? == 2,
            "the early events were not sealed"
        );
        check(&mut client)?;
        let seals = client.number("SELECT count(*) FROM audit.checkpoints")?;
        ensure!(seals > 20, "only {seals} seals: the test shows little");
        Ok(())
    });
}

/// Whoever began first stands first, though his event ids are higher.
#[test]
fn transactions_of_a_seal_stand_in_their_order() {
    shared(|db| {
        let mut client = db.connect()?;
        table(&mut client)?;
        client.run("SELECT audit.seal()")?;
        let mut first = db.connect()?;
        first.run("BEGIN; SELECT pg_current_xact_id()")?;
        client.run("INSERT INTO t (w, v) SELECT 2, 'second' FROM generate_series(1, 300)")?;
        first.run("INSERT INTO t (w, v) SELECT 1, 'first' FROM generate_series(1, 2); COMMIT")?;
        client.run("SELECT audit.seal()")?;
        let writers = client.table(
            "SELECT new_values ->> 'w' AS w, count(*), min(leaf_index) = min(min(leaf_index)) OVER () AS leads, max(event_id) = max(max(event_id)) OVER () AS high
             FROM audit.audit_events, audit.find_leaf(event_id) WHERE operation = 'insert' GROUP BY 1 ORDER BY 1",
        )?;
        ensure!(
            writers == ["1|2|t|t", "2|300|f|f"],
            "writers, their events, who stands first, who has the higher ids: {writers:?}"
        );
        check(&mut client)
    });
}

#[test]
fn a_long_transaction_holds_nothing_up_and_is_found_once() {
    shared(|db| {
        let mut client = db.connect()?;
        table(&mut client)?;
        client.run("SELECT audit.seal()")?;
        let mut long = db.connect()?;
        long.run("BEGIN; INSERT INTO t (w, v) VALUES (0, 'long')")?;
        for _ in 0..20 {
            client.run("INSERT INTO t (w, v) VALUES (1, 'short')")?;
            ensure!(
                client.number("SELECT audit.seal()")? == 1,
                "a short transaction had to wait"
            );
        }
        long.run("COMMIT")?;
        ensure!(
            client.number("SELECT audit.seal()")? == 1,
            "the long transaction was not sealed"
        );
        ensure!(
            client.number("SELECT audit.seal()")? == 0,
            "something was sealed twice"
        );
        check(&mut client)
    });
}

/// `1e131071` takes 12 bytes and prints 131,072: nobody may stop the sealer, or end the server, by a value whose text no memory holds.
#[test]
fn a_value_too_long_to_print_stops_nothing() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run("CREATE TABLE j (id int PRIMARY KEY, v jsonb); SELECT audit.attach('j')")?;
        let long = "(SELECT jsonb_agg('1e131071'::jsonb) FROM generate_series(1, 12000))";
        client.run(&format!("INSERT INTO j VALUES (1, {long})"))?;
        client.run(&format!(
            "INSERT INTO j SELECT 2, (repeat('[', 70) || '0' || repeat(']', 70))::jsonb
             UNION ALL SELECT 3, jsonb_set((repeat('[', 70) || '0' || repeat(']', 70))::jsonb, array_fill('0'::text, '{{70}}'), {long})"
        ))?;
        client.run("INSERT INTO j VALUES (4, '1')")?;
        let shown = client.table(
            "SELECT row_key, new_values #>> '{v,pg_attest}', new_values #>> '{v,type}', length(new_values #>> '{v,sha256}')
             FROM audit.audit_events WHERE table_name = 'j' AND operation = 'insert' ORDER BY 1",
        )?;
        ensure!(
            shown
                == [
                    "1|substitute|jsonb|64",
                    "2|∅|∅|∅",
                    "3|substitute|jsonb|64",
                    "4|∅|∅|∅"
                ],
            "{shown:?}"
        );
        client.run("SELECT audit.seal()")?;
        check(&mut client)?;
        // What a superuser restores comes as it is.
        let mut restorer = db.connect()?;
        restorer.run(&format!(
            "SET audit.restore = on;
             INSERT INTO audit.audit_events SELECT (jsonb_populate_record(e, jsonb_build_object('event_id', nextval('audit.audit_events_event_id_seq'),
                 'xact_id', pg_current_xact_id(), 'new_values', CASE row_key WHEN '1' THEN {long}
                 ELSE jsonb_set((repeat('[', 70) || '0' || repeat(']', 70))::jsonb, array_fill('0'::text, '{{70}}'), {long}) END))).*
             FROM audit.audit_events e WHERE table_name = 'j' AND row_key IN ('1', '3')"
        ))?;
        drop(restorer);
        wait_until("the restoring session to end", || {
            Ok(client
                .attempt("SELECT audit.seal()")?
                .is_none()
                .then_some(()))
        })?;
        let findings = client.table(
            "SELECT check_name, row_key FROM audit.verify() v JOIN audit.audit_events e USING (event_id)
             WHERE NOT ok ORDER BY row_key",
        )?;
        ensure!(
            findings == ["malformed event|1", "malformed event|3"],
            "{findings:?}"
        );
        Ok(())
    });
}
