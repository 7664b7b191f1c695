//! Memory of `attest` does not grow with the log.

use anyhow::ensure;
use live_tests::{Sql, shared};

use super::Auditor;

/// What ten times as many events may take more.
const BOUND_KB: u64 = 32 * 1024;

#[test]
fn memory_of_an_export_and_of_its_verification_does_not_grow_with_the_log() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let mut client = db.connect()?;
        client.run("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.attach('t')")?;
        let mut peaks = Vec::new();
        for (from, to) in [(1, 50_000), (50_001, 500_000)] {
            client.run(&format!(
                "INSERT INTO t SELECT generate_series({from}, {to})"
            ))?;
            client.run("SELECT audit.seal()")?;
            let export = auditor.path(&format!("export{to}"));
            peaks.push((
                auditor.peak(&["export", "--db", "DB", &export])?,
                auditor.peak(&["verify", &export])?,
            ));
        }
        let (few, many) = (peaks[0], peaks[1]);
        ensure!(
            many.0 < few.0 + BOUND_KB && many.1 < few.1 + BOUND_KB,
            "(export, verify) in kB: {few:?} of 50,000 events, {many:?} of 500,000"
        );
        Ok(())
    });
}
