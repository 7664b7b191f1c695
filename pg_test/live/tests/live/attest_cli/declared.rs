//! `attest verify` tells what was removed as declared from what was removed otherwise, in the database and in its export.

use anyhow::{Context, Result, ensure};
use attest_log::tile::{BundleReader, push_entry};
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
        entry_of_a_pruned_event(&auditor)
    });
}

/// An event that is gone has no entry, or its own: whoever reads the entries would take another one for it.
fn entry_of_a_pruned_event(auditor: &Auditor) -> Result<()> {
    let path = auditor.path("out/1/tile/entries/000");
    let bundle = std::fs::read(&path)?;
    let mut entries = BundleReader::new(&bundle).collect::<Result<Vec<_>, _>>()?;
    let gone = entries.iter().position(|entry| entry.is_empty());
    let some = entries.iter().find(|entry| !entry.is_empty()).copied();
    let (gone, some) = gone.zip(some).context("all or none of them are gone")?;
    entries[gone] = some;
    let mut altered = Vec::new();
    for entry in entries {
        push_entry(&mut altered, entry)?;
    }
    std::fs::write(&path, altered)?;
    let output = auditor.attest(1, &["verify", "--json", &auditor.path("out")])?;
    let report: Json = serde_json::from_slice(&output.stdout)?;
    let found = &report["findings"][0];
    ensure!(
        report["counts"] == serde_json::json!({"altered tile": 1}) && found["leaf_index"] == gone,
        "{report:#}"
    );
    Ok(())
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
