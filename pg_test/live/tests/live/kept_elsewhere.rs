//! Attacks that leave nothing for the database to find: a checkpoint that somebody else kept, and a witness, find them.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use attest_log::note::KeyKind;
use live_tests::database::Database;
use live_tests::sql::literal;
use live_tests::{Sql, own_cluster, shared};

use crate::attest_cli::{Auditor, findings};
use crate::seal::{check, each};
use crate::signing::{key, key_file};
use crate::tamper::{DISARM, STORY, prepare, victim};

/// A witness who has seen the log, and a checkpoint that was kept.
struct Outside<'a> {
    auditor: Auditor<'a>,
    witness: Vec<String>,
    verify: Vec<String>,
    kept: String,
}

impl<'a> Outside<'a> {
    /// With the log's public key, where it has one. The witness sees the log for the first time.
    fn new(db: &'a Database<'a>, of_log: Option<&str>) -> Result<Self> {
        let auditor = Auditor::new(db)?;
        let kept = auditor.path("kept");
        let (_, mut witness) = auditor.witness()?;
        let mut verify = words("verify --db DB --json");
        if let Some(public) = of_log {
            witness.extend(["--log-key".to_owned(), public.to_owned()]);
            verify.extend(["--key".to_owned(), public.to_owned()]);
        }
        let outside = Self {
            auditor,
            witness,
            verify,
            kept,
        };
        outside.attest(0, &outside.witness, &["--init"])?;
        Ok(outside)
    }

    fn attest(&self, status: i32, words: &[String], more: &[&str]) -> Result<Output> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.auditor.attest(status, &[&words[..], more].concat())
    }

    /// The witness looks, and the newest checkpoint is kept.
    fn keep(&self) -> Result<()> {
        self.attest(0, &self.witness, &[])?;
        let note = self
            .auditor
            .db
            .connect()?
            .one("SELECT audit.checkpoint_note()")?;
        std::fs::write(&self.kept, note)?;
        self.attest(0, &self.verify, &["--against", &self.kept])
            .map(drop)
    }

    /// The log verifies, but does not fit what was kept; the witness says why, too.
    fn find(&self, why: &str) -> Result<()> {
        self.attest(0, &self.verify, &[])?;
        let against = self.attest(1, &self.verify, &["--against", &self.kept])?;
        let found = findings(&against)?;
        ensure!(
            found == ["two trees: null"],
            "against what was kept: {found:?}"
        );
        let looked = self.attest(3, &self.witness, &[])?;
        let said = String::from_utf8_lossy(&looked.stderr);
        ensure!(
            said.contains("FORK") && said.contains(why),
            "the witness says {said}"
        );
        Ok(())
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Attacks that leave nothing for the database to find, by somebody who has the log's own key, too: their SQL, and what a witness
/// says that saw the log before.
const CONSISTENT: &[(&str, &str, &str)] = &[
    ("the whole log is made anew, as if nothing had ever been sealed, and signed",
        "UPDATE $P SET reason = 'x' WHERE event_id = $E; DELETE FROM audit.tiles; DELETE FROM audit.tree_edge; DELETE FROM audit.checkpoints;
         DELETE FROM audit.epochs; DELETE FROM audit.checkpoint_signatures", "do not continue"),
    ("the last seal is undone, its event changed, and sealed and signed again",
        "UPDATE $P SET reason = 'x' WHERE event_id = $E; DELETE FROM audit.tree_edge WHERE first_leaf = 1302;
         DELETE FROM audit.checkpoints WHERE tree_size = 1303; DELETE FROM audit.checkpoint_signatures WHERE tree_size = 1303", "do not continue"),
    ("the log's tail is deleted, with its events",
        "DELETE FROM $P WHERE event_id = $E; DELETE FROM audit.tree_edge WHERE first_leaf = 1302;
         DELETE FROM audit.checkpoints WHERE tree_size = 1303; DELETE FROM audit.checkpoint_signatures WHERE tree_size = 1303", "rolled back"),
];

/// A checkpoint that somebody else kept finds them.
#[test]
fn a_consistent_rewrite_does_not_fit_a_checkpoint_kept_elsewhere() {
    for (name, sql, why) in CONSISTENT {
        shared(|db| consistent(db, sql, why).with_context(|| (*name).to_owned()));
    }
}

fn consistent(db: &Database, sql: &str, why: &str) -> Result<()> {
    let of_log = key("log.example", 3, KeyKind::Ed25519)?;
    let file = key_file(db, &of_log, 0o600)?;
    db.connect()?.run(&format!(
        "ALTER DATABASE {} SET audit.signing_key_file = {}",
        db.name(),
        literal(&file.to_string_lossy())
    ))?;
    let public = of_log.verifier().to_string();
    let mut client = prepare(db)?;
    let outside = Outside::new(db, Some(&public))?;
    outside.keep()?;

    let (event, partition) = victim(&mut client)?;
    client.run("BEGIN")?;
    client.run(DISARM)?;
    client.run(&sql.replace("$E", &event).replace("$P", &partition))?;
    client.run("COMMIT")?;
    let mut client = db.connect()?;
    client.run(&format!("SET audit.trusted_keys = {}", literal(&public)))?;
    client.run("SELECT audit.seal()")?;
    let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
    ensure!(
        wrong.is_empty(),
        "the log is not consistent in itself: {wrong:?}"
    );
    outside.find(why)
}

/// Of a copy of the data directory nothing tells that it is an old one: it has the same origin.
#[test]
fn a_restored_old_backup_does_not_fit_what_a_witness_saw() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        each(&mut client, STORY)?;
        drop(client);
        let outside = Outside::new(db, None)?;
        db.cluster().stop()?;
        let copy = db.cluster().copy()?;
        db.cluster().start()?;
        let mut client = db.connect()?;
        each(
            &mut client,
            "DELETE FROM t WHERE id < 100; SELECT audit.seal()",
        )?;
        drop(client);
        outside.keep()?;
        db.cluster().stop()?;
        db.cluster().put_back(&copy)?;
        db.cluster().start()?;

        // As it was put back; then with as many events of its own, and more.
        for (sql, why) in [
            ("SELECT 1", "rolled back"),
            (
                "DELETE FROM t WHERE id BETWEEN 100 AND 300; SELECT audit.seal()",
                "do not continue",
            ),
        ] {
            let mut client = db.connect()?;
            each(&mut client, sql)?;
            check(&mut client)?;
            outside.find(why)?;
        }
        Ok(())
    });
}
