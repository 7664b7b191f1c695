//! `attest verify` tells what was removed as declared from what was removed otherwise, in the database and in its export.

use anyhow::{Context, ensure};
use live_tests::{Sql, shared};
use serde_json::Value as Json;

use super::{Auditor, tamper};
use crate::declared::prepare;

#[test]
fn what_was_declared_is_counted_from_outside() {
    shared(|db| {
        let mut client = prepare(db)?;
        let auditor = Auditor::new(db)?;
        let output = auditor.attest(0, &["verify", "--db", "DB"])?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(
            told.contains("declarations of what was removed that are not sealed yet: "),
            "{told}"
        );
        client.run("SELECT audit.seal()")?;
        ensure!(auditor.findings(0)?.is_empty(), "findings");
        auditor.attest(0, &["export", "--db", "DB", &auditor.path("out")])?;
        for arguments in [
            ["verify", "--json", "--db", "DB"].as_slice(),
            &["verify", "--json", &auditor.path("out")],
        ] {
            let report: Json = serde_json::from_slice(&auditor.attest(0, arguments)?.stdout)?;
            let epoch = report["epochs"].get(0).context("no epoch")?;
            let counts = (&epoch["pruned_events"], &epoch["erased_events"]);
            ensure!(
                counts == (&Json::from(620), &Json::from(1)),
                "{arguments:?}: {counts:?}"
            );
        }
        let output = auditor.attest(0, &["verify", &auditor.path("out")])?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(
            told.contains(", 1 of them erased; 620 more pruned\n"),
            "{told}"
        );
        Ok(())
    });
}

#[test]
fn what_no_declaration_covers_is_found_from_outside() {
    for (sql, found) in [
        ("DELETE FROM audit.audit_events WHERE event_id = ID", "missing event: ID"),
        (
            "UPDATE audit.audit_events SET payload_hash = substring(audit.event_leaf(event_id) FROM 75 FOR 32), salt = NULL,
                row_key = NULL, old_row_key = NULL, old_values = NULL, new_values = NULL, entity_id = NULL, entity_name = NULL,
                description = NULL, context = NULL WHERE event_id = ID",
            "altered event: ID",
        ),
        (
            "UPDATE audit.audit_events SET context = jsonb_set(context, '{count}', '1') WHERE action = 'prune'",
            "altered event: DECLARATION",
        ),
        (
            "UPDATE audit.tiles SET hashes = overlay(hashes PLACING sha256('') FROM 6401) WHERE level = 0 AND tile_index = 0",
            "false declaration: DECLARATION",
        ),
    ] {
        shared(|db| {
            let mut client = prepare(db)?;
            client.run("SELECT audit.seal()")?;
            let auditor = Auditor::new(db)?;
            let id = client.one("SELECT event_id FROM audit.audit_events WHERE operation = 'insert' AND row_key = '690'")?;
            let declaration = client.one("SELECT event_id FROM audit.audit_events WHERE operation = 'system' AND action = 'prune'")?;
            tamper(db, &sql.replace("ID", &id))?;
            let wanted = found.replace("ID", &id).replace("DECLARATION", &declaration);
            let findings = auditor.findings(1)?;
            ensure!(findings.contains(&wanted), "{sql}: no {wanted} in {findings:?}");
            Ok(())
        });
    }
}
