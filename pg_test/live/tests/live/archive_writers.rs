//! `attest archive` beside sessions that write, some of them in transactions that began in the month that is archived.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use live_tests::database::Database;
use live_tests::env::without;
use live_tests::{Sql, own_cluster};
use postgres::Client;

use crate::archive::manifest;
use crate::attest_cli::Auditor;
use crate::clock::Clock;

const WRITERS: usize = 8;
/// Archives that are made while they write: each but the first one because of late events.
const ARCHIVES: usize = 4;
/// Runs of the program at most, of which some make no archive: late events may not be sealed yet.
const RUNS: usize = 60;

/// How far writers and archives have come.
struct State {
    begun: Barrier,
    over: Barrier,
    archives: AtomicUsize,
    stop: AtomicBool,
}

impl State {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Writes in the present month again and again, and commits once what it began in the month before; gives how many events of `t` it wrote
/// in the present one. Some writers say something of retention, too.
fn write(db: &Database, number: usize, state: &State) -> Result<i64> {
    let begin = || -> Result<(Client, Client)> {
        let mut late = db.connect()?;
        late.run(&format!(
            "BEGIN; INSERT INTO t (v) VALUES ('late {number}')"
        ))?;
        Ok((late, db.connect()?))
    };
    let sessions = begin();
    // Also where that failed: the others wait for all of them.
    state.begun.wait();
    state.over.wait();
    let (mut late, mut client) = sessions?;
    let (mut written, mut is_late) = (0, true);
    while !state.stopped() {
        let id = client.one("INSERT INTO t (v) VALUES ('new') RETURNING id")?;
        client.run(&format!("UPDATE t SET v = 'newer' WHERE id = {id}"))?;
        written += 2;
        client.run(&match number {
            0 => format!(
                "SELECT audit.hold('case {id}', target => 't', row_key => '{id}', reason => 'court');
                 SELECT audit.release_hold('case {id}', 'settled')"
            ),
            1 => "SELECT audit.log_event('visit', category => 'visits'); SELECT audit.clear('visits', 'tidy')".to_owned(),
            2 => format!("SELECT audit.set_retention('{id} days', category => 'visits')"),
            3 => format!("SELECT audit.erase('t', '{id}', 'article 17')"),
            _ => "SELECT".to_owned(),
        })?;
        // Two more of them behind each archive.
        if is_late && state.archives.load(Ordering::Relaxed) > number / 2 {
            late.run("COMMIT")?;
            is_late = false;
        }
    }
    if is_late {
        late.run("COMMIT")?;
    }
    Ok(written)
}

/// Archives the month again and again until there are enough archives of it.
fn archive(db: &Database, arguments: &[&str], state: &State) -> Result<()> {
    let auditor = Auditor::new(db)?;
    let mut client = db.connect()?;
    for _ in 0..RUNS {
        client.run("SELECT audit.seal()")?;
        let output = auditor.command(arguments)?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success()
                || output.status.code() == Some(2) && said.contains("are not sealed"),
            "{output:?}"
        );
        if String::from_utf8_lossy(&output.stdout).contains("events archived to") {
            state.archives.fetch_add(1, Ordering::Relaxed);
        }
        if state.archives.load(Ordering::Relaxed) == ARCHIVES {
            return Ok(());
        }
    }
    Err(anyhow!("no {ARCHIVES} archives in {RUNS} runs"))
}

#[test]
fn an_archive_beside_writers_has_the_whole_month() {
    if without("faketime") {
        return;
    }
    own_cluster(&[], |first| {
        let cluster = first.cluster();
        // An hour before this month began.
        let ahead = first.connect()?.number(
            "SELECT floor(extract(epoch FROM date_trunc('month', now(), 'UTC') - now()))::bigint - 3600",
        )?;
        let clock = Clock::restart(cluster, ahead)?;
        let db = Database::new(cluster)?;
        let mut client = db.connect()?;
        client.run("CREATE TABLE t (id serial PRIMARY KEY, v text); SELECT audit.attach('t')")?;
        client.run("INSERT INTO t (v) SELECT 'old' FROM generate_series(1, 3000)")?;
        client.run("SELECT audit.seal()")?;
        let month = client.one("SELECT min(tableoid::regclass::text) FROM audit.audit_events")?;
        let month = month.trim_start_matches("audit.");
        let auditor = Auditor::new(&db)?;
        let dest = auditor.path("archive");
        let arguments = ["archive", "--db", "DB", &dest, "--partition", month];

        let state = State {
            begun: Barrier::new(WRITERS + 1),
            over: Barrier::new(WRITERS + 1),
            archives: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        let written = thread::scope(|scope| -> Result<i64> {
            let (db, state) = (&db, &state);
            let writers: Vec<_> = (0..WRITERS)
                .map(|number| scope.spawn(move || write(db, number, state)))
                .collect();
            state.begun.wait();
            let set = clock.set(0);
            state.over.wait();
            let archived = set.and_then(|()| archive(db, &arguments, state));
            state.stop.store(true, Ordering::Relaxed);
            let mut written = 0;
            for writer in writers {
                written += writer.join().map_err(|_| anyhow!("a writer panicked"))??;
            }
            archived.map(|()| written)
        })?;
        // What was late for all of them.
        client.run("SELECT audit.seal()")?;
        auditor.attest(0, &arguments)?;
        auditor.attest(0, &["verify", &dest])?;

        let late =
            format!("SELECT count(*) FROM audit.{month} WHERE new_values ->> 'v' LIKE 'late %'");
        let (late, new) = (
            client.number(&late)?,
            client.number(&format!("SELECT count(*) FROM audit.audit_events WHERE table_name = 't' AND operation IN ('insert', 'update') AND tableoid <> 'audit.{month}'::regclass"))?,
        );
        ensure!(
            (late, new) == (8, written) && written >= 2 * 8,
            "{late} events are late, {new} of {written} of the present month"
        );
        // Each archive has more than the one before and nothing that the month has not; the last one has all of it.
        let archives = client.table("SELECT uri, events FROM audit.archives ORDER BY event_id")?;
        ensure!(archives.len() >= ARCHIVES, "{archives:?}");
        let mut before = 0;
        for (number, line) in archives.iter().enumerate() {
            let (uri, events) = line.split_once('|').context("no number of events")?;
            let folder = uri.trim_start_matches("file://");
            let count = manifest(folder)?["count"].as_i64().unwrap_or_default();
            ensure!(
                count > before && count == events.parse::<i64>()?,
                "{archives:?}, {count} in {folder}"
            );
            before = count;
            let name = format!("archive-{number}");
            auditor.attest(0, &["restore-archive", folder, "--db", "DB", "--as", &name])?;
        }
        let columns = client.one(
            "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = 'audit.audit_events'::regclass AND attnum > 0",
        )?;
        let live = format!("SELECT {columns} FROM audit.{month}");
        let back = format!("SELECT {columns} FROM audit.archived_events");
        let last = format!("{back} WHERE archive = 'archive-{}'", archives.len() - 1);
        let differ = client.table(&format!(
            "SELECT (SELECT count(*) FROM ({back} EXCEPT {live}) d), (SELECT count(*) FROM ({live} EXCEPT {last}) d)"
        ))?;
        ensure!(differ == ["0|0"], "strange, and missing: {differ:?}");
        let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "found: {wrong:?}");
        Ok(())
    });
}
