//! Who acts and why: settings, `audit.set_context`, sqlcommenter comments.

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, shared};
use postgres::Client;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn table(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    client.run("CREATE TABLE t (id serial PRIMARY KEY, v text); SELECT audit.attach('t')")?;
    Ok(client)
}

/// One column of the newest event of `t`.
fn newest(client: &mut Client, column: &str) -> Result<String> {
    client.one(&format!(
        "SELECT coalesce({column}, '∅') FROM audit.audit_events WHERE table_name = 't'
         ORDER BY event_id DESC LIMIT 1"
    ))
}

fn expect(client: &mut Client, column: &str, expected: &str, what: &str) -> Result<()> {
    let got = newest(client, column)?;
    ensure!(
        got == expected,
        "{what}: {column} is `{got}`, expected `{expected}`"
    );
    Ok(())
}

#[test]
fn context_ends_with_its_transaction() {
    shared(|db| {
        let mut client = table(db)?;
        client.run(
            "BEGIN; SELECT audit.set_context(request_id => 'r1', app_user_id => 'ann', reason => 'test',
                 tenant_id => 'acme', session_id => 's1', process_id => 'p1', extra => '{\"k\": [1, 2.50]}');
             INSERT INTO t (v) VALUES ('a'); COMMIT",
        )?;
        for (column, value) in [
            ("request_id", "r1"),
            ("app_user_id", "ann"),
            ("reason", "test"),
            ("tenant_id", "acme"),
            ("session_id", "s1"),
            ("process_id", "p1"),
            ("application_name", "∅"),
            ("backend_pid::text", &client.one("SELECT pg_backend_pid()")?),
        ] {
            if column != "application_name" {
                expect(&mut client, column, value, "in the transaction")?;
            }
        }
        let context = newest(&mut client, "context::text")?;
        ensure!(context.contains("[1, 2.50]"), "extra is lost: {context}");
        client.run("INSERT INTO t (v) VALUES ('b')")?;
        for column in [
            "request_id",
            "app_user_id",
            "reason",
            "tenant_id",
            "session_id",
            "process_id",
        ] {
            expect(&mut client, column, "∅", "in the next transaction")?;
        }
        client.run(
            "BEGIN; SET LOCAL audit.request_id = 'r2'; INSERT INTO t (v) VALUES ('c'); COMMIT",
        )?;
        expect(&mut client, "request_id", "r2", "SET LOCAL")?;
        client.run("INSERT INTO t (v) VALUES ('d')")?;
        expect(&mut client, "request_id", "∅", "after SET LOCAL")
    });
}

#[test]
fn context_of_a_session_stays_and_is_overridden_locally() {
    shared(|db| {
        let mut client = table(db)?;
        client.run("SELECT audit.set_context(request_id => 'session', is_local => false)")?;
        client.run("INSERT INTO t (v) VALUES ('a')")?;
        expect(&mut client, "request_id", "session", "is_local => false")?;
        client.run(
            "BEGIN; SELECT audit.set_context(request_id => 'local'); INSERT INTO t (v) VALUES ('b'); COMMIT",
        )?;
        expect(&mut client, "request_id", "local", "a local value")?;
        client.run("INSERT INTO t (v) VALUES ('c')")?;
        expect(
            &mut client,
            "request_id",
            "session",
            "after the local value",
        )?;
        client.run(
            "BEGIN; SAVEPOINT s; SET LOCAL audit.request_id = 'undone'; ROLLBACK TO s;
             INSERT INTO t (v) VALUES ('d'); COMMIT",
        )?;
        expect(&mut client, "request_id", "session", "after ROLLBACK TO")?;
        client.run("DISCARD ALL")?;
        client.run("INSERT INTO t (v) VALUES ('e')")?;
        expect(&mut client, "request_id", "∅", "after DISCARD ALL")
    });
}

#[test]
fn context_is_seen_by_statements_of_one_transaction_as_they_run() {
    shared(|db| {
        let mut client = table(db)?;
        client.run(
            "BEGIN; INSERT INTO t (v) VALUES ('0'); SET LOCAL audit.reason = 'first';
             INSERT INTO t (v) VALUES ('1'); SELECT audit.set_context(reason => 'second');
             INSERT INTO t (v) VALUES ('2'); COMMIT",
        )?;
        let reasons = client.table(
            "SELECT new_values ->> 'v', reason FROM audit.audit_events WHERE operation = 'insert'
             AND table_name = 't' ORDER BY statement_id",
        )?;
        ensure!(reasons == ["0|∅", "1|first", "2|second"], "{reasons:?}");
        Ok(())
    });
}

#[test]
fn client_and_application_are_recorded() {
    shared(|db| {
        let mut client = table(db)?;
        let mut config = db.cluster().config(db.name(), "postgres");
        let mut session = config
            .application_name("billing")
            .connect(postgres::NoTls)?;
        session.run("INSERT INTO t (v) VALUES ('a')")?;
        expect(&mut client, "application_name", "billing", "at connect")?;
        session.run("SET application_name = 'other'; INSERT INTO t (v) VALUES ('b')")?;
        expect(&mut client, "application_name", "other", "changed")?;
        // A Unix socket has no address.
        expect(&mut client, "client_addr::text", "∅", "socket")
    });
}

#[test]
fn sqlcommenter_is_read_only_when_asked_for() {
    shared(|db| {
        let mut client = table(db)?;
        client.run("INSERT INTO t (v) VALUES ('a') /*request_id='abc'*/")?;
        expect(
            &mut client,
            "request_id",
            "∅",
            "audit.read_sqlcommenter off",
        )
    });
}

#[test]
fn sqlcommenter_gives_request_and_trace() {
    shared(|db| {
        let mut client = table(db)?;
        client.run("SET audit.read_sqlcommenter = on")?;
        let parent = format!("traceparent='00-{TRACE}-00f067aa0ba902b7-01'");
        for (comment, expected, what) in [
            (format!("/*{parent},request_id='abc'*/"), "abc", "both"),
            (
                format!("/*request_id='abc',{parent}*/"),
                "abc",
                "both, other order",
            ),
            (format!("/*{parent}*/"), TRACE, "trace alone"),
            ("/*request_id='a%20b%2Fc'*/".into(), "a b/c", "URL-encoded"),
            (
                format!("/*action='x',db_driver='y',{parent}*/;"),
                TRACE,
                "among others, semicolon",
            ),
            (String::new(), "∅", "no comment"),
            ("/*request_id=*/".into(), "∅", "malformed"),
            (
                "/*traceparent='00-xyz-1-01'*/".into(),
                "∅",
                "malformed trace",
            ),
            ("/* an ordinary remark */".into(), "∅", "ordinary comment"),
        ] {
            client.run(&format!("INSERT INTO t (v) VALUES ('x') {comment}"))?;
            expect(
                &mut client,
                "request_id",
                expected,
                &format!("{what}, simple protocol"),
            )?;
            client.execute(&format!("INSERT INTO t (v) VALUES ($1) {comment}"), &[&"x"])?;
            expect(
                &mut client,
                "request_id",
                expected,
                &format!("{what}, extended protocol"),
            )?;
        }
        Ok(())
    });
}

#[test]
fn sqlcommenter_yields_to_settings() {
    shared(|db| {
        let mut client = table(db)?;
        client.run("SET audit.read_sqlcommenter = on")?;
        client.run("SET audit.request_id = 'guc'")?;
        client.run("INSERT INTO t (v) VALUES ('a') /*request_id='comment'*/")?;
        expect(&mut client, "request_id", "guc", "both set")?;
        client.run("RESET audit.request_id")?;
        client.run("INSERT INTO t (v) VALUES ('b') /*request_id='comment'*/")?;
        expect(&mut client, "request_id", "comment", "setting reset")
    });
}

#[test]
fn sqlcommenter_is_no_way_for_data_to_speak() {
    shared(|db| {
        let mut client = table(db)?;
        client.run("SET audit.read_sqlcommenter = on")?;
        for statement in [
            "INSERT INTO t (v) VALUES ('/*request_id=''forged''*/')",
            "INSERT INTO t (v) VALUES ($$/*request_id='forged'*/$$)",
            "INSERT INTO t (v) VALUES ('x''/*request_id=\"forged\"*/')",
        ] {
            client.run(statement)?;
            expect(&mut client, "request_id", "∅", statement)?;
        }
        // Where both are there, the true comment counts.
        client
            .run("INSERT INTO t (v) VALUES ('/*request_id=''forged''*/') /*request_id='true'*/")?;
        expect(&mut client, "request_id", "true", "data and comment")
    });
}
