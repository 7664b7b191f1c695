//! pg_dump and pg_restore: the trail, its guards and its attachments arrive, and capture goes on.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::env::run;
use live_tests::{Sql, oracle, own_cluster, scratch};
use postgres::Client;

/// Tables of every shape, events of this month and, in the default partition, of 2001.
const SOURCE: &str = "
    CREATE SCHEMA \"odd schema\";
    CREATE TABLE plain (id serial PRIMARY KEY, v text, password text, span interval, price numeric);
    CREATE TABLE child (id int PRIMARY KEY, plain int REFERENCES plain ON DELETE CASCADE);
    CREATE TABLE part (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE part_old PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE part_new PARTITION OF part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
    CREATE TABLE base (id int PRIMARY KEY, v text);
    CREATE TABLE derived (extra text, PRIMARY KEY (id)) INHERITS (base);
    CREATE TABLE \"odd schema\".\"Odd Table\" (\"a key\" text PRIMARY KEY, \"Wert ä\" float8);
    INSERT INTO plain (v, password) VALUES ('baseline', 'secret');
    SELECT audit.attach('plain', baseline => true);
    SELECT audit.attach('child', exclude => '{}', require => '{reason}');
    SELECT audit.attach('part', key_columns => '{id}');
    SELECT audit.attach('base'); SELECT audit.attach('\"odd schema\".\"Odd Table\"', capture => 'diff');
    INSERT INTO plain (v, password, span, price) VALUES ('one', 'x', '1 mon 2 days', 1.50), ('two', NULL, NULL, 'NaN');
    BEGIN; SET LOCAL audit.reason = 'because'; INSERT INTO child VALUES (1, 2), (2, 3); COMMIT;
    UPDATE plain SET v = 'uno' WHERE id = 2;
    INSERT INTO part VALUES (1, '2020-05-05', 'a'), (2, '2021-05-05', 'b');
    UPDATE part SET day = '2021-06-06' WHERE id = 1;
    INSERT INTO derived VALUES (1, 'd', 'e'); UPDATE base SET v = 'f';
    INSERT INTO \"odd schema\".\"Odd Table\" VALUES ('k, (1)', 'Infinity'), ('l', -0.0);
    UPDATE \"odd schema\".\"Odd Table\" SET \"Wert ä\" = 0.1 WHERE \"a key\" = 'l';
    SET audit.restore = on;
    CREATE TEMP TABLE old AS SELECT * FROM audit.audit_events WHERE operation = 'insert' LIMIT 2;
    UPDATE old SET event_id = event_id - 1000, occurred_at = '2001-02-03', table_name = 'gone', table_oid = 1;
    INSERT INTO audit.audit_events SELECT * FROM old; RESET audit.restore";

const TABLES: [&str; 6] = [
    "plain",
    "child",
    "part",
    "base",
    "derived",
    "\"odd schema\".\"Odd Table\"",
];

/// What must be the same before and after, each with a name for the report.
const FACTS: [(&str, &str); 6] = [
    ("events", "SELECT e::text FROM audit.audit_events e ORDER BY event_id"),
    (
        "user triggers",
        "SELECT tgrelid::regclass::text, tgname, tgenabled, encode(tgargs, 'escape'), tgtype FROM pg_trigger
         WHERE NOT tgisinternal ORDER BY 1, 2",
    ),
    (
        "partitions of the log",
        "SELECT c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i
         ON i.inhrelid = c.oid WHERE i.inhparent = 'audit.audit_events'::regclass ORDER BY 1",
    ),
    (
        "indexes of the log",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'audit' ORDER BY 1",
    ),
    (
        "rights",
        "SELECT c.oid::regclass::text, c.relacl FROM pg_class c WHERE relnamespace = 'audit'::regnamespace
         AND relkind IN ('r', 'p', 'v', 'S') ORDER BY 1",
    ),
    (
        "event triggers",
        "SELECT evtname, evtevent, evtenabled, evtfoid::regprocedure FROM pg_event_trigger ORDER BY 1",
    ),
];

fn facts(client: &mut Client) -> Result<Vec<Vec<String>>> {
    client.run("SET search_path = pg_catalog")?;
    let facts = FACTS.iter().map(|(_, sql)| client.table(sql)).collect();
    client.run("RESET search_path")?;
    facts
}

/// A dump's place, outside the data directory.
pub fn place(db: &Database, name: &str) -> PathBuf {
    db.cluster().dir().join(name)
}

pub fn dump(db: &Database, arguments: &[&str], to: &Path) -> Result<()> {
    run(db
        .cluster()
        .tool("pg_dump")
        .args(arguments)
        .arg("-f")
        .arg(to)
        .arg(db.name()))
    .map(drop)
}

pub fn restore(into: &Database, arguments: &[&str], from: &Path) -> Result<()> {
    let mut tool = into.cluster().tool("pg_restore");
    tool.env("PGOPTIONS", "-c audit.restore=on")
        .args(arguments)
        .arg("--exit-on-error");
    run(tool.arg("-d").arg(into.name()).arg(from)).map(drop)
}

/// Makes the source, lets `transfer` bring it over, and compares.
fn round_trip(transfer: impl FnOnce(&Database, &Database) -> Result<()>) {
    own_cluster(&[], |db| {
        let mut source = db.connect()?;
        source.run(SOURCE)?;
        for table in TABLES {
            oracle::check(&mut source, table)?;
        }
        let target = Database::empty(db.cluster())?;
        transfer(db, &target)?;
        let mut client = target.connect()?;
        let (before, after) = (facts(&mut source)?, facts(&mut client)?);
        for ((name, _), (before, after)) in FACTS.iter().zip(before.iter().zip(&after)) {
            let lost: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
            let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
            ensure!(before == after, "{name}: lost {lost:#?}\nnew {new:#?}");
        }
        capture_goes_on(&mut client)
    });
}

fn capture_goes_on(client: &mut Client) -> Result<()> {
    for table in TABLES {
        oracle::check_restored(client, table)?;
    }
    ensure!(
        client.attempt("DELETE FROM audit.audit_events")?.is_some(),
        "the guard is gone"
    );
    ensure!(
        client
            .attempt("TRUNCATE audit.audit_events_default")?
            .is_some(),
        "the guard is gone"
    );
    let newest = client.number("SELECT max(event_id) FROM audit.audit_events")?;
    let count = client.number("SELECT count(*) FROM audit.audit_events")?;
    let unreasoned = client.attempt("INSERT INTO child VALUES (9, 1)")?;
    ensure!(unreasoned.is_some(), "`require` is gone");
    client.run(
        "INSERT INTO plain (v, password) VALUES ('after', 'hidden');
         UPDATE part SET day = '2020-07-07' WHERE id = 2;
         UPDATE base SET v = 'g'; DELETE FROM \"odd schema\".\"Odd Table\" WHERE \"a key\" = 'l';
         CREATE TABLE part_next PARTITION OF part FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
         INSERT INTO part VALUES (3, '2022-02-02', 'c')",
    )?;
    let new = client.number(&format!(
        "SELECT count(*) FROM audit.audit_events WHERE event_id > {newest} AND operation NOT IN ('ddl', 'system')"
    ))?;
    ensure!(new == 5, "{new} new events instead of 5");
    ensure!(
        client.number("SELECT count(*) FROM audit.audit_events")? >= count + 5,
        "event ids collide"
    );
    let masked = client.one(
        "SELECT new_values ->> 'password' FROM audit.audit_events WHERE new_values ->> 'v' = 'after'",
    )?;
    ensure!(masked == "***", "the mask is gone: {masked}");
    for table in TABLES {
        oracle::check_restored(client, table)?;
    }
    let attached = client.number("SELECT count(*) FROM audit.attachments WHERE healthy")?;
    ensure!(attached >= 5, "{attached} healthy attachments");
    // The source has events of 2001 in its default partition: that alone is worth a remark.
    let remarks = client.table(
        "SELECT * FROM audit.status() WHERE NOT ok AND item <> 'events in the default partition'",
    )?;
    ensure!(remarks.is_empty(), "audit.status() complains: {remarks:#?}");
    Ok(())
}

#[test]
fn case_34_custom_format() {
    round_trip(|from, to| {
        let file = place(from, "dump");
        dump(from, &["-Fc"], &file)?;
        restore(to, &[], &file)
    });
}

#[test]
fn case_34_custom_format_in_one_transaction() {
    round_trip(|from, to| {
        let file = place(from, "dump");
        dump(from, &["-Fc"], &file)?;
        restore(to, &["--single-transaction"], &file)
    });
}

#[test]
fn case_34_directory_format_in_parallel() {
    round_trip(|from, to| {
        let file = place(from, "dump");
        dump(from, &["-Fd", "-j2"], &file)?;
        restore(to, &["-j2"], &file)
    });
}

#[test]
fn case_34_schema_first_then_data() {
    round_trip(|from, to| {
        let (schema, data) = (place(from, "tables"), place(from, "rows"));
        dump(from, &["-Fc", "--schema-only"], &schema)?;
        dump(from, &["-Fc", "--data-only"], &data)?;
        restore(to, &[], &schema)?;
        restore(to, &[], &data)
    });
}

#[test]
fn case_34_sections_one_by_one() {
    round_trip(|from, to| {
        let file = place(from, "dump");
        dump(from, &["-Fc"], &file)?;
        for section in [
            "--section=pre-data",
            "--section=data",
            "--section=post-data",
        ] {
            restore(to, &[section], &file)?;
        }
        Ok(())
    });
}

#[test]
fn case_34_plain_sql_with_inserts() {
    round_trip(|from, to| {
        let file = place(from, "dump.sql");
        dump(from, &["--inserts"], &file)?;
        let mut psql = to.cluster().tool("psql");
        psql.env("PGOPTIONS", "-c audit.restore=on")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
        run(psql.args(["-d", to.name(), "-f"]).arg(&file)).map(drop)
    });
}

#[test]
fn case_34_without_audit_restore_the_log_refuses_the_dump() {
    own_cluster(&[], |db| {
        let mut source = db.connect()?;
        source
            .run("CREATE TABLE t (id int); SELECT audit.attach('t'); INSERT INTO t VALUES (1)")?;
        let file = place(db, "dump");
        dump(db, &["-Fc"], &file)?;
        let target = Database::empty(db.cluster())?;
        let mut tool = db.cluster().tool("pg_restore");
        let output = tool
            .args(["--exit-on-error", "-d", target.name()])
            .arg(&file)
            .output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // Whoever forgets the setting is told which one it is.
        ensure!(
            !output.status.success(),
            "events were restored by an ordinary INSERT"
        );
        ensure!(
            text.contains("audit.restore"),
            "the refusal names no way out: {text}"
        );
        Ok(())
    });
}

#[test]
fn case_34_into_another_cluster() {
    own_cluster(&[], |db| {
        db.connect()?.run(SOURCE)?;
        // A folder that outlives neither cluster: the dump is a file beside the second one's data.
        let file = scratch::new_dir()?.join("dump");
        dump(db, &["-Fc"], &file)?;
        let other = live_tests::Cluster::start_new(&[])?;
        let target = Database::empty(&other)?;
        // Other OIDs than in the source.
        target.connect()?.run("DO $$ BEGIN FOR i IN 1..50 LOOP EXECUTE 'CREATE TABLE x' || i || ' (); DROP TABLE x' || i; END LOOP; END $$")?;
        restore(&target, &[], &file)?;
        capture_goes_on(&mut target.connect()?)
    });
}
