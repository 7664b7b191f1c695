//! `attest witness` cosigns, and stops at what does not continue what it saw.

use std::fs::File;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, own_cluster, shared, wait_until};
use postgres::Client;
use serde_json::Value as Json;

use super::{Auditor, findings, sealed, tamper};

/// What a seal writes.
const TABLES: [&str; 3] = ["checkpoints", "tiles", "tree_edge"];

/// Keeps a copy of the log's tables.
fn keep(client: &mut Client) -> Result<()> {
    TABLES.iter().try_for_each(|table| {
        client.run(&format!("CREATE TABLE old_{table} AS TABLE audit.{table}"))
    })
}

/// SQL that puts the log back to what was kept.
fn put_back() -> String {
    let back = TABLES.map(|table| {
        format!("DELETE FROM audit.{table}; INSERT INTO audit.{table} TABLE old_{table}")
    });
    back.join(";")
}

/// The log that is put back to what it was, with all its tables.
#[test]
fn a_witness_cosigns_what_grows_and_stops_at_a_rollback_and_at_a_fork() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let (public, look) = auditor.witness()?;
        let state = auditor.path("state");
        let look: Vec<&str> = look.iter().map(String::as_str).collect();
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
        keep(&mut client)?;
        sealed(db, 1)?;
        auditor.attest(1, &[&look[..], &["--log-key", other.trim()]].concat())?;
        auditor.attest(0, &look)?;

        let kept = std::fs::read(&state)?;
        let export = auditor.path("export");
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        // Put back to the last seal but one; then sealed again, with other events in the place of those that were seen.
        tamper(db, &put_back())?;
        let told = auditor.attest(3, &look)?;
        ensure!(
            String::from_utf8_lossy(&told.stderr).contains("rolled back"),
            "{told:?}"
        );
        auditor.attest(3, &["export", "--db", "DB", &export])?;
        tamper(
            db,
            "UPDATE audit.audit_events SET reason = 'another' WHERE event_id > (SELECT max(last_event_id) FROM audit.checkpoints);
             DELETE FROM audit.checkpoint_signatures WHERE tree_size > (SELECT max(tree_size) FROM audit.checkpoints)",
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
        auditor.attest(0, &["verify", "--db", "DB"])?;
        let kept = format!("{export}/1/checkpoint");
        let told = auditor.attest(1, &["verify", "--db", "DB", "--json", "--against", &kept])?;
        ensure!(findings(&told)? == ["two trees: null"], "{told:?}");
        Ok(())
    });
}

/// A program that runs; ended with this value.
struct Running(Child);

impl Running {
    fn goes_on(&mut self) -> Result<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "the witness ended: {ended:?}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_witness_that_stays_outlives_the_server_and_ends_at_a_rollback() {
    own_cluster(&[], |db| {
        let auditor = Auditor::new(db)?;
        let (_, look) = auditor.witness()?;
        let look: Vec<&str> = look.iter().map(String::as_str).collect();
        sealed(db, 10)?;
        auditor.attest(0, &[&look[..], &["--init"]].concat())?;
        let watch = look.iter().filter(|word| **word != "--once").copied();
        let watch: Vec<&str> = watch.chain(["--interval", "1"]).collect();
        let said = auditor.path("said");
        let mut running = auditor.command(&watch)?;
        running.stdout(Stdio::null()).stderr(File::create(&said)?);
        let mut running = Running(running.spawn()?);
        let said = || std::fs::read_to_string(&said).context("what the witness says");
        let mut cosigns = |rows, total| -> Result<()> {
            sealed(db, rows)?;
            let mut client = db.connect()?;
            wait_until("a cosignature", || {
                running.goes_on()?;
                let signed = client.number("SELECT count(*) FROM audit.checkpoint_signatures")?;
                Ok((signed == total).then_some(()))
            })
        };
        cosigns(1, 2)?;
        cosigns(1000, 3)?;
        ensure!(said()?.is_empty(), "{}", said()?);
        db.cluster().stop()?;
        wait_until("a failure", || Ok((!said()?.is_empty()).then_some(())))?;
        db.cluster().start()?;
        keep(&mut db.connect()?)?;
        cosigns(1, 4)?;
        tamper(db, &put_back())?;
        let status = wait_until("the witness to end", || Ok(running.0.try_wait()?))?;
        ensure!(
            status.code() == Some(3) && said()?.contains("FORK: rolled back"),
            "{status}: {}",
            said()?
        );
        Ok(())
    });
}
