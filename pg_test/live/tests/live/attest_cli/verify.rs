//! `attest verify` names what was tampered with, in the database and in its export.

use anyhow::ensure;
use live_tests::{Sql, shared};

use super::{Auditor, findings, sealed, tamper};

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
fn a_checkpoint_of_any_number_of_leaves_keeps_nobody_busy() {
    shared(|db| {
        sealed(db, 10)?;
        let auditor = Auditor::new(db)?;
        tamper(
            db,
            "INSERT INTO audit.checkpoints SELECT (jsonb_populate_record(c, '{\"tree_size\": 1152921504606846976}')).*
             FROM audit.checkpoints c ORDER BY tree_size DESC LIMIT 1",
        )?;
        let output = auditor.attest(1, &["verify", "--db", "DB", "--json"])?;
        let broken = "broken checkpoint: null".to_owned();
        ensure!(findings(&output)?.contains(&broken), "{output:?}");
        auditor
            .attest(2, &["export", "--db", "DB", &auditor.path("export")])
            .map(drop)
    });
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
