//! `attest` and a log of two epochs, the second one bound to the first.

use anyhow::ensure;
use live_tests::{Sql, shared};

use super::{Auditor, findings, sealed, tamper};

#[test]
fn a_log_goes_on_in_an_epoch_of_its_own() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let export = auditor.path("export");
        let (_, look) = auditor.witness()?;
        let look: Vec<&str> = look.iter().map(String::as_str).collect();
        sealed(db, 400)?;
        auditor.attest(0, &[&look[..], &["--init"]].concat())?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        let kept = auditor.path("kept");
        std::fs::copy(format!("{export}/1/checkpoint"), &kept)?;

        // As after a restore: another installation.
        tamper(db, "UPDATE audit.installation SET id = gen_random_uuid()")?;
        sealed(db, 300)?;
        let mut client = db.connect()?;
        let epochs = client.one("SELECT max(epoch) FROM audit.epochs")?;
        ensure!(epochs == "2", "{epochs} epochs");
        // With a first checkpoint that does not go on with the chain of the old epoch.
        let move_by = |seconds: i32| {
            format!(
                "UPDATE audit.checkpoints SET sealed_at = sealed_at + interval '{seconds} s' WHERE epoch = 2"
            )
        };
        tamper(db, &move_by(1))?;
        let told = auditor.attest(3, &look)?;
        let said = String::from_utf8_lossy(&told.stderr);
        ensure!(
            said.contains("epoch 2 does not go on with the chain of epoch 1"),
            "the witness says {said}"
        );
        let found = findings(&auditor.attest(1, &["verify", "--db", "DB", "--json"])?)?;
        ensure!(found == ["broken checkpoint: null"], "{found:?}");
        tamper(db, &move_by(-1))?;

        auditor.attest(0, &look)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        for log in [&["--db", "DB"][..], &[&export]] {
            auditor.attest(0, &[&["verify", "--against", &kept][..], log].concat())?;
        }
        // The epoch goes on, and what the witness saw of it has to stay.
        sealed(db, 10)?;
        auditor.attest(0, &look)?;
        auditor.attest(0, &["export", "--db", "DB", &export])?;
        auditor.attest(0, &["verify", &export])?;
        tamper(db, "DELETE FROM audit.checkpoints WHERE epoch = 2")?;
        auditor.attest(3, &look).map(drop)
    });
}
