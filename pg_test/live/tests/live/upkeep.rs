//! The worker's upkeep: when it begins, and what is seen of one that was killed.

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

use crate::past::{PER_MONTH, declared_and_gone, with_a_past};

/// A server whose worker seals all the time, and does no upkeep until it is told to.
const SETTINGS: &[(&str, &str)] = &[
    ("shared_preload_libraries", "pg_attest"),
    ("audit.seal_interval", "20ms"),
    ("audit.retention_schedule", "0"),
];
const BEGUN: &str = "SELECT count(*) FROM audit.audit_events WHERE action = 'begin upkeep'";
const ENDED: &str = "SELECT count(*) FROM audit.audit_events WHERE action = 'end upkeep'";
/// What of the past is there.
const OLD: &str = "SELECT count(*) FROM audit.audit_events WHERE row_key LIKE 'old %'";

fn schedule(client: &mut Client, schedule: &str) -> Result<()> {
    client.run(&format!(
        "ALTER SYSTEM SET audit.retention_schedule = '{schedule}'"
    ))?;
    client.run("SELECT pg_reload_conf()")
}

/// A log with a past, all of which is due. Its events have to be there before the first seal, so the worker begins to seal then.
fn with_a_due_past(db: &Database) -> Result<Client> {
    let mut client = with_a_past(db)?;
    client.run("SELECT audit.set_retention('7 years')")?;
    client.run("ALTER SYSTEM SET audit.seal_interval = '20ms'")?;
    client.run("SELECT pg_reload_conf()")?;
    Ok(client)
}

/// Waits until the sealer has come by so often: each time it looks, too, whether upkeep is due.
fn seals(client: &mut Client, times: usize) -> Result<()> {
    for _ in 0..times {
        client.run("INSERT INTO t (v) VALUES ('new')")?;
        wait_until("the worker to seal", || {
            Ok((client.number("SELECT events FROM audit.unsealed()")? == 0).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn upkeep_begins_on_schedule_and_never_without_one() {
    let settings: Vec<_> = SETTINGS
        .iter()
        .map(|setting| match setting.0 {
            "audit.seal_interval" => (setting.0, "0"),
            _ => *setting,
        })
        .collect();
    own_cluster(&settings, |db| {
        let mut client = with_a_due_past(db)?;
        // 0 is never, however much is due.
        seals(&mut client, 20)?;
        ensure!(client.number(BEGUN)? == 0, "it began without a schedule");
        ensure!(
            client.number(OLD)? == 3 * PER_MONTH,
            "something was pruned without a schedule"
        );
        // A schedule that is not over yet; an hour at most, where there was no run before.
        schedule(&mut client, "1d")?;
        seals(&mut client, 20)?;
        ensure!(client.number(BEGUN)? == 0, "it began too early");

        // Between two beginnings is the schedule's time at least.
        schedule(&mut client, "2s")?;
        wait_until("three runs", || {
            Ok((client.number(BEGUN)? >= 3).then_some(()))
        })?;
        let early = client.table(
            "SELECT captured_at - before FROM (SELECT captured_at, lag(captured_at) OVER (ORDER BY captured_at) AS before
             FROM audit.audit_events WHERE action = 'begin upkeep') runs WHERE captured_at - before < '2s'",
        )?;
        ensure!(early.is_empty(), "it began again after {early:?}");
        ensure!(client.number(OLD)? == 0, "what is due is not pruned");

        // Nor does a restart make it begin: the log says when it ran.
        schedule(&mut client, "1d")?;
        wait_until("the last run to end", || {
            Ok((client.number(BEGUN)? == client.number(ENDED)?).then_some(()))
        })?;
        let begun = client.number(BEGUN)?;
        drop(client);
        db.cluster().stop()?;
        db.cluster().start()?;
        let mut client = db.connect()?;
        seals(&mut client, 20)?;
        ensure!(
            client.number(BEGUN)? == begun,
            "it began anew after a restart"
        );
        schedule(&mut client, "0")?;
        ensure!(
            declared_and_gone(&mut client)? == 3 * PER_MONTH,
            "not all is declared"
        );
        Ok(())
    });
}

/// Killed in the middle of a cleanup: what was begun and did not end is seen until a run has ended.
#[test]
fn an_upkeep_that_was_killed_is_seen_until_the_next_one_ends() {
    own_cluster(SETTINGS, |db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id serial PRIMARY KEY, v text); SELECT audit.attach('t');
             CREATE TABLE visits (at timestamptz); INSERT INTO visits VALUES ('2001-01-01'), (now());
             SELECT audit.attach_cleanup('visits', 'at', '1 year')",
        )?;
        let status = "SELECT value <> 'none by the worker', ok, hint FROM audit.status() WHERE item = 'last upkeep'";
        ensure!(
            client.table(status)? == ["f|t|∅"],
            "before any: {:?}",
            client.table(status)?
        );
        let mut holder = db.connect()?;
        holder.run("BEGIN; SELECT FROM visits FOR UPDATE")?;
        schedule(&mut client, "1s")?;
        let keeper = wait_until("the keeper to wait for the row", || {
            let waiting = client.table(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_attest keeper' AND datname = current_database()
                 AND wait_event_type = 'Lock'",
            )?;
            Ok(waiting.into_iter().next())
        })?;
        // While it runs, all is well.
        let running = client.table(status)?;
        ensure!(running == ["t|t|∅"], "while it runs: {running:?}");
        // Or the next run would come by itself.
        schedule(&mut client, "0")?;
        db.cluster().kill_backend(&keeper)?;
        let mut client = wait_until("the server to be back", || Ok(db.connect().ok()))?;
        seals(&mut client, 5)?;
        let killed = client.table(status)?;
        ensure!(
            killed.len() == 1 && killed[0].starts_with("t|f|It did not end: "),
            "after the kill: {killed:?}"
        );
        ensure!(
            client.number("SELECT count(*) FROM visits")? == 2,
            "half of the cleanup stayed"
        );

        schedule(&mut client, "1s")?;
        wait_until("a run to end", || {
            Ok((client.number(ENDED)? > 0).then_some(()))
        })?;
        schedule(&mut client, "0")?;
        wait_until("the status to be good", || {
            Ok((client.table(status)? == ["t|t|∅"]).then_some(()))
        })?;
        ensure!(
            client.number("SELECT count(*) FROM visits")? == 1,
            "the row was not cleaned up"
        );
        Ok(())
    });
}
