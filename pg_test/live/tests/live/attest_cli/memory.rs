//! Memory of `attest` does not grow with the log.

use anyhow::ensure;
use live_tests::{Sql, shared};

use super::Auditor;
use crate::archive::{manifest, unequal_months};

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

/// Of the archives of two months, the newer one has nine times as many events.
#[test]
fn memory_of_verifying_and_of_restoring_an_archive_does_not_grow_with_it() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        unequal_months(db, 160_000, 10)?;
        let dest = auditor.path("archive");
        auditor.attest(0, &["archive", "--db", "DB", &dest])?;
        let mut peaks = Vec::new();
        for month in db
            .connect()?
            .table("SELECT partition FROM audit.archives ORDER BY 1")?
        {
            let archive = format!("{dest}/{month}");
            peaks.push((
                manifest(&archive)?["count"].as_u64().unwrap_or_default(),
                auditor.peak(&["verify", &archive])?,
                auditor.peak(&["restore-archive", &archive, "--db", "DB"])?,
            ));
        }
        let [few, many] = peaks[..] else {
            anyhow::bail!("not two archives: {peaks:?}");
        };
        ensure!(
            few.0 > 10_000
                && many.0 > 8 * few.0
                && many.1 < few.1 + BOUND_KB
                && many.2 < few.2 + BOUND_KB,
            "(events, verify, restore) in kB: {few:?}, then {many:?}"
        );
        Ok(())
    });
}
