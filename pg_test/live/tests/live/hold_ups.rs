//! Nobody but a superuser holds up the sealer: not by locks, not by open transactions, not by commands that end it.

use std::sync::mpsc::channel;

use anyhow::{Context, ensure};
use live_tests::cluster::SUPERUSER;
use live_tests::{Sql, own_cluster, shared, wait_until};
use postgres::NoTls;

use crate::seal::{check, each};

const TABLE: &str = "CREATE TABLE t (id serial PRIMARY KEY); SELECT audit.attach('t')";

/// `audit.maintain()` needs a lock that all writers would queue behind: it gives up when a reader keeps it waiting, tells so, and does
/// all else.
#[test]
fn maintenance_does_not_wait_for_a_reader() {
    shared(|db| {
        let mut client = db.connect()?;
        each(&mut client, TABLE)?;
        client.run("INSERT INTO t DEFAULT VALUES")?;
        // A month is missing: making it takes a lock on the default partition.
        let month = "audit.audit_events_' || to_char(now() AT TIME ZONE 'UTC' + interval '5 months', 'YYYY_MM')";
        client.run(&format!(
            "DO $$ BEGIN EXECUTE 'ALTER TABLE audit.audit_events DETACH PARTITION {month}; EXECUTE 'ALTER TABLE {month} || ' RENAME TO elsewhere'; END $$"
        ))?;
        let mut reader = db.connect()?;
        reader.run("BEGIN")?;
        reader.run("SELECT count(*) FROM audit.audit_events_default")?;
        client.run(
            "CREATE TABLE visits (at timestamptz); INSERT INTO visits VALUES ('2001-01-01');
             SELECT audit.attach_cleanup('visits', 'at', '1 year')",
        )?;
        let (tell, told) = channel();
        let mut config = db.cluster().config(db.name(), SUPERUSER);
        config.notice_callback(move |notice| {
            let _ = tell.send(notice.message().to_owned());
        });
        let done = config
            .connect(NoTls)?
            .table("SELECT task, done FROM audit.maintain() WHERE task IN ('partitions made', 'rows cleaned up')")?;
        ensure!(
            done == ["partitions made|0", "rows cleaned up|1"],
            "{done:?}"
        );
        let told: Vec<_> = told.try_iter().collect();
        ensure!(
            told.iter()
                .any(|told| told.starts_with("months of audit.audit_events failed")),
            "told are {told:?}"
        );
        let failures = "SELECT task, subject, sqlstate FROM audit.upkeep_failures";
        let failed = client.table(failures)?;
        ensure!(failed == ["months|audit.audit_events|55P03"], "{failed:?}");
        client.run("INSERT INTO t DEFAULT VALUES")?;
        client.run("SELECT audit.seal()")?;
        reader.run("COMMIT")?;
        let made =
            client.one("SELECT done FROM audit.maintain() WHERE task = 'partitions made'")?;
        ensure!(made == "1", "{made} partitions made");
        let failed = client.table(failures)?;
        ensure!(failed.is_empty(), "still said to fail: {failed:?}");
        client.run("SELECT audit.seal()")?;
        check(&mut client)
    });
}

#[test]
fn an_admin_does_not_keep_a_seal_open() {
    shared(|db| {
        let mut client = db.connect()?;
        each(&mut client, TABLE)?;
        client.run("INSERT INTO t DEFAULT VALUES")?;
        let role = db.role("admin")?;
        client.run(&format!("SELECT audit.grant_access('{role}', 'admin')"))?;
        let mut admin = db.connect_as(&role)?;
        admin.run("BEGIN")?;
        let error = admin.refused("25001", "SELECT audit.seal()")?;
        ensure!(!error.hint.is_empty(), "{error:?}");
        admin.run("ROLLBACK")?;
        ensure!(
            admin.number("SELECT audit.seal()")? > 0,
            "nothing was sealed"
        );
        check(&mut client)
    });
}

/// Who may not rename the database does not end its sealer by trying to.
#[test]
fn an_owner_s_refused_command_leaves_the_sealer_alone() {
    let settings = [("shared_preload_libraries", "pg_attest")];
    own_cluster(&settings, |db| {
        let mut client = db.connect()?;
        let name = db.name();
        let owner = db.role("owner")?;
        client.run(&format!("ALTER DATABASE {name} OWNER TO {owner}"))?;
        let sealer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_attest sealer' AND datname = current_database()";
        let pid = wait_until("a sealer", || Ok(client.table(sealer)?.pop()))?;
        let mut session = db.cluster().connect("postgres", &owner)?;
        for refused in [
            format!("ALTER DATABASE {name} RENAME TO {name}_2"),
            format!("ALTER DATABASE {name} SET TABLESPACE pg_global"),
            format!("ALTER DATABASE {name} SET TABLESPACE pg_default"),
            format!("CREATE DATABASE {name}_2 TEMPLATE {name}"),
        ] {
            session.refused("42501", &refused)?;
        }
        // One that was told to end would not be back for ten seconds, and then as another process.
        each(&mut client, TABLE)?;
        client.run("INSERT INTO t DEFAULT VALUES")?;
        wait_until("the sealer to seal", || {
            Ok((client.number("SELECT events FROM audit.unsealed()")? == 0).then_some(()))
        })?;
        let now = client.table(sealer)?;
        ensure!(now == [pid], "the sealer is {now:?}");
        Ok(())
    });
}

/// DETACH PARTITION locks the parent, then the default partition; so does the sealer.
#[test]
fn sealing_and_detaching_do_not_deadlock() {
    shared(|db| {
        let mut client = db.connect()?;
        each(&mut client, TABLE)?;
        client.run("INSERT INTO t DEFAULT VALUES")?;
        let mut detacher = db.connect()?;
        detacher.run("BEGIN")?;
        detacher.run("LOCK TABLE ONLY audit.audit_events IN ACCESS EXCLUSIVE MODE")?;
        let mut sealer = db.connect()?;
        let pid = sealer.one("SELECT pg_backend_pid()")?;
        std::thread::scope(|scope| {
            let seal = scope.spawn(move || sealer.number("SELECT audit.seal()"));
            wait_until("the sealer to wait", || {
                let waits = client.one(&format!(
                    "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted"
                ))?;
                Ok((waits == "1").then_some(()))
            })?;
            detacher
                .run("LOCK TABLE audit.audit_events_default IN ACCESS EXCLUSIVE MODE NOWAIT")?;
            detacher.run("COMMIT")?;
            let events = seal.join().ok().context("the sealer panicked")??;
            ensure!(events > 0, "nothing was sealed");
            anyhow::Ok(())
        })?;
        check(&mut client)
    });
}

/// Who moves events out of the default partition locks the log and then that partition. Somebody who waited for the first with a lock of
/// the second would be waited for in turn.
#[test]
fn two_who_make_months_do_not_wait_for_each_other() {
    shared(|db| {
        let mut client = db.connect()?;
        // There are no months yet: this event is in the default partition.
        client.run(
            "SELECT audit.log_event('early', category => 'c'); CREATE TABLE t (id int PRIMARY KEY)",
        )?;
        let mut first = db.connect()?;
        first.run("BEGIN; LOCK TABLE ONLY audit.audit_events IN SHARE UPDATE EXCLUSIVE MODE")?;
        std::thread::scope(|scope| {
            let second = scope.spawn(|| db.connect()?.run("SELECT audit.attach('t')"));
            let waits = wait_until("the second to wait", || {
                let found = client.table(
                    "SELECT relation::regclass FROM pg_locks JOIN pg_stat_activity USING (pid)
                     WHERE datname = current_database() AND query LIKE 'SELECT audit.attach%' AND locktype = 'relation' AND NOT granted",
                )?;
                Ok(found.into_iter().next())
            });
            let holds = client.number(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE datname = current_database() AND query LIKE 'SELECT audit.attach%' AND relation = 'audit.audit_events_default'::regclass",
            );
            first.run("COMMIT")?;
            second
                .join()
                .map_err(|_| anyhow::anyhow!("the second panicked"))??;
            let (waits, holds) = (waits?, holds?);
            ensure!(
                waits == "audit.audit_events" && holds == 0,
                "it waits for {waits}, with {holds} locks of the default partition"
            );
            Ok(())
        })?;
        let rest = client.number("SELECT count(*) FROM audit.audit_events_default")?;
        ensure!(rest == 0, "{rest} events are in the default partition");
        Ok(())
    });
}
