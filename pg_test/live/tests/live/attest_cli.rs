//! The command `attest` against a live database: export, verification, witness, timestamps.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use live_tests::cluster::{PORT, SUPERUSER};
use live_tests::database::Database;
use live_tests::{Sql, scratch, shared};
use serde_json::Value as Json;

use crate::seal::each;

/// A folder for what a test writes, and the program with a connection to its database.
pub struct Auditor<'a> {
    pub db: &'a Database<'a>,
    folder: PathBuf,
}

impl<'a> Auditor<'a> {
    pub fn new(db: &'a Database<'a>) -> Result<Self> {
        let folder = scratch::new_dir()?;
        Ok(Self { db, folder })
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// The command; `DB` among the arguments is the database's URL.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let url = format!("postgresql:///{}", self.db.name());
        let arguments = arguments
            .iter()
            .map(|argument| if *argument == "DB" { &url } else { *argument });
        let mut command = Command::new(program()?);
        command
            .args(arguments)
            .env("PGHOST", self.db.cluster().dir())
            .env("PGPORT", PORT.to_string())
            .env("PGUSER", SUPERUSER);
        Ok(command)
    }

    /// Runs `attest` and demands this exit status.
    pub fn attest(&self, status: i32, arguments: &[&str]) -> Result<Output> {
        let output = self.command(arguments)?.output()?;
        ensure!(
            output.status.code() == Some(status),
            "exit status is not {status}: {output:?}"
        );
        Ok(output)
    }

    /// The findings as `check: event`, of the database; those of an export must be the same, but for the ids of events that
    /// were gone when it was made.
    fn findings(&self, status: i32) -> Result<Vec<String>> {
        let live = findings(&self.attest(status, &["verify", "--db", "DB", "--json"])?)?;
        self.attest(0, &["export", "--db", "DB", &self.path("fresh")])?;
        let export = findings(&self.attest(status, &["verify", &self.path("fresh"), "--json"])?)?;
        std::fs::remove_dir_all(self.path("fresh"))?;
        let known = |line: &String| line.replace("missing event: null", "missing event");
        let same = live.len() == export.len()
            && live
                .iter()
                .zip(&export)
                .all(|(live, export)| live.starts_with(&known(export)));
        ensure!(same, "the database says {live:?}, its export {export:?}");
        Ok(live)
    }
}

/// `attest`, which the stage builds into the folder above the tests' own.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .context("no folder of programs")?;
    let program = folder.join("attest");
    ensure!(
        program.exists(),
        "{} is not there: cargo build --package attest-cli",
        program.display()
    );
    Ok(program)
}

pub fn findings(output: &Output) -> Result<Vec<String>> {
    let report: Json = serde_json::from_slice(&output.stdout)?;
    let findings = report["findings"].as_array().context("no findings")?;
    let mut lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            format!(
                "{}: {}",
                finding["check"].as_str().unwrap_or_default(),
                finding["event_id"]
            )
        })
        .collect();
    lines.sort();
    Ok(lines)
}

/// As a superuser who means harm: past triggers and guards.
pub fn tamper(db: &Database, sql: &str) -> Result<()> {
    let mut client = db.connect()?;
    client.run("SET session_replication_role = replica")?;
    let tables = client.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p')",
    )?;
    for table in tables.into_iter().flatten().flatten() {
        client.run(&format!("ALTER TABLE {table} DISABLE TRIGGER ALL"))?;
    }
    client.run(sql)
}

fn sealed(db: &Database, rows: u32) -> Result<()> {
    let mut client = db.connect()?;
    each(
        &mut client,
        "CREATE TABLE IF NOT EXISTS t (id serial PRIMARY KEY, name text, tags text[], at timestamptz DEFAULT now())",
    )?;
    client.run("SELECT audit.attach('t') WHERE NOT EXISTS (SELECT FROM audit.attachments)")?;
    client.run(&format!(
        "INSERT INTO t (name, tags) SELECT 'Zoë \"' || n || '\"', ARRAY['a', NULL, 'b'] FROM generate_series(1, {rows}) n"
    ))?;
    client.run("UPDATE t SET name = name || E'\\n' WHERE id % 3 = 0")?;
    client.run("SELECT audit.seal()")
}

#[test]
fn an_export_verifies_and_grows() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let export = auditor.path("export");
        let mut last = 0;
        for rows in [1, 300, 700, 50_000, 5] {
            sealed(db, rows)?;
            auditor.attest(0, &["export", "--db", "DB", &export])?;
            let old = auditor.path(&format!("old{last}"));
            let mut arguments = vec!["verify", &export, "--json"];
            if last > 0 {
                arguments.extend(["--against", &old]);
            }
            let output = auditor.attest(0, &arguments)?;
            let report: Json = serde_json::from_slice(&output.stdout)?;
            let events = db
                .connect()?
                .number("SELECT count(*) FROM audit.audit_events")?;
            ensure!(
                report["epochs"][0]["events"] == events,
                "{events} events, but {report:#}"
            );
            auditor.attest(0, &["verify", "--db", "DB"])?;
            last = rows;
            std::fs::copy(
                format!("{export}/1/checkpoint"),
                auditor.path(&format!("old{last}")),
            )?;
        }
        // An export that grew is, file by file, one that was made at once.
        let fresh = auditor.path("fresh");
        auditor.attest(0, &["export", "--db", "DB", &fresh])?;
        let same = Command::new("diff")
            .args(["-r", &export, &fresh])
            .output()?;
        ensure!(
            same.status.success(),
            "{}",
            String::from_utf8_lossy(&same.stdout)
        );
        Ok(())
    });
}

#[test]
fn an_export_that_was_broken_off_goes_on() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let (export, fresh) = (auditor.path("export"), auditor.path("fresh"));
        sealed(db, 400)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        let checkpoint = std::fs::read(format!("{export}/1/checkpoint"))?;
        sealed(db, 120_000)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        // As if it had been killed before its last act, in the middle of a line.
        std::fs::write(format!("{export}/1/checkpoint"), checkpoint)?;
        std::fs::write(format!("{export}/1/unfinished"), "")?;
        let events = format!("{export}/1/events/002.jsonl");
        let file = std::fs::OpenOptions::new().write(true).open(&events)?;
        file.set_len(file.metadata()?.len() - 1000)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        auditor.attest(0, &["export", "--db", "DB", &fresh])?;
        let same = Command::new("diff")
            .args(["-r", &export, &fresh])
            .output()?;
        ensure!(
            same.status.success(),
            "{}",
            String::from_utf8_lossy(&same.stdout)
        );
        auditor.attest(0, &["verify", &export]).map(drop)
    });
}

#[test]
fn tampering_is_named_from_outside() {
    for (sql, found) in [
        (
            "UPDATE audit.audit_events SET new_values = '{}' WHERE event_id = ID",
            "altered event: ID",
        ),
        (
            "UPDATE audit.audit_events SET session_user_name = 'nobody' WHERE event_id = ID",
            "altered event: ID",
        ),
        (
            "UPDATE audit.audit_events SET captured_at = captured_at - interval '1 day' WHERE event_id = ID",
            "altered event: ID",
        ),
        (
            "DELETE FROM audit.audit_events WHERE event_id = ID",
            "missing event: ID",
        ),
        (
            "UPDATE audit.audit_events SET salt = NULL WHERE event_id = ID",
            "malformed event: ID",
        ),
    ] {
        shared(|db| {
            sealed(db, 600)?;
            let auditor = Auditor::new(db)?;
            ensure!(auditor.findings(0)?.is_empty(), "findings before tampering");
            let id = db.connect()?.one(
                "SELECT event_id FROM audit.audit_events WHERE operation = 'insert' ORDER BY event_id OFFSET 300 LIMIT 1",
            )?;
            tamper(db, &sql.replace("ID", &id))?;
            let findings = auditor.findings(1)?;
            ensure!(
                findings.contains(&found.replace("ID", &id)),
                "{sql}: {findings:?}"
            );
            Ok(())
        });
    }
}

#[test]
fn a_forged_event_is_named_by_the_verification_of_the_database() {
    shared(|db| {
        sealed(db, 10)?;
        let auditor = Auditor::new(db)?;
        tamper(
            db,
            "INSERT INTO audit.audit_events SELECT (jsonb_populate_record(e, '{\"event_id\": 1000000}')).*
             FROM audit.audit_events e WHERE operation = 'insert' LIMIT 1",
        )?;
        let output = auditor.attest(1, &["verify", "--db", "DB", "--json"])?;
        ensure!(
            findings(&output)? == ["forged event: 1000000"],
            "{output:?}"
        );
        Ok(())
    });
}

/// The log that is put back to what it was, with all its tables.
#[test]
fn a_witness_cosigns_what_grows_and_stops_at_a_rollback_and_at_a_fork() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let (key, state) = (auditor.path("key"), auditor.path("state"));
        let made = auditor.attest(
            0,
            &[
                "keygen",
                "--name",
                "witness.example/w",
                "--kind",
                "witness",
                &key,
            ],
        )?;
        let public = String::from_utf8(made.stdout)?.trim().to_owned();
        let look = [
            "witness",
            "--db",
            "DB",
            "--key-file",
            &key,
            "--state",
            &state,
            "--once",
        ];
        sealed(db, 100)?;
        auditor.attest(2, &look)?;
        auditor.attest(0, &[&look[..], &["--init"]].concat())?;
        auditor.attest(2, &[&look[..], &["--init"]].concat())?;
        for rows in [1, 300, 1000] {
            sealed(db, rows)?;
            auditor.attest(0, &look)?;
            auditor.attest(0, &look)?;
        }
        let mut client = db.connect()?;
        let signed = client.number("SELECT count(*) FROM audit.checkpoint_signatures")?;
        ensure!(signed == 4, "{signed} cosignatures instead of 4");
        let verified = auditor.attest(0, &["verify", "--db", "DB", "--key", &public, "--json"])?;
        let report: Json = serde_json::from_slice(&verified.stdout)?;
        ensure!(report["epochs"][0]["signatures"] == 4, "{report:#}");
        // A log that demands the signature of a key that has never signed.
        let other = auditor.attest(
            0,
            &[
                "keygen",
                "--name",
                "log.example",
                "--kind",
                "log",
                &auditor.path("log"),
            ],
        )?;
        let other = String::from_utf8(other.stdout)?;
        let tables = ["checkpoints", "tiles", "tree_edge"];
        for table in tables {
            client.run(&format!("CREATE TABLE old_{table} AS TABLE audit.{table}"))?;
        }
        sealed(db, 1)?;
        auditor.attest(1, &[&look[..], &["--log-key", other.trim()]].concat())?;
        auditor.attest(0, &look)?;

        let kept = std::fs::read(&state)?;
        let export = auditor.path("export");
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        // Put back to the last seal but one; then sealed again, with other events in the place of those that were seen.
        let back = tables.map(|table| {
            format!("DELETE FROM audit.{table}; INSERT INTO audit.{table} TABLE old_{table}")
        });
        tamper(db, &back.join(";"))?;
        let told = auditor.attest(3, &look)?;
        ensure!(
            String::from_utf8_lossy(&told.stderr).contains("rolled back"),
            "{told:?}"
        );
        auditor.attest(3, &["export", "--db", "DB", &export])?;
        tamper(
            db,
            "UPDATE audit.audit_events SET reason = 'another' WHERE reason IS NULL",
        )?;
        sealed(db, 500)?;
        let told = auditor.attest(3, &look)?;
        ensure!(
            String::from_utf8_lossy(&told.stderr).contains("FORK"),
            "{told:?}"
        );
        auditor.attest(3, &["export", "--db", "DB", &export])?;
        ensure!(
            std::fs::read(&state)? == kept,
            "the witness's state changed at a fork"
        );
        auditor
            .attest(
                1,
                &[
                    "verify",
                    "--db",
                    "DB",
                    "--against",
                    &format!("{export}/1/checkpoint"),
                ],
            )
            .map(drop)
    });
}

const AUTHORITY: &str = "
[req]
distinguished_name = dn
prompt = no
x509_extensions = ca
[dn]
CN = test
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamping]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[other]
basicConstraints = CA:FALSE
[tsa]
serial = ./serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
";

/// An authority of `openssl ts`: what it makes is taken, and what `attest` stored verifies with openssl.
#[test]
fn timestamps_of_an_authority_are_verified_and_stored() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let openssl = |arguments: &str| -> Result<()> {
            let output = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(&auditor.folder)
                .output()?;
            ensure!(output.status.success(), "openssl {arguments}: {output:?}");
            Ok(())
        };
        std::fs::write(auditor.path("cnf"), AUTHORITY)?;
        std::fs::write(auditor.path("serial"), "01\n")?;
        for ca in ["ca", "otherca"] {
            openssl(&format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.pem -days 30 -config cnf -subj /CN={ca}"
            ))?;
        }
        sealed(db, 20)?;
        auditor.attest(
            0,
            &[
                "timestamp",
                "--db",
                "DB",
                "--request",
                &auditor.path("query"),
            ],
        )?;
        let at = db.connect()?.one("SELECT audit.checkpoint_body()")?;
        // Later seals do not disturb an answer that takes its time.
        sealed(db, 20)?;
        let take = |status, answer: &str, ca: &str| {
            auditor.attest(
                status,
                &[
                    "timestamp",
                    "--db",
                    "DB",
                    "--answer",
                    &auditor.path(answer),
                    "--ca",
                    &auditor.path(ca),
                ],
            )
        };
        for (name, key, extensions) in [
            ("rsa", "rsa:2048", "stamping"),
            ("ec", "ec -pkeyopt ec_paramgen_curve:P-256", "stamping"),
            ("server", "rsa:2048", "other"),
        ] {
            openssl(&format!(
                "req -newkey {key} -nodes -keyout {name}.key -out {name}.csr -config cnf -subj /CN={name}"
            ))?;
            openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 30 -extfile cnf -extensions {extensions}"
            ))?;
            if extensions == "stamping" {
                openssl(&format!(
                    "ts -reply -config cnf -section tsa -queryfile query -signer {name}.pem -inkey {name}.key -out {name}.tsr"
                ))?;
                take(1, &format!("{name}.tsr"), "otherca.pem")?;
                take(0, &format!("{name}.tsr"), "ca.pem")?;
                take(0, &format!("{name}.tsr"), "ca.pem")?;
            }
        }
        // A bit of the signature, at the answer's end.
        let mut broken = std::fs::read(auditor.path("rsa.tsr"))?;
        let last = broken.len() - 1;
        broken[last] ^= 1;
        std::fs::write(auditor.path("broken.tsr"), broken)?;
        take(1, "broken.tsr", "ca.pem")?;
        let stored = db
            .connect()?
            .number("SELECT count(*) FROM audit.checkpoint_timestamps")?;
        ensure!(stored == 2, "{stored} timestamps are stored, not 2");
        auditor.attest(0, &["export", "--db", "DB", &auditor.path("export")])?;
        std::fs::write(auditor.path("text"), at)?;
        for entry in std::fs::read_dir(auditor.path("export/1/timestamps"))? {
            openssl(&format!(
                "ts -verify -in {} -data text -CAfile ca.pem",
                entry?.path().display()
            ))?;
        }
        Ok(())
    });
}
