//! Archives in an object store: a stand-in for S3 on loopback.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, shared, wait_until};

use crate::archive::{months, python};
use crate::attest_cli::Auditor;

/// The stand-in; it ends when its standard input is closed.
struct S3 {
    server: Child,
    says: BufReader<ChildStdout>,
    port: String,
    key: (String, String),
}

impl S3 {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut server = Command::new(python()?)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/s3.py"))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut says = BufReader::new(server.stdout.take().context("no output")?);
        let mut line = String::new();
        says.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let port = words.next().context("the stand-in for S3 did not start")?;
        let any = || "any".to_owned();
        let key = (
            words.next().unwrap_or_else(any),
            words.next().unwrap_or_else(any),
        );
        Ok(Self {
            server,
            says,
            port,
            key,
        })
    }

    /// Makes it lie, or end that: see s3.py.
    fn lie(&mut self, how: &str) -> Result<()> {
        let told = self.server.stdin.as_mut().context("it has ended")?;
        writeln!(told, "{how}")?;
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        ensure!(line == "done\n", "told to {how}, it said {line:?}");
        Ok(())
    }

    /// `attest` with these credentials.
    fn command(&self, auditor: &Auditor, key: (&str, &str), arguments: &[&str]) -> Result<Command> {
        let mut command = auditor.command(arguments)?;
        command
            .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", key.0)
            .env("AWS_SECRET_ACCESS_KEY", key.1);
        Ok(command)
    }

    /// Runs `attest` with these credentials; gives its output, whatever becomes of it.
    fn attest(
        &self,
        auditor: &Auditor,
        key: (&str, &str),
        status: i32,
        arguments: &[&str],
    ) -> Result<String> {
        let output = self.command(auditor, key, arguments)?.output()?;
        ensure!(
            output.status.code() == Some(status),
            "exit status is not {status}: {output:?}"
        );
        Ok(format!(
            "{}{}",
            String::from_utf8(output.stdout)?,
            String::from_utf8(output.stderr)?
        ))
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

#[test]
fn an_archive_in_an_object_store_is_written_verified_and_restored() {
    shared(|db| {
        let (auditor, s3) = (Auditor::new(db)?, S3::start(&[])?);
        // Tiles of more than one part of an upload.
        let month = months(db, 300_000)?;
        let key = ("any", "any");
        let run = |status, arguments: &[&str]| s3.attest(&auditor, key, status, arguments);
        run(0, &["archive", "--db", "DB", "s3://audit/bank"])?;
        let archive = format!("s3://audit/bank/{month}");
        ensure!(
            run(0, &["verify", &archive])?.contains("verified:"),
            "not verified"
        );
        run(0, &["verify", "s3://audit/bank/"])?;
        run(0, &["restore-archive", &archive, "--db", "DB"])?;
        let mut client = db.connect()?;
        let held = client.number(&format!("SELECT count(*) FROM audit.{month}"))?;
        let back = client.number("SELECT count(*) FROM audit.archived_events")?;
        ensure!(held == back, "{back} of {held} events came back");
        let uri = client.one(&format!(
            "SELECT uri FROM audit.archives WHERE partition = '{month}'"
        ))?;
        ensure!(uri == archive, "{uri}");
        ensure!(
            run(0, &["archive", "--db", "DB", "s3://audit/bank"])?.contains("already"),
            "archived twice"
        );

        let said = run(2, &["archive", "--db", "DB", "s3://nowhere/bank"])?;
        ensure!(said.contains("no such bucket"), "{said}");
        let said = run(2, &["verify", "s3://audit/nothing"])?;
        ensure!(said.contains("is no archive"), "{said}");
        let said = run(2, &["archive", "--db", "DB", "s3://me:secret@audit/bank"])?;
        ensure!(said.contains("environment"), "{said}");
        Ok(())
    });
}

/// What archives this month.
fn archive_of(month: &str) -> [&str; 6] {
    [
        "archive",
        "--db",
        "DB",
        "s3://audit/bank",
        "--partition",
        month,
    ]
}

/// Killed while it uploads, then between the manifest and the record: there is no archive, then one that the log does not know of. The
/// next run makes it whole each time.
#[test]
fn an_archive_that_was_killed_is_made_whole_by_the_next_run() {
    shared(|db| {
        let (auditor, s3) = (Auditor::new(db)?, S3::start(&[])?);
        let month = months(db, 300_000)?;
        let key = ("any", "any");
        let archive = format!("s3://audit/bank/{month}");
        let arguments = archive_of(&month);
        let mut client = db.connect()?;
        let mut lock = db.connect()?;
        let recorded = "SELECT count(*) FROM audit.archives";
        let kill = |until: &mut dyn FnMut() -> Result<bool>| -> Result<()> {
            let mut command = s3.command(&auditor, key, &arguments)?;
            let mut killed = command.stdout(Stdio::null()).spawn()?;
            let reached = wait_until("the archive to be in the middle", || {
                Ok(until()?.then_some(()))
            });
            killed.kill()?;
            ensure!(!killed.wait()?.success(), "it was not killed");
            reached?;
            // Its session still keeps others from archiving.
            wait_until("the server to notice", || {
                let held = db.connect()?.number("SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database()")?;
                Ok((held == 0).then_some(()))
            })
        };

        // It reads the events while it uploads them.
        kill(&mut || {
            let reading = client.number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY (SELECT%audit_events WHERE event_id >=%'")?;
            Ok(reading > 0)
        })?;
        let said = s3.attest(&auditor, key, 2, &["verify", &archive])?;
        ensure!(said.contains("is no archive"), "{said}");
        ensure!(client.number(recorded)? == 0, "an archive is recorded");

        // What records takes the lock of whatever says what may be removed: a hold that is being placed keeps it waiting.
        lock.run("BEGIN; SELECT audit.hold('case', target => 't', reason => 'court')")?;
        kill(&mut || {
            let waiting = client.number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%record_archive%'")?;
            Ok(waiting > 0)
        })?;
        // Its session waits for the lock still, and would record.
        wait_until("the killed one's session to end", || {
            let ended = client.number("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%record_archive%' AND pid <> pg_backend_pid()")?;
            Ok((ended == 0).then_some(()))
        })?;
        lock.run("ROLLBACK")?;
        s3.attest(&auditor, key, 0, &["verify", &archive])?;
        ensure!(client.number(recorded)? == 0, "the archive is recorded");
        s3.attest(&auditor, key, 0, &arguments)?;
        ensure!(client.number(recorded)? == 1, "the archive is not recorded");
        let said = s3.attest(&auditor, key, 0, &arguments)?;
        ensure!(said.contains("already"), "archived again: {said}");
        Ok(())
    });
}

#[test]
fn wrong_credentials_are_told_as_such() {
    shared(|db| {
        let (auditor, s3) = (Auditor::new(db)?, S3::start(&["auth"])?);
        let month = months(db, 300)?;
        let arguments = archive_of(&month);
        let (id, secret) = (s3.key.0.as_str(), s3.key.1.as_str());
        for wrong in [(id, "wrong"), ("AKIAWRONG", secret)] {
            let said = s3.attest(&auditor, wrong, 2, &arguments)?;
            ensure!(
                said.contains("refuses these credentials") && !said.contains(secret),
                "{said}"
            );
        }
        s3.attest(&auditor, (id, secret), 0, &arguments)?;
        s3.attest(&auditor, (id, secret), 0, &["verify", "s3://audit/bank"])
            .map(drop)
    });
}

/// What is read back is not what was written: there is no archive, and nothing goes that needs one. From an honest store the next run
/// makes it.
#[test]
fn a_store_that_gives_other_bytes_gets_no_archive() {
    shared(|db| {
        let (auditor, mut s3) = (Auditor::new(db)?, S3::start(&[])?);
        let month = months(db, 3000)?;
        let mut client = db.connect()?;
        client.run("SELECT audit.set_retention('1 month', require_archive => true)")?;
        let prune = "SELECT coalesce(sum(pruned), 0) FROM audit.apply_retention(false)";
        let (key, arguments) = (("any", "any"), archive_of(&month));
        let archive = format!("s3://audit/bank/{month}");
        for name in [
            "events/000.parquet",
            "tiles/1",
            "checkpoints/1",
            "manifest.json",
        ] {
            for how in ["flip", "cut"] {
                let lie = format!("{how} {name}");
                s3.lie(&lie)?;
                let said = s3.attest(&auditor, key, 1, &arguments)?;
                ensure!(
                    said.contains(&format!("{name}: "))
                        && said.contains("NOT VERIFIED")
                        && said.contains(&format!("{month} was not archived")),
                    "{lie}: {said}"
                );
                s3.lie("honest")?;
                let said = s3.attest(&auditor, key, 2, &["verify", &archive])?;
                ensure!(said.contains("is no archive"), "{lie}: {said}");
                let recorded = client.number("SELECT count(*) FROM audit.archives")?;
                ensure!(recorded == 0, "{lie}: the archive is recorded");
                let pruned = client.number(prune)?;
                ensure!(pruned == 0, "{lie}: {pruned} events were pruned");
            }
        }
        s3.attest(&auditor, key, 0, &arguments)?;
        s3.attest(&auditor, key, 0, &["verify", &archive])?;
        let pruned = client.number(prune)?;
        ensure!(pruned > 500, "{pruned} events were pruned");
        Ok(())
    });
}
