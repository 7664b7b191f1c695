//! Who may do what, and who is recorded as having done it: several roles, several sessions.

use anyhow::{Result, ensure};
use live_tests::{Sql, oracle, shared};
use postgres::Client;

/// Every event, as one value to compare before and after an attempt.
const EVENTS: &str =
    "SELECT count(*) || ' ' || coalesce(md5(string_agg(e::text, '|' ORDER BY event_id)), '')
                      FROM audit.audit_events e";

#[test]
fn case_02_temp_objects_shadow_nothing() {
    shared(|db| {
        let alice = db.role("alice")?;
        let mut admin = db.connect()?;
        admin.run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, v text, span interval, amount money, data json);
             INSERT INTO t VALUES (1, 'one', '1 day', 5, '{{}}');
             GRANT ALL ON t TO {alice};
             SELECT audit.attach('t', baseline => true)"
        ))?;
        let mut session = db.connect_as(&alice)?;
        session.run(
            "CREATE TEMP TABLE audit_events (event_id bigint, occurred_at timestamptz);
             CREATE TEMP TABLE attachment (target oid);
             CREATE TEMP VIEW attachments AS SELECT 1 AS target;
             CREATE TEMP SEQUENCE audit_events_event_id_seq;
             CREATE FUNCTION pg_temp.to_jsonb(anyelement) RETURNS pg_catalog.jsonb LANGUAGE sql
                 AS $$ SELECT '\"shadowed\"'::pg_catalog.jsonb $$;
             CREATE FUNCTION public.to_jsonb(interval) RETURNS pg_catalog.jsonb LANGUAGE sql
                 AS $$ SELECT '\"shadowed\"'::pg_catalog.jsonb $$;
             CREATE FUNCTION public.nextval(pg_catalog.regclass) RETURNS bigint LANGUAGE sql
                 AS $$ SELECT 1::bigint $$;
             CREATE TYPE pg_temp.jsonb AS ENUM ('shadowed');
             CREATE TYPE pg_temp.text AS ENUM ('shadowed');
             SET search_path = pg_temp, public, pg_catalog, audit",
        )?;
        session.run(
            "INSERT INTO public.t VALUES (2, 'two', '2 days', 6, '{\"a\": 1}');
             UPDATE public.t SET v = 'uno', span = span * 2 WHERE id = 1;
             DELETE FROM public.t WHERE id = 2;
             INSERT INTO public.t VALUES (3, 'three', '3 mons', 7, NULL)",
        )?;
        ensure!(
            session.number("SELECT count(*) FROM pg_temp.audit_events")? == 0,
            "diverted"
        );
        ensure!(
            session.number("SELECT count(*) FROM pg_temp.attachment")? == 0,
            "diverted"
        );
        oracle::check(&mut admin, "public.t")?;
        oracle::check_ordered(&mut admin, "public.t")
    });
}

#[test]
fn case_03_no_setting_of_an_ordinary_role_turns_capture_off() {
    shared(|db| {
        let alice = db.role("alice")?;
        let mut admin = db.connect()?;
        admin.run(&format!(
            "CREATE TABLE t (id serial PRIMARY KEY, v text); GRANT ALL ON t, t_id_seq TO {alice};
             SELECT audit.attach('t')"
        ))?;
        let mut session = db.connect_as(&alice)?;
        session.run("INSERT INTO t (v) VALUES ('loads the library')")?;
        session.refused("42501", "SET session_replication_role = replica")?;
        session.refused("42501", "ALTER TABLE t DISABLE TRIGGER ALL")?;
        for superuser_only in ["audit.restore", "audit.allow_drop"] {
            session.refused("42501", &format!("SET {superuser_only} = on"))?;
        }
        let settings = session.rows(
            "SELECT name, vartype, setting FROM pg_settings
             WHERE name LIKE 'audit.%' AND context = 'user' ORDER BY name",
        )?;
        ensure!(
            !settings.is_empty(),
            "the audit settings are not registered"
        );
        for setting in settings {
            let [Some(name), Some(kind), Some(value)] = setting.as_slice() else {
                continue;
            };
            let values: &[&str] = match kind.as_str() {
                "bool" if value == "on" => &["off"],
                "bool" => &["on"],
                "integer" => &["0", "1"],
                _ => &["", "x", "off", "{\"a\": \"'"],
            };
            for value in values {
                let before = admin.number("SELECT count(*) FROM audit.audit_events")?;
                // A value that the setting refuses is no way round either.
                if session
                    .attempt(&format!("SET {name} = '{value}'"))?
                    .is_none()
                {
                    session.run("INSERT INTO t (v) VALUES ('captured?')")?;
                    let after = admin.number("SELECT count(*) FROM audit.audit_events")?;
                    ensure!(after == before + 1, "SET {name} = '{value}' lost an event");
                }
                session.run(&format!("RESET {name}"))?;
            }
        }
        oracle::check(&mut admin, "t")
    });
}

#[test]
fn case_03_superuser_settings_in_the_connection_string_are_not_kept() {
    shared(|db| {
        let alice = db.role("alice")?;
        let mut admin = db.connect()?;
        admin.run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY); GRANT ALL ON t TO {alice}; SELECT audit.attach('t');
             INSERT INTO t VALUES (1);
             GRANT USAGE ON SCHEMA audit TO {alice}; GRANT ALL ON ALL TABLES IN SCHEMA audit TO {alice}"
        ))?;
        // Before the library is loaded its settings are mere placeholders, which anyone may set.
        let mut config = db.cluster().config(db.name(), &alice);
        config.options("-c audit.restore=on -c audit.allow_drop=on");
        let mut session = config.connect(postgres::NoTls)?;
        let before = admin.one(EVENTS)?;
        session.run("SET audit.restore = on").ok();
        for attempt in [
            "DELETE FROM audit.audit_events",
            "UPDATE audit.audit_events SET reason = 'forged'",
            "INSERT INTO audit.audit_events SELECT * FROM audit.audit_events",
            "TRUNCATE audit.audit_events",
        ] {
            ensure!(session.attempt(attempt)?.is_some(), "succeeded: {attempt}");
        }
        ensure!(admin.one(EVENTS)? == before, "the events changed");
        session.run("INSERT INTO t VALUES (2)")?;
        oracle::check(&mut admin, "t")
    });
}

/// Everything that would write, alter or remove events in `table`, as the session's role.
fn attack(session: &mut Client, table: &str) -> Result<()> {
    for attempt in [
        format!("INSERT INTO {table} SELECT * FROM {table}"),
        format!(
            "INSERT INTO {table} (event_id, occurred_at, operation) VALUES (-1, now(), 'event')"
        ),
        format!("INSERT INTO {table} SELECT * FROM {table} ON CONFLICT DO NOTHING"),
        format!("UPDATE {table} SET reason = 'forged'"),
        format!("DELETE FROM {table}"),
        format!("TRUNCATE {table}"),
        format!("MERGE INTO {table} e USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE"),
        format!("WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone"),
    ] {
        ensure!(session.attempt(&attempt)?.is_some(), "succeeded: {attempt}");
    }
    Ok(())
}

#[test]
fn case_04_events_are_append_only_for_every_role() {
    shared(|db| {
        let alice = db.role("alice")?;
        let mut admin = db.connect()?;
        admin.run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, v text); GRANT ALL ON t TO {alice};
             SELECT audit.attach('t'); INSERT INTO t VALUES (1, 'one'), (2, 'two');
             SET audit.restore = on;
             CREATE TEMP TABLE old AS SELECT * FROM audit.audit_events LIMIT 1;
             UPDATE old SET event_id = -5, occurred_at = '2001-01-01';
             INSERT INTO audit.audit_events SELECT * FROM old; RESET audit.restore"
        ))?;
        // The parent and every partition that holds events: this month's and the default one.
        let tables = admin.table(
            "SELECT 'audit.audit_events' UNION ALL
             SELECT DISTINCT tableoid::regclass::text FROM audit.audit_events ORDER BY 1",
        )?;
        ensure!(
            tables.len() == 3,
            "expected parent, month and default, got {tables:?}"
        );
        let before = admin.one(EVENTS)?;
        let mut session = db.connect_as(&alice)?;
        for table in &tables {
            session.refused("42501", &format!("SELECT FROM {table}"))?;
            session.refused(
                "42501",
                &format!("BEGIN; LOCK TABLE {table} IN ROW EXCLUSIVE MODE"),
            )?;
            session.run("ROLLBACK")?;
            attack(&mut session, table)?;
        }
        // Rights that somebody granted by mistake, and those of the owner, change nothing.
        admin.run(&format!(
            "GRANT USAGE ON SCHEMA audit TO {alice};
             GRANT ALL ON ALL TABLES IN SCHEMA audit TO {alice};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA audit TO {alice}"
        ))?;
        for table in &tables {
            attack(&mut session, table)?;
            attack(&mut admin, table)?;
        }
        admin.run("SET session_replication_role = replica")?;
        for table in &tables {
            attack(&mut admin, table)?;
        }
        admin.run("RESET session_replication_role")?;
        ensure!(admin.one(EVENTS)? == before, "the events changed");
        // The one way round, for restores.
        admin.run(
            "BEGIN; SET LOCAL audit.restore = on;
             DELETE FROM audit.audit_events WHERE event_id = -5; COMMIT",
        )?;
        ensure!(
            admin.attempt("DELETE FROM audit.audit_events")?.is_some(),
            "restore outlived its transaction"
        );
        oracle::check(&mut admin, "t")
    });
}

#[test]
fn case_04_trigger_functions_serve_no_table_of_an_ordinary_role() {
    shared(|db| {
        let alice = db.role("alice")?;
        let mut admin = db.connect()?;
        let functions = admin.table(
            "SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = 'audit' AND p.prorettype = 'trigger'::regtype",
        )?;
        ensure!(
            !functions.is_empty(),
            "no trigger functions in schema audit"
        );
        let mut session = db.connect_as(&alice)?;
        session.run("CREATE TABLE own (id int)")?;
        for function in functions {
            session.refused(
                "42501",
                &format!(
                    "CREATE TRIGGER forge AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION {function}"
                ),
            )?;
        }
        Ok(())
    });
}

#[test]
fn case_05_public_may_execute_the_context_functions_alone() {
    shared(|db| {
        let functions = db.connect()?.table(
            "SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = 'audit'
               AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                           WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
             ORDER BY 1",
        )?;
        ensure!(
            functions == ["context", "set_context"],
            "PUBLIC may execute {functions:?}"
        );
        let relations = db.connect()?.table(
            "SELECT c.relname, a.privilege_type FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
                    aclexplode(c.relacl) a
             WHERE n.nspname = 'audit' AND a.grantee = 0",
        )?;
        ensure!(relations.is_empty(), "PUBLIC has rights on {relations:?}");
        Ok(())
    });
}

#[test]
fn case_06_session_user_and_effective_role_are_two() {
    shared(|db| {
        let (alice, bob, carol) = (db.role("alice")?, db.role("bob")?, db.role("carol")?);
        let mut admin = db.connect()?;
        admin.run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY); GRANT ALL ON t TO {alice}, {bob}, {carol};
             SELECT audit.attach('t');
             CREATE FUNCTION as_carol(k int) RETURNS void LANGUAGE sql SECURITY DEFINER
                 AS $$ INSERT INTO public.t VALUES (k) $$;
             ALTER FUNCTION as_carol OWNER TO {carol};
             GRANT {bob} TO {alice};
             INSERT INTO t VALUES (1);
             SET ROLE {alice}; INSERT INTO t VALUES (2); RESET ROLE;
             SET SESSION AUTHORIZATION {bob}; INSERT INTO t VALUES (3); SELECT as_carol(4);
             RESET SESSION AUTHORIZATION; INSERT INTO t VALUES (5)"
        ))?;
        let mut session = db.connect_as(&alice)?;
        session.run(&format!(
            "INSERT INTO t VALUES (6); SELECT as_carol(7); SET ROLE {bob}; INSERT INTO t VALUES (8);
             BEGIN; SET LOCAL ROLE {alice}; INSERT INTO t VALUES (9); COMMIT; INSERT INTO t VALUES (10)"
        ))?;
        let who = admin.table(
            "SELECT row_key, session_user_name, effective_role FROM audit.audit_events
             WHERE table_name = 't' AND operation = 'insert' ORDER BY row_key::int",
        )?;
        let expected = [
            "1|postgres|postgres".to_owned(),
            format!("2|postgres|{alice}"),
            format!("3|{bob}|{bob}"),
            format!("4|{bob}|{carol}"),
            "5|postgres|postgres".to_owned(),
            format!("6|{alice}|{alice}"),
            format!("7|{alice}|{carol}"),
            format!("8|{alice}|{bob}"),
            format!("9|{alice}|{alice}"),
            format!("10|{alice}|{bob}"),
        ];
        ensure!(who == expected, "got {who:#?}\nexpected {expected:#?}");
        Ok(())
    });
}

#[test]
fn case_07_row_level_security_hides_nothing_from_capture() {
    shared(|db| {
        let (alice, owner) = (db.role("alice")?, db.role("owner")?);
        let mut admin = db.connect()?;
        admin.run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, secret text); GRANT ALL ON t TO {alice};
             INSERT INTO t VALUES (1, 'shown'), (2, 'hidden');
             SELECT audit.attach('t', mask => '{{}}', baseline => true);
             ALTER TABLE t OWNER TO {owner}; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
             ALTER TABLE t FORCE ROW LEVEL SECURITY;
             CREATE POLICY see ON t FOR SELECT USING (secret = 'shown');
             CREATE POLICY write ON t FOR INSERT WITH CHECK (true);
             CREATE POLICY alter ON t FOR UPDATE USING (true) WITH CHECK (true);
             CREATE POLICY remove ON t FOR DELETE USING (true)"
        ))?;
        let mut session = db.connect_as(&alice)?;
        // What alice writes she cannot see, nor can the table's owner.
        session
            .run("INSERT INTO t VALUES (3, 'hidden too'); UPDATE t SET secret = 'hidden now'")?;
        ensure!(
            session.number("SELECT count(*) FROM t")? <= 1,
            "the policy does not hide rows"
        );
        let mut session = db.connect_as(&owner)?;
        session.run("INSERT INTO t VALUES (4, 'hidden as well'); DELETE FROM t")?;
        oracle::check(&mut admin, "t")?;
        oracle::check_ordered(&mut admin, "t")?;
        let inserted = admin.number(
            "SELECT count(*) FROM audit.audit_events WHERE operation = 'insert' AND table_name = 't'",
        )?;
        ensure!(inserted == 2, "{inserted} insert events instead of 2");
        session
            .refused("42501", "SELECT FROM audit.audit_events")
            .map(drop)
    });
}
