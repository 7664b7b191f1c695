//! The server's own signature, others', and the change of keys.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use attest_log::note::{KeyKind, Note, SignerKey};
use live_tests::database::Database;
use live_tests::sql::literal;
use live_tests::{Sql, own_cluster, scratch, shared};
use postgres::Client;

use crate::seal::{check, each};

fn key(name: &str, seed: u8, kind: KeyKind) -> Result<SignerKey> {
    SignerKey::from_seed(name, kind, &[seed; 32]).context("a key")
}

/// A key file of the server's user.
fn key_file(db: &Database, key: &SignerKey, mode: u32) -> Result<PathBuf> {
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
        // A missing key, too, stops nothing.
        client.run("SET audit.signing_key_file = '/nonexistent'")?;
        next_seal(&mut client)?;
        check(&mut client)
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
