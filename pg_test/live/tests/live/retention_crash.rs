//! Crashes in the middle of pruning and erasing: everything is declared and gone, or nothing is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

use crate::past::{PER_MONTH, declared_and_gone, with_a_past};

/// The backend of this application name, once it waits for the lock that the test holds or has shown what it is at.
fn backend(client: &mut Client, name: &str, condition: &str) -> Result<String> {
    wait_until("the backend to be in the middle", || {
        let found = client.table(&format!(
            "SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' AND backend_xid IS NOT NULL AND {condition}"
        ))?;
        Ok(found.into_iter().next())
    })
}

/// Runs a command in a session of its own, kills that with signal 9 once it has written something and waits for `blocker`, and
/// waits for the server to be back.
fn kill_in_the_middle(db: &Database, command: &str, blocker: &str, condition: &str) -> Result<()> {
    let mut blocking = db.connect()?;
    blocking.run(&format!("BEGIN; {blocker}"))?;
    let mut watching = db.connect()?;
    thread::scope(|scope| {
        let victim = scope.spawn(|| -> Result<()> {
            let mut client = db.connect()?;
            client.run("SET application_name = 'victim'")?;
            ensure!(client.run(command).is_err(), "{command} was not killed");
            Ok(())
        });
        let killed = backend(&mut watching, "victim", condition)
            .and_then(|pid| db.cluster().kill_backend(&pid));
        let _ = blocking.run("ROLLBACK");
        victim
            .join()
            .map_err(|_| anyhow!("the victim panicked"))??;
        killed
    })?;
    wait_until("the server to be back", || {
        Ok(db.connect().is_ok().then_some(()))
    })
}

#[test]
fn a_kill_in_the_middle_of_a_prune_leaves_whole_partitions() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.set_retention('7 years')")?;
        let before =
            client.one("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(before == "900", "{before} events at first");
        drop(client);
        // A reader keeps the second of three months: the first one, of March, is committed by then.
        kill_in_the_middle(
            db,
            "CALL audit.prune()",
            "SELECT count(*) FROM audit.audit_events_2015_02",
            "query LIKE 'pruning audit.audit_events_2015_02%'",
        )?;
        let mut client = db.connect()?;
        let left =
            client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(left == 2 * PER_MONTH, "{left} events are left");
        ensure!(
            declared_and_gone(&mut client)? == PER_MONTH,
            "more or less is declared"
        );
        // Taken up again, it ends; the months are gone, and nothing else is.
        client.run("CALL audit.prune()")?;
        ensure!(
            declared_and_gone(&mut client)? == 3 * PER_MONTH,
            "not all is declared"
        );
        let rest =
            client.table("SELECT name FROM audit.log_partitions WHERE ends < '2016-01-01'")?;
        ensure!(rest.is_empty(), "months are left: {rest:?}");
        Ok(())
    });
}

#[test]
fn a_kill_in_the_middle_of_a_batch_leaves_its_events() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        // Not the whole month is due, so events are deleted one batch after the other.
        client.run("SELECT audit.set_retention(NULL, target => 't', max_events => 700)")?;
        drop(client);
        kill_in_the_middle(
            db,
            "CALL audit.prune()",
            "SELECT FROM audit.audit_events_2015_01 WHERE row_key = 'old 50' FOR UPDATE",
            "wait_event_type = 'Lock'",
        )?;
        let mut client = db.connect()?;
        let left =
            client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(left == 3 * PER_MONTH, "{left} events are left");
        ensure!(
            declared_and_gone(&mut client)? == 0,
            "something is declared"
        );
        client.run("CALL audit.prune()")?;
        let left =
            client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(left == 700, "{left} events are left");
        ensure!(
            declared_and_gone(&mut client)? == 3 * PER_MONTH - 700,
            "not all is declared"
        );
        Ok(())
    });
}

#[test]
fn a_kill_in_the_second_batch_leaves_the_first_one_done() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        // Two batches of the present month, and the past.
        client.run("INSERT INTO t (v) SELECT 'new' FROM generate_series(1, 80000)")?;
        client.run("SELECT audit.seal()")?;
        client.run("SELECT audit.set_retention(NULL, target => 't', max_events => 1000)")?;
        let month = client.one(
            "SELECT DISTINCT tableoid::regclass::text FROM audit.audit_events WHERE row_key = '70000'",
        )?;
        drop(client);
        kill_in_the_middle(
            db,
            "CALL audit.prune()",
            &format!("SELECT FROM {month} WHERE row_key = '70000' FOR UPDATE"),
            "wait_event_type = 'Lock'",
        )?;
        let mut client = db.connect()?;
        let events = "SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'";
        let all = 3 * PER_MONTH + 80_000;
        let (left, gone) = (client.number(events)?, declared_and_gone(&mut client)?);
        ensure!(
            gone > 40_000 && gone < 70_000 && left == all - gone,
            "{gone} are gone, {left} left of {all}"
        );
        client.run("CALL audit.prune()")?;
        let (left, gone) = (client.number(events)?, declared_and_gone(&mut client)?);
        ensure!(
            (left, gone) == (1000, all - 1000),
            "{gone} are gone, {left} left of {all}"
        );
        Ok(())
    });
}

#[test]
fn a_kill_in_the_middle_of_an_erasure_leaves_the_row() {
    own_cluster(&[], |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.seal()")?;
        drop(client);
        kill_in_the_middle(
            db,
            "SELECT audit.erase('t', 'old 7', 'article 17')",
            "SELECT FROM audit.audit_events_2015_03 WHERE row_key = 'old 7' FOR UPDATE",
            "wait_event_type = 'Lock'",
        )?;
        let mut client = db.connect()?;
        let state = "SELECT count(*) FILTER (WHERE row_key = 'old 7' AND salt IS NOT NULL), count(*) FILTER (WHERE payload_hash IS NOT NULL),
                            count(*) FILTER (WHERE action = 'erase') FROM audit.audit_events";
        let found = client.table(state)?;
        ensure!(found == ["3|0|0"], "half erased: {found:?}");
        client.run("SELECT audit.erase('t', 'old 7', 'article 17')")?;
        let found = client.table(state)?;
        ensure!(found == ["0|3|1"], "not erased: {found:?}");
        let wrong = client.table(
            "SELECT e.event_id FROM audit.audit_events e JOIN audit.leaves(0, 1000000) l USING (event_id)
             WHERE sha256('\\x00' || audit.event_leaf(e.event_id)) <> l.leaf_hash",
        )?;
        ensure!(wrong.is_empty(), "leaves changed: {wrong:?}");
        client.run("SELECT audit.seal()")?;
        let found = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(found.is_empty(), "found: {found:?}");
        Ok(())
    });
}

/// Has the session of the name `victim` wait behind each statement that empties a month, and before each one that makes, changes or drops a
/// table: for the advisory lock of the number that this stop has.
const STOPS: &str = "
    CREATE SEQUENCE stops;
    CREATE FUNCTION stop() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    DECLARE
        number bigint;
    BEGIN
        IF current_setting('application_name') = 'victim' THEN
            number := nextval('public.stops');
            PERFORM pg_advisory_lock_shared(number), pg_advisory_unlock_shared(number);
        END IF;
    END $$;
    CREATE FUNCTION stop_emptying() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.stop(); RETURN NULL; END $$;
    CREATE FUNCTION stop_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.stop(); END $$;
    CREATE TRIGGER stop AFTER TRUNCATE ON audit.audit_events_2015_01 EXECUTE FUNCTION stop_emptying();
    CREATE TRIGGER stop AFTER TRUNCATE ON audit.audit_events_2015_02 EXECUTE FUNCTION stop_emptying();
    CREATE TRIGGER stop AFTER TRUNCATE ON audit.audit_events_2015_03 EXECUTE FUNCTION stop_emptying();
    CREATE EVENT TRIGGER stop ON ddl_command_start EXECUTE FUNCTION stop_ddl()";

/// Where a prune was killed: what it had to itself.
#[derive(Debug, PartialEq, Eq)]
enum Killed {
    /// Nothing of the log.
    Before,
    /// A month.
    Emptying,
    /// The whole log.
    Dropping,
}

/// Prunes, and kills that at the stop of this number; None where it ended before.
fn kill_at(db: &Database, stop: u32) -> Result<Option<Killed>> {
    let mut blocking = db.connect()?;
    blocking.run(&format!(
        "SELECT setval('stops', 1, false), pg_advisory_lock({stop})"
    ))?;
    let mut watching = db.connect()?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let victim = scope.spawn(|| -> Result<()> {
            let mut client = db.connect()?;
            client.run("SET application_name = 'victim'")?;
            let outcome = client.run("CALL audit.prune()");
            ended.store(true, Ordering::Relaxed);
            outcome
        });
        let stopped = wait_until("the prune to stop or to end", || {
            let waiting = watching.table(
                "SELECT pid, (SELECT bool_or(relation = 'audit.audit_events'::regclass) FROM pg_locks l
                              WHERE l.pid = a.pid AND granted AND mode = 'AccessExclusiveLock' AND relation::regclass::text LIKE 'audit.audit_events%')
                 FROM pg_stat_activity a WHERE application_name = 'victim' AND wait_event = 'advisory'",
            )?;
            let has_ended = ended.load(Ordering::Relaxed);
            Ok((has_ended || !waiting.is_empty()).then(|| waiting.into_iter().next()))
        })
        .and_then(|stopped| {
            let Some((pid, whole)) = stopped.as_ref().and_then(|line| line.split_once('|')) else {
                return Ok(None);
            };
            db.cluster().kill_backend(pid)?;
            Ok(Some(match whole {
                "t" => Killed::Dropping,
                "f" => Killed::Emptying,
                _ => Killed::Before,
            }))
        });
        // Whatever went wrong, it goes on.
        let _ = blocking.run("SELECT pg_advisory_unlock_all()");
        let outcome = victim.join().map_err(|_| anyhow!("the victim panicked"))?;
        let stopped = stopped?;
        ensure!(
            outcome.is_err() == stopped.is_some(),
            "{stopped:?}, and it says {outcome:?}"
        );
        Ok(stopped)
    })
}

/// How many events the old months have that are there: all, or those that stay. What is gone is declared, nothing is half done.
fn months(client: &mut Client) -> Result<Vec<String>> {
    let months = client.table(
        "SELECT p.name, count(e.event_id) FROM audit.log_partitions p LEFT JOIN audit.audit_events e ON e.tableoid = p.partition
         WHERE p.ends < '2016-01-01' GROUP BY 1 ORDER BY 1",
    )?;
    let whole = |line: &String| {
        let count = line.split('|').nth(1).unwrap_or_default();
        let stays = if line.contains("2015_02") { "1" } else { "0" };
        count == PER_MONTH.to_string() || count == stays
    };
    ensure!(months.iter().all(whole), "half a month: {months:?}");
    let left =
        client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
    let gone = declared_and_gone(client)?;
    ensure!(
        left + gone == 3 * PER_MONTH,
        "{left} are left and {gone} are declared: {months:?}"
    );
    let loose = client.table(
        "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relname LIKE '%audit_events_2015%'
         AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid)",
    )?;
    ensure!(loose.is_empty(), "no part of the log: {loose:?}");
    Ok(months)
}

/// A month is emptied and dropped, another one emptied but for what a hold keeps: killed at each of its statements in turn, from the last
/// one that stayed on.
#[test]
fn a_kill_at_any_statement_of_a_prune_leaves_whole_months() {
    own_cluster(&[("autovacuum", "off")], |db| {
        let mut client = with_a_past(db)?;
        client.run("SELECT audit.set_retention('7 years')")?;
        client.run("SELECT audit.hold('case', target => 't', row_key => 'old 7', period => '[2015-02-01,2015-03-01)', reason => 'court')")?;
        client.run(STOPS)?;
        let mut before = months(&mut client)?;
        drop(client);
        let (mut kills, mut stop) = (Vec::new(), 1);
        while let Some(killed) = kill_at(db, stop)? {
            kills.push(killed);
            let now = months(&mut db.connect()?)?;
            stop = if now == before { stop + 1 } else { 1 };
            before = now;
        }
        for place in [Killed::Emptying, Killed::Dropping] {
            ensure!(kills.contains(&place), "{place:?} is none of {kills:?}");
        }
        let mut client = db.connect()?;
        let left = months(&mut client)?;
        ensure!(left == ["audit_events_2015_02|1"], "left are {left:?}");
        Ok(())
    });
}
