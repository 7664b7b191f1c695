//! The server's own signature, others', and the change of keys.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use attest_log::note::{KeyKind, Note, SignerKey};
use live_tests::database::Database;
use live_tests::sql::literal;
use live_tests::{Sql, own_cluster, scratch, shared};
use postgres::{Client, NoTls};

use crate::seal::{check, each};

fn key(name: &str, seed: u8, kind: KeyKind) -> Result<SignerKey> {
    SignerKey::from_seed(name, kind, &[seed; 32]).context("a key")
}

/// A key file of the server's user.
pub fn key_file(db: &Database, key: &SignerKey, mode: u32) -> Result<PathBuf> {
    let path = db.cluster().dir().join(format!("{}.key", key.name()));
    std::fs::write(&path, key.to_secret_text() + "\n")?;
    scratch::give(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    Ok(path)
}

fn next_seal(client: &mut Client) -> Result<()> {
    each(client, "INSERT INTO t DEFAULT VALUES; SELECT audit.seal()")
}

fn signers(client: &mut Client) -> Result<Vec<String>> {
    let note = client.one("SELECT audit.checkpoint_note()")?;
    let note = Note::parse(&note)?;
    Ok(note
        .signatures()
        .iter()
        .map(|line| line.name().to_owned())
        .collect())
}

#[test]
fn the_server_signs_with_its_key_and_keys_change() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        each(
            &mut client,
            "CREATE TABLE t (id serial PRIMARY KEY); SELECT audit.attach('t')",
        )?;
        let old = key("old.log.example", 1, KeyKind::Ed25519)?;
        let new = key("new.log.example", 2, KeyKind::Ed25519)?;
        let loose = key_file(db, &old, 0o640)?;
        client.run(&format!(
            "SET audit.signing_key_file = {}",
            literal(&loose.to_string_lossy())
        ))?;
        next_seal(&mut client)?;
        ensure!(
            signers(&mut client)?.is_empty(),
            "signed with a key that others can read"
        );
        let file = key_file(db, &old, 0o600)?;
        client.run(&format!(
            "SET audit.signing_key_file = {}",
            literal(&file.to_string_lossy())
        ))?;
        client.run(&format!(
            "SET audit.trusted_keys = {}",
            literal(&old.verifier().to_string())
        ))?;
        next_seal(&mut client)?;
        ensure!(
            signers(&mut client)? == [old.name()],
            "not signed with the key"
        );
        let file = key_file(db, &new, 0o400)?;
        client.run(&format!(
            "SET audit.signing_key_file = {}",
            literal(&file.to_string_lossy())
        ))?;
        client.run(&format!(
            "SET audit.trusted_keys = {}",
            literal(&format!("{}, {}", old.verifier(), new.verifier()))
        ))?;
        next_seal(&mut client)?;
        ensure!(
            signers(&mut client)? == [new.name()],
            "not signed with the new key"
        );
        let note = Note::parse(&client.one("SELECT audit.checkpoint_note()")?)?;
        note.verify(&[new.verifier()]).context("the signature")?;
        check(&mut client)?;
        let signed = client
            .number("SELECT checked FROM audit.verify_chain() WHERE check_name = 'signatures'")?;
        ensure!(signed == 2, "{signed} signatures");
        missing_signatures_are_found(&mut client)?;
        // A missing key, too, stops nothing; but the newest checkpoint is not signed.
        client.run("SET audit.signing_key_file = '/nonexistent'")?;
        next_seal(&mut client)?;
        let told = unsigned(&mut client)?;
        ensure!(told == ["bad signature|4"], "without a key: {told:?}");
        Ok(())
    });
}

fn unsigned(client: &mut Client) -> Result<Vec<String>> {
    client.table("SELECT check_name, leaf_index FROM audit.verify_chain() WHERE check_name = 'bad signature'")
}

/// Of three checkpoints, the first one is older than the keys.
fn missing_signatures_are_found(client: &mut Client) -> Result<()> {
    let sizes = client.table("SELECT tree_size FROM audit.checkpoints ORDER BY 1")?;
    ensure!(sizes == ["2", "3", "4"], "checkpoints of {sizes:?}");
    for (removed, found) in [
        // As if the key were younger.
        ("tree_size = 3", [].as_slice()),
        ("tree_size = 4", &["bad signature|3"]),
        ("true", &["bad signature|3"]),
    ] {
        client.run("BEGIN; SET LOCAL session_replication_role = replica; ALTER TABLE audit.checkpoint_signatures DISABLE TRIGGER ALL")?;
        client.run(&format!(
            "DELETE FROM audit.checkpoint_signatures WHERE {removed}"
        ))?;
        let told = unsigned(client)?;
        ensure!(told == found, "without those {removed}: {told:?}");
        client.run("ROLLBACK")?;
    }
    // By the old key alone, the newest one is not signed.
    let both = client.one("SHOW audit.trusted_keys")?;
    let old = both.split(',').next().unwrap_or_default().to_owned();
    client.run(&format!("SET audit.trusted_keys = {}", literal(&old)))?;
    let told = unsigned(client)?;
    ensure!(
        told == ["bad signature|3"],
        "by the old key alone: {told:?}"
    );
    client.run(&format!("SET audit.trusted_keys = {}", literal(&both)))
}

/// Who may seal need not know where the key is.
#[test]
fn a_key_that_cannot_be_used_is_not_shown_to_all() {
    shared(|db| {
        let mut client = db.connect()?;
        each(
            &mut client,
            "CREATE TABLE t (id serial PRIMARY KEY); SELECT audit.attach('t')",
        )?;
        let role = db.role("admin")?;
        client.run(&format!(
            "SELECT audit.grant_access('{role}', 'admin');
             ALTER ROLE {role} SET audit.signing_key_file = '/secret/place/of.key'"
        ))?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notices);
        let mut config = db.cluster().config(db.name(), &role);
        config.notice_callback(move |notice| {
            if let Ok(mut heard) = heard.lock() {
                heard.push(format!("{notice:?}"));
            }
        });
        let mut admin = config.connect(NoTls)?;
        admin.run("SET client_min_messages = debug1")?;
        admin.run("SELECT audit.seal()")?;
        let said = notices
            .lock()
            .map(|said| said.join("\n"))
            .unwrap_or_default();
        ensure!(said.contains("signing key cannot be used"), "{said}");
        ensure!(!said.contains("secret"), "{said}");
        Ok(())
    });
}

#[test]
fn witnesses_cosign() {
    shared(|db| {
        let mut client = db.connect()?;
        each(
            &mut client,
            "CREATE TABLE t (id serial PRIMARY KEY); SELECT audit.attach('t')",
        )?;
        next_seal(&mut client)?;
        let witness = key("witness.example", 3, KeyKind::Cosignature)?;
        let role = db.role("witness")?;
        client.run(&format!("SELECT audit.grant_access('{role}', 'witness')"))?;
        let mut session = db.connect_as(&role)?;
        let size = session.one("SELECT max(tree_size) FROM audit.checkpoints")?;
        let mut note = Note::parse(&session.one("SELECT audit.checkpoint_note()")?)?;
        note.sign(&witness, 1_700_000_000);
        let line = note.signatures()[0].to_string();
        session.run(&format!(
            "SELECT audit.add_signature({size}, {})",
            literal(&line)
        ))?;
        session.run(&format!(
            "SELECT audit.add_signature({size}, {})",
            literal(&line)
        ))?;
        ensure!(
            session.one("SELECT audit.checkpoint_note()")? == note.to_string(),
            "the note is another one"
        );
        for denied in [
            "SELECT FROM audit.audit_events",
            "SELECT audit.seal()",
            "SELECT audit.verify()",
        ] {
            session.refused("42501", denied)?;
        }
        // Under a trusted key, a signature of something else is refused.
        client.run(&format!(
            "SET audit.trusted_keys = {}",
            literal(&witness.verifier().to_string())
        ))?;
        let mut other = Note::new("another text\n")?;
        other.sign(&witness, 1_700_000_000);
        let line = other.signatures()[0].to_string();
        client.refused(
            "22023",
            &format!("SELECT audit.add_signature({size}, {})", literal(&line)),
        )?;
        check(&mut client)
    });
}
