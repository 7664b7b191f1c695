//! Programs and libraries of others take the log of a real database as it is: what `attest export` wrote, and the checkpoint
//! and the proofs that SQL gives. The stage interop has them judge a made-up log, and what is done to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use attest_log::Hash;
use attest_log::note::{KeyKind, Note, SignerKey};
use attest_log::proof::{ConsistencyProof, InclusionProof};
use live_tests::database::Database;
use live_tests::sql::literal;
use live_tests::{Sql, shared};
use postgres::Client;
use sha2::Sha256;
use signed_note::{StandardVerifier, VerifierList};

use super::{Auditor, sealed};
use crate::archive::python;
use crate::signing::key_file;

const PROGRAMS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../crates/attest-log/interop/"
);
/// Before the 32 bytes of an Ed25519 key, as openssl reads it (RFC 8410).
const SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A log of some checkpoints, signed by the server and cosigned by a witness; its proofs as SQL gives them.
struct Log {
    folder: PathBuf,
    key: SignerKey,
    note: Note,
    /// With the leaf data of each.
    inclusion: Vec<(InclusionProof, Vec<u8>)>,
    /// With the root of each older tree.
    consistency: Vec<(ConsistencyProof, Hash)>,
}

impl Log {
    fn make(db: &Database, auditor: &Auditor) -> Result<Self> {
        let key = SignerKey::from_seed("judged.log.example", KeyKind::Ed25519, &[7; 32])?;
        let file = key_file(db, &key, 0o600)?;
        db.connect()?.run(&format!(
            "ALTER DATABASE {} SET audit.signing_key_file = {}",
            db.name(),
            literal(&file.to_string_lossy())
        ))?;
        for rows in [1, 191, 700, 52_000] {
            sealed(db, rows)?;
        }
        let witness = cosigned(auditor)?;
        let export = auditor.path("export");
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        let keys = format!("{}\n{witness}\n", key.verifier());
        std::fs::write(auditor.path("keys"), keys)?;
        let mut client = db.connect()?;
        let folder = Path::new(&export).join("1");
        let note = client.one("SELECT audit.checkpoint_note()")?;
        ensure!(
            std::fs::read_to_string(folder.join("checkpoint"))? == note,
            "the export has not this checkpoint: {note}"
        );
        let note = Note::parse(&note)?;
        Ok(Self {
            inclusion: inclusion(&mut client)?,
            consistency: consistency(&mut client, &note)?,
            folder,
            key,
            note,
        })
    }

    /// Beside the export, where the programs look for them.
    fn write(&self) -> Result<()> {
        let put = |name: &str, bytes: &[u8]| {
            let path = self.folder.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {name}"))
        };
        std::fs::create_dir(self.folder.join("proofs"))?;
        for (proof, _) in &self.inclusion {
            let name = format!("proofs/{}.tlog-proof", proof.index);
            put(&name, proof.to_string().as_bytes())?;
        }
        for (proof, _) in &self.consistency {
            let name = format!("proofs/{}.consistency", proof.old_size);
            put(&name, proof.to_string().as_bytes())?;
        }
        put("text", self.note.text().as_bytes())?;
        put("key.der", &[SPKI, self.key.verifier().public()].concat())?;
        let own = |line: &&attest_log::note::Signature| line.name() == self.key.name();
        let own = self.note.signatures().iter().find(own);
        put("signature", own.context("the server did not sign")?.bytes())
    }
}

/// A witness that looks at the log once; its public key.
fn cosigned(auditor: &Auditor) -> Result<String> {
    let (key, state) = (auditor.path("witness"), auditor.path("state"));
    let name = ["keygen", "--name", "witness.example/w", "--kind", "witness"];
    let made = auditor.attest(0, &[&name[..], &[&key]].concat())?;
    let look = ["witness", "--db", "DB", "--key-file", &key, "--state"];
    auditor.attest(0, &[&look[..], &[&state, "--init", "--once"]].concat())?;
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

/// Proofs of leaves at the edges of tiles, and of one in the middle.
fn inclusion(client: &mut Client) -> Result<Vec<(InclusionProof, Vec<u8>)>> {
    let size = client.number("SELECT max(tree_size) FROM audit.checkpoints")?;
    ensure!(size > 65_536, "only {size} leaves");
    let mut proofs = Vec::new();
    for leaf in [0, 1, 255, 256, size / 2, 65_535, 65_536, size - 1] {
        let row = client.query_one(
            "SELECT audit.inclusion_proof(event_id), audit.event_leaf(event_id) FROM audit.leaves($1, 1)",
            &[&leaf],
        )?;
        let proof: InclusionProof = row.get::<_, &str>(0).parse()?;
        ensure!(
            proof.index == leaf.cast_unsigned(),
            "of leaf {leaf}: {proof}"
        );
        proofs.push((proof, row.get(1)));
    }
    Ok(proofs)
}

/// Proofs that the newest tree continues each older one.
fn consistency(client: &mut Client, note: &Note) -> Result<Vec<(ConsistencyProof, Hash)>> {
    let rows = client.query(
        "SELECT tree_size, root, audit.consistency_proof(tree_size, max(tree_size) OVER ()) FROM audit.checkpoints ORDER BY 1",
        &[],
    )?;
    ensure!(rows.len() == 4, "{} checkpoints", rows.len());
    let mut proofs = Vec::new();
    for row in rows {
        let hashes: Vec<&[u8]> = row.get(2);
        let hashes = hashes.into_iter().map(Hash::try_from);
        let proof = ConsistencyProof {
            old_size: row.get::<_, i64>(0).cast_unsigned(),
            hashes: hashes.collect::<Result<_, _>>()?,
            checkpoint: note.clone(),
        };
        proofs.push((proof, row.get::<_, &[u8]>(1).try_into()?));
    }
    Ok(proofs)
}

#[test]
fn programs_of_others_take_the_log_of_a_database_as_it_is() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let log = Log::make(db, &auditor)?;
        log.write()?;
        let (folder, keys) = (log.folder.to_string_lossy(), auditor.path("keys"));
        for (program, arguments) in [
            (
                "verify.py",
                vec![auditor.path("export"), "--keys".into(), keys.clone()],
            ),
            ("aics.py", vec![folder.to_string(), keys]),
            ("merkle.py", vec![folder.to_string()]),
        ] {
            let mut judge = Command::new(python()?);
            judge
                .arg(format!("{PROGRAMS}{program}"))
                .args(arguments)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            accepts(&mut judge)?;
        }
        accepts(
            Command::new("openssl")
                .current_dir(&log.folder)
                .args("pkeyutl -verify -pubin -keyform DER -rawin".split(' '))
                .args("-inkey key.der -in text -sigfile signature".split(' ')),
        )?;
        libraries_of_others_take_it(&log)
    });
}

fn accepts(judge: &mut Command) -> Result<()> {
    let output = judge.output()?;
    ensure!(output.status.success(), "{judge:?}: {output:?}");
    Ok(())
}

/// The tiles of an export, for `tlog_tiles`.
struct Folder<'a>(&'a Path);

impl tlog_tiles::TileReader for Folder<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // Their paths name the height too, which C2SP's do not. A tile that is not there is none of theirs.
        let path = |tile: &tlog_tiles::Tile| tile.path().replacen("tile/8/", "tile/", 1);
        let read = |tile| std::fs::read(self.0.join(path(tile))).unwrap_or_default();
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

type Merkle = ct_merkle::RootHash<Sha256>;

fn libraries_of_others_take_it(log: &Log) -> Result<()> {
    let theirs = signed_note::Note::from_bytes(log.note.to_string().as_bytes())?;
    let verifier = StandardVerifier::new(&log.key.verifier().to_string())?;
    let (checked, others) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)]))?;
    ensure!(
        (checked.len(), others.len()) == (1, 1),
        "the log and a witness have signed: {}",
        log.note
    );
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(theirs.text()).ok();
    let checkpoint = checkpoint.context("it is no checkpoint to them")?;
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    let folder = Folder(&log.folder);
    let reader = tlog_tiles::TileHashReader::new(size, root, &folder);
    ensure!(tlog_tiles::tree_hash(size, &reader)? == root, "the root");

    let merkle = Merkle::new(root.0.into(), size);
    let hashes = |proof: &[Hash]| {
        proof
            .iter()
            .copied()
            .map(tlog_tiles::Hash)
            .collect::<Vec<_>>()
    };
    for (proof, data) in &log.inclusion {
        let (index, path) = (proof.index, hashes(&proof.hashes));
        let leaf = tlog_tiles::record_hash(data);
        tlog_tiles::check_record(&path, size, root, index, leaf)?;
        // Made of the export's tiles.
        let made = tlog_tiles::prove_record(size, index, &reader)?;
        ensure!(made == path, "they prove leaf {index} otherwise");
        let path = ct_merkle::InclusionProof::try_from_bytes(proof.hashes.concat())?;
        merkle.verify_inclusion(data, index, &path)?;
    }
    for (proof, old_root) in &log.consistency {
        let (old, path) = (proof.old_size, hashes(&proof.hashes));
        tlog_tiles::check_tree(&path, size, root, old, tlog_tiles::Hash(*old_root))?;
        let made = tlog_tiles::prove_tree(size, old, &reader)?;
        ensure!(made == path, "they prove the {old} leaves otherwise");
        let path = ct_merkle::ConsistencyProof::try_from_bytes(proof.hashes.concat())?;
        merkle.verify_consistency(&Merkle::new((*old_root).into(), old), &path)?;
    }
    Ok(())
}
