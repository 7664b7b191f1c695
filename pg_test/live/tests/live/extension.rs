//! The end of the extension: refused while events exist, and harmless when it is allowed.

use anyhow::ensure;
use live_tests::{Sql, oracle, shared};

#[test]
fn case_38_drop_extension_is_refused_while_events_exist() {
    shared(|db| {
        let alice = db.role("alice")?;
        let mut client = db.connect()?;
        client.run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, v text); GRANT ALL ON t TO {alice};
             SELECT audit.attach('t'); INSERT INTO t VALUES (1, 'one')"
        ))?;
        for attempt in [
            "DROP EXTENSION pg_attest",
            "DROP EXTENSION pg_attest CASCADE",
            "DROP SCHEMA audit CASCADE",
            "DROP TABLE audit.audit_events CASCADE",
            "ALTER EXTENSION pg_attest DROP TABLE audit.audit_events; DROP TABLE audit.audit_events CASCADE",
        ] {
            let error = client.attempt(attempt)?;
            ensure!(
                error.is_some(),
                "succeeded with events in the log: {attempt}"
            );
        }
        let error = client.attempt("DROP EXTENSION pg_attest CASCADE")?;
        let told = error.is_some_and(|error| format!("{error:?}").contains("audit.allow_drop"));
        ensure!(told, "the refusal does not name audit.allow_drop");
        let mut session = db.connect_as(&alice)?;
        session.run("INSERT INTO t VALUES (2, 'two')")?;
        session.refused("42501", "SET audit.allow_drop = on")?;
        oracle::check(&mut client, "t")
    });
}

#[test]
fn case_38_dropped_extension_leaves_tables_writable() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, v text);
             CREATE TABLE p (id int) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
             CREATE TABLE b (id int); CREATE TABLE c () INHERITS (b);
             SELECT audit.attach(x) FROM unnest('{t,p,b}'::regclass[]) x;
             INSERT INTO t VALUES (1, 'one'); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)",
        )?;
        // A second session whose caches hold everything.
        let mut other = db.connect()?;
        let writes =
            "INSERT INTO t SELECT max(id) + 1, 'next' FROM t; UPDATE p SET id = 2; DELETE FROM b;
                      TRUNCATE c; INSERT INTO c VALUES (1)";
        other.run(writes)?;
        client.run("SET audit.allow_drop = on; DROP EXTENSION pg_attest CASCADE")?;
        let left = client.table(
            "SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal
             UNION ALL SELECT 0, evtname FROM pg_event_trigger
             UNION ALL SELECT 1, nspname FROM pg_namespace WHERE nspname = 'audit'",
        )?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        client.run(writes)?;
        other.run(writes)?;
        client.run(
            "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); DROP TABLE b CASCADE",
        )?;
        // And back again, in sessions that knew the first installation.
        other.run("CREATE EXTENSION pg_attest; SELECT audit.attach('t', baseline => true)")?;
        client.run("UPDATE t SET v = 'again'")?;
        other.run("UPDATE t SET v = 'and again'")?;
        oracle::check(&mut client, "t")?;
        oracle::check_ordered(&mut client, "t")
    });
}

#[test]
fn case_38_drop_extension_without_events_needs_no_setting() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run("DROP EXTENSION pg_attest; CREATE EXTENSION pg_attest; DROP EXTENSION pg_attest")
    });
}

#[test]
fn case_35_database_made_from_a_template_goes_on() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, v text); SELECT audit.attach('t');
             INSERT INTO t VALUES (1, 'one'); UPDATE t SET v = 'uno'",
        )?;
        drop(client);
        let copy = live_tests::Database::empty(db.cluster())?;
        let mut admin = db.cluster().connect("postgres", "postgres")?;
        admin.run(&format!("DROP DATABASE {}", copy.name()))?;
        live_tests::wait_until("the source to be idle", || {
            let sql = format!("CREATE DATABASE {} TEMPLATE {}", copy.name(), db.name());
            Ok(admin.attempt(&sql)?.is_none().then_some(()))
        })?;
        let mut client = copy.connect()?;
        client.run("UPDATE t SET v = 'eins'; INSERT INTO t VALUES (2, 'zwei')")?;
        oracle::check(&mut client, "t")?;
        oracle::check_ordered(&mut client, "t")
    });
}
