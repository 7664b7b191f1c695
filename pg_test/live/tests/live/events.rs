//! Pages of events while others write: they stay in place; and a whole log streams through a backend that does not grow.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, shared};
use postgres::Client;

#[test]
fn pages_stay_in_place_while_others_write() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id bigserial PRIMARY KEY, v int);
             SELECT audit.attach('t');
             INSERT INTO t (v) SELECT i FROM generate_series(1, 1000) i;
             SELECT audit.log_event('before', category => 'c') FROM generate_series(1, 1000)",
        )?;
        let known: BTreeSet<i64> = ids(
            &mut client,
            "SELECT event_id FROM audit.audit_events WHERE operation IN ('insert', 'event')",
        )?
        .into_iter()
        .collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    let stop = &stop;
                    scope.spawn(move || -> Result<()> {
                        let mut session = db.connect()?;
                        // Not without end: all that they write is paged through.
                        for _ in 0..300 {
                            if stop.load(Ordering::Relaxed) {
                                break;
                            }
                            session.run(
                                "BEGIN; INSERT INTO t (v) SELECT 1 FROM generate_series(1, 20);
                                 SELECT audit.log_event('during', category => 'c'); COMMIT",
                            )?;
                        }
                        Ok(())
                    })
                })
                .collect();
            let outcome = [
                "",
                "category => '{c}', ",
                "target => 't', ",
                "operation => '{insert,event}', ",
            ]
            .into_iter()
            .try_for_each(|filter| page_through(&mut client, filter, &known));
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                match writer.join() {
                    Ok(outcome) => outcome?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            outcome
        })
    });
}

fn ids(client: &mut Client, sql: &str) -> Result<Vec<i64>> {
    let rows = client.rows(sql)?;
    rows.into_iter()
        .map(|row| Ok(row[0].as_deref().context("a null id")?.parse()?))
        .collect()
}

/// Reads all pages: in falling order, each event once, and all that were there before the first page.
fn page_through(client: &mut Client, filter: &str, known: &BTreeSet<i64>) -> Result<()> {
    let expected = match filter {
        "category => '{c}', " | "target => 't', " => known.len() / 2,
        _ => known.len(),
    };
    let mut before = String::from("NULL");
    let (mut last, mut seen) = (i64::MAX, 0);
    loop {
        let page = ids(
            client,
            &format!(
                "SELECT event_id FROM audit.events({filter}before_id => {before}, page_size => 150)"
            ),
        )?;
        let Some(lowest) = page.last() else { break };
        for id in &page {
            ensure!(*id < last, "{filter}: {id} comes after {last}");
            last = *id;
            seen += usize::from(known.contains(id));
        }
        before = lowest.to_string();
    }
    ensure!(
        seen == expected,
        "{filter}: {seen} of {expected} events on the pages"
    );
    Ok(())
}

/// Growth allowed while 500,000 events (240 MB as text) stream: buffers that the backend touches for the first time count as
/// its own in the kernel's eyes (16 MB), as do its caches.
const GROWTH_KB: u64 = 32 * 1024;

/// Peak resident memory of a backend, in kB.
fn peak(pid: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(value.context("no VmHWM")?.parse()?)
}

#[test]
fn a_whole_log_streams_in_bounded_memory() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY, note text);
             SELECT audit.attach('t');
             INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 500000) i",
        )?;
        // The two ways that docs/activity.md shows.
        let mut session = db.connect()?;
        let pid = session.one("SELECT pg_backend_pid()")?;
        session.run("SELECT count(*) FROM audit.audit_events WHERE event_id < 1000")?;
        let before = peak(&pid)?;
        let mut lines = 0;
        {
            let reader = session.copy_out(
                "COPY (SELECT * FROM audit.audit_events WHERE event_id > 0 ORDER BY event_id) TO STDOUT",
            )?;
            for line in BufReader::new(reader).lines() {
                line?;
                lines += 1;
            }
        }
        ensure!(lines >= 500_000, "{lines} lines only");
        let grown = peak(&pid)? - before;
        ensure!(grown < GROWTH_KB, "COPY: the backend grew by {grown} kB");

        let mut session = db.connect()?;
        let pid = session.one("SELECT pg_backend_pid()")?;
        session.run(
            "BEGIN; DECLARE log CURSOR FOR SELECT * FROM audit.audit_events WHERE event_id > 0 ORDER BY event_id; FETCH 1000 FROM log",
        )?;
        let before = peak(&pid)?;
        let mut fetched = 1000;
        loop {
            let batch = session.rows("FETCH 10000 FROM log")?.len();
            if batch == 0 {
                break;
            }
            fetched += batch;
        }
        ensure!(fetched >= 500_000, "{fetched} events only");
        let grown = peak(&pid)? - before;
        ensure!(grown < GROWTH_KB, "cursor: the backend grew by {grown} kB");
        Ok(())
    });
}
