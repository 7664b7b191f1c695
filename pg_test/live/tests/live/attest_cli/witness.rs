//! `attest witness` cosigns, and stops at what does not continue what it saw.

use anyhow::ensure;
use live_tests::{Sql, shared};
use serde_json::Value as Json;

use super::{Auditor, findings, sealed, tamper};

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
