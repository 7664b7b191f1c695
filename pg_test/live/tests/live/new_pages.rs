//! The pages that bulk statements make for their events: nobody's rows are lost to another's, nor to a crash, nor where a file ends.

use std::thread;

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, oracle, own_cluster};

const WRITERS: [&str; 4] = ["a", "b", "c", "d"];

/// PostgreSQL's pages in a segment of a file, and their size.
const SEGMENT: u64 = 131_072;
const PAGE: u64 = 8192;

fn schema(db: &Database) -> Result<()> {
    let mut client = db.connect()?;
    client.run("CREATE EXTENSION amcheck")?;
    for writer in WRITERS {
        client.run(&format!(
            "CREATE TABLE {writer} (id int PRIMARY KEY, v text); SELECT audit.attach('{writer}')"
        ))?;
    }
    Ok(())
}

/// Bulk statements, some rolled back, some with rows that go out of line, among single ones.
fn write(db: &Database, writer: &str) -> Result<()> {
    let mut client = db.connect()?;
    for statement in [
        "INSERT INTO t SELECT g, 'some text ' || g FROM generate_series(1, 8000) g",
        "BEGIN; UPDATE t SET v = v || '!'; ROLLBACK",
        "INSERT INTO t VALUES (0, 'alone')",
        "UPDATE t SET v = v || '?' WHERE id % 3 = 0",
        "INSERT INTO t SELECT g, (SELECT string_agg(md5((g * 1000 + n)::text), '') FROM generate_series(1, g % 100) n)
         FROM generate_series(10001, 11500) g",
        "BEGIN; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; DELETE FROM t WHERE id < 6000; COMMIT",
    ] {
        client.run(&statement.replace(" t ", &format!(" {writer} ")).replace(" t;", &format!(" {writer};")))?;
    }
    Ok(())
}

fn sound(db: &Database) -> Result<()> {
    let mut client = db.connect()?;
    for writer in WRITERS {
        oracle::check(&mut client, writer)?;
        let events = client.number(&format!(
            "SELECT count(*) FROM audit.audit_events WHERE table_name = '{writer}' AND operation <> 'system'"
        ))?;
        // 8,001 + 1,500 rows, those divisible by 3 updated, those below 6,000 deleted.
        ensure!(events == 9501 + 2667 + 6000, "{events} events of {writer}");
    }
    let faults = client.number(
        "SELECT count(*) FROM pg_inherits, verify_heapam(inhrelid::regclass)
         WHERE inhparent = 'audit.audit_events'::regclass",
    )?;
    ensure!(faults == 0, "{faults} faults in the log's pages");
    Ok(())
}

#[test]
fn bulk_writers_side_by_side_keep_their_rows_through_a_crash() {
    own_cluster(&[("wal_consistency_checking", "all")], |db| {
        schema(db)?;
        db.connect()?.run("CHECKPOINT")?;
        thread::scope(|scope| -> Result<()> {
            let writers = WRITERS.map(|writer| scope.spawn(move || write(db, writer)));
            for writer in writers {
                writer.join().expect("a writer panicked")?;
            }
            Ok(())
        })?;
        sound(db)?;
        db.cluster().kill_postmaster()?;
        db.cluster().start()?;
        sound(db)
    });
}

/// A relation goes on in a new file after a gigabyte; the file before is made that long without being filled.
#[test]
fn a_bulk_statement_goes_on_in_the_next_file() {
    own_cluster(&[], |db| {
        schema(db)?;
        let mut client = db.connect()?;
        let file = client.one(
            "SELECT current_setting('data_directory') || '/' || pg_relation_filepath(
                 to_regclass('audit.audit_events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')))",
        )?;
        drop(client);
        db.cluster().stop()?;
        std::fs::File::options()
            .write(true)
            .open(&file)?
            .set_len((SEGMENT - 5) * PAGE)?;
        db.cluster().start()?;
        write(db, "a")?;
        let next = std::fs::metadata(format!("{file}.1"))?.len();
        ensure!(next > 100 * PAGE, "the next file has {next} bytes");
        let mut client = db.connect()?;
        oracle::check(&mut client, "a")
    });
}
