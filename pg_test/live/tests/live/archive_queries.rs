//! Archives beside the log: the queries that docs/archive.md shows, and pruning that waits for an archive.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use live_tests::env::run;
use live_tests::{Sql, shared};

use crate::archive::{duckdb, months};
use crate::attest_cli::Auditor;

/// The page with the test's table and folder in it; its SQL, block by block, and the command between.
fn page(dest: &str, live_from: &str) -> Result<(Vec<String>, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/archive.md");
    let text = std::fs::read_to_string(path)?
        .replace("/mnt/archive/bank", dest)
        .replace("s3://audit/bank", dest)
        .replace("'account'", "'t'")
        .replace("'balance' AS balance", "'name' AS name")
        .replace("2026-10-01Z", live_from);
    let blocks: Vec<_> = text.split("```sql\n").skip(1).collect();
    let sql = blocks.iter().filter_map(|block| block.split("```").next());
    let copy = text
        .lines()
        .find_map(|line| line.strip_prefix("psql -c \""));
    let copy = copy.and_then(|copy| copy.strip_suffix('"'));
    Ok((
        sql.map(str::to_owned).collect(),
        copy.context("the page has lost its command")?.to_owned(),
    ))
}

/// The query of archive and database with the database left out.
fn archived_side(together: &str) -> Result<String> {
    let (archived, live) = together
        .split_once("UNION ALL BY NAME")
        .context("the query has no UNION")?;
    let (_, tail) = live.split_once(")\n").context("it has no GROUP BY")?;
    Ok(format!("{archived})\n{tail}"))
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn the_queries_of_the_page_answer_from_archive_and_database() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let mut client = db.connect()?;
        let month = months(db, 1000)?;
        let dest = auditor.path("archive");
        auditor.attest(0, &["archive", "--db", "DB", &dest])?;
        let now = client.one("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-01') || 'Z'")?;
        let (blocks, copy) = page(&dest, &now)?;
        let [reading, together, history] = blocks.as_slice() else {
            anyhow::bail!("the page has {} blocks of SQL", blocks.len());
        };
        let statements: Vec<_> = reading
            .split(";\n")
            .filter(|sql| !sql.trim().is_empty())
            .collect();
        ensure!(statements.len() == 2, "{statements:?}");
        duckdb(statements[0])?;
        let balance = duckdb(statements[1])?;
        ensure!(
            balance.iter().any(|line| line.contains("Zoë")),
            "{balance:?}"
        );

        // The archived side alone counts the months that are over, both together all of the log: nothing was pruned.
        run(db
            .cluster()
            .tool("psql")
            .current_dir(auditor.path(""))
            .args([
                "-X",
                "-q",
                "-d",
                db.name(),
                "-c",
                &copy.replace("live.csv", &auditor.path("live.csv")),
            ]))?;
        let together = together.replace("live.csv", &auditor.path("live.csv"));
        let archived = archived_side(&together)?;
        for (query, of) in [
            (archived, format!("WHERE occurred_at < '{now}'")),
            (together, String::new()),
        ] {
            let ours = sorted(client.table(&format!(
                "SELECT table_name, operation, count(*) FROM audit.audit_events {of} GROUP BY 1, 2"
            ))?);
            let theirs = sorted(duckdb(&query)?);
            ensure!(
                theirs == ours && ours.len() > 2,
                "{theirs:?}, not {ours:?} {of}"
            );
        }

        for archive in std::fs::read_dir(&dest)? {
            let archive = archive?.path().to_string_lossy().into_owned();
            auditor.attest(0, &["restore-archive", &archive, "--db", "DB"])?;
        }
        let events = client.number(
            "SELECT count(*) FROM audit.audit_events WHERE table_name = 't' AND row_key = '17'",
        )?;
        ensure!(
            client.table(history)?.len() == usize::try_from(events)?,
            "not {events} events of row 17"
        );
        ensure!(month.starts_with("audit_events_"), "{month}");
        Ok(())
    });
}

#[test]
fn what_must_be_archived_is_pruned_only_then_and_can_be_read_afterwards() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let mut client = db.connect()?;
        let month = months(db, 1000)?;
        let dest = auditor.path("archive");
        let history = "SELECT event_id, operation, new_values FROM audit.audit_events WHERE table_name = 't' AND row_key IN ('7', '8')
                       UNION SELECT event_id, operation, new_values FROM audit.archived_events WHERE table_name = 't' AND row_key IN ('7', '8')
                       ORDER BY 1";
        let before = client.table(history)?;
        client.run("SELECT audit.set_retention('1 month', require_archive => true)")?;
        let prune = "SELECT coalesce(sum(pruned), 0) FROM audit.apply_retention(false)";
        ensure!(client.number(prune)? == 0, "pruned before it was archived");
        auditor.attest(0, &["archive", "--db", "DB", &dest, "--partition", &month])?;
        client.run("SELECT audit.seal()")?;
        let pruned = client.number(prune)?;
        ensure!(pruned > 100, "{pruned} events were pruned");
        // Of the other month, which is in no archive, nothing went.
        let left = client.number(&format!("SELECT count(*) FROM audit.audit_events WHERE table_name = 't' AND tableoid <> 'audit.{month}'::regclass"))?;
        ensure!(left > 100, "{left} events are left of the other months");
        let archive = format!("{dest}/{month}");
        auditor.attest(0, &["verify", &archive])?;
        auditor.attest(0, &["restore-archive", &archive, "--db", "DB"])?;
        let after = client.table(history)?;
        ensure!(before == after, "{after:?}, not {before:?}");
        let again = auditor.attest(0, &["archive", "--db", "DB", &dest, "--partition", &month]);
        // Events of the system stay in the log, and are in the archive; a month that is gone is none.
        if client
            .one(&format!("SELECT to_regclass('audit.{month}')"))?
            .is_empty()
        {
            return Ok(());
        }
        let said = String::from_utf8(again?.stdout)?;
        ensure!(
            said.contains("already") || said.contains("no month"),
            "{said}"
        );
        Ok(())
    });
}
