//! Retention as time goes by: a server whose clock the test sets, with libfaketime. Nobody in the database can do so.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::env::without;
use live_tests::{Cluster, Sql, own_cluster};

use crate::past::declared_and_gone;

/// The package's library, in the folder of the machine's architecture.
fn library() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PG_ATTEST_FAKETIME") {
        return Ok(path.into());
    }
    let folders = std::fs::read_dir("/usr/lib")?;
    let mut paths = folders
        .filter_map(Result::ok)
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    paths.find(|path| path.exists()).context(
        "libfaketime is not installed: install it, give its path in PG_ATTEST_FAKETIME, or say PG_ATTEST_WITHOUT=faketime",
    )
}

/// Restarts the server at this time (UTC); its clock goes on from there.
fn restart_at(db: &Database, time: &str) -> Result<()> {
    restart_with(db.cluster(), &format!("FAKETIME='@{time}'"))
}

/// Restarts the server with this setting of libfaketime.
fn restart_with(cluster: &Cluster, setting: &str) -> Result<()> {
    cluster.stop()?;
    cluster.start_under(&format!(
        "export LD_PRELOAD='{}' {setting} FAKETIME_DONT_FAKE_MONOTONIC=1 TZ=UTC;",
        library()?.display()
    ))
}

/// A server's clock that is set while it runs.
pub struct Clock(PathBuf);

impl Clock {
    /// Restarts the server with its clock so many seconds ahead.
    pub fn restart(cluster: &Cluster, ahead: i64) -> Result<Self> {
        let clock = Self(cluster.dir().join("clock"));
        clock.set(ahead)?;
        let file = format!("FAKETIME_TIMESTAMP_FILE='{}'", clock.0.display());
        restart_with(cluster, &format!("{file} FAKETIME_NO_CACHE=1"))?;
        Ok(clock)
    }

    /// Puts the server's clock so many seconds ahead of the machine's.
    pub fn set(&self, ahead: i64) -> Result<()> {
        // Never read half written.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{ahead:+}\n"))?;
        Ok(std::fs::rename(new, &self.0)?)
    }
}

#[test]
fn an_event_becomes_due_when_its_time_is_over() {
    if without("faketime") {
        return;
    }
    own_cluster(&[], |db| {
        restart_at(db, "2024-02-29 10:00:00")?;
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE t (id int PRIMARY KEY); SELECT audit.attach('t'); INSERT INTO t VALUES (1);
             SELECT audit.set_retention('7 years', locked => true); SELECT audit.seal()",
        )?;
        let of = client
            .one("SELECT occurred_at::date FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(of == "2024-02-29", "the event is of {of}");
        drop(client);

        // Seven years before any time of 28 February 2031 is a time of 28 February 2024.
        let due = "SELECT partition, subject, due FROM audit.apply_retention()";
        for early in ["2024-03-02 00:00:00", "2031-02-28 23:50:00"] {
            restart_at(db, early)?;
            let mut client = db.connect()?;
            let told = client.table(due)?;
            ensure!(told.is_empty(), "due at {early}: {told:?}");
            client.run("CALL audit.prune()")?;
            client.run("SELECT audit.maintain()")?;
            ensure!(
                declared_and_gone(&mut client)? == 0,
                "something went at {early}"
            );
            client.refused("42501", "SELECT audit.set_retention('6 years')")?;
            client.refused("42501", "SELECT audit.drop_retention()")?;
        }
        restart_at(db, "2031-03-01 00:00:00")?;
        let mut client = db.connect()?;
        let told = client.table(due)?;
        ensure!(
            told == ["audit_events_2024_02|table public.t|1"],
            "{told:?}"
        );
        client.run("CALL audit.prune()")?;
        ensure!(
            declared_and_gone(&mut client)? == 1,
            "it did not go, or something else did"
        );
        let left =
            client.number("SELECT count(*) FROM audit.audit_events WHERE operation = 'insert'")?;
        ensure!(left == 0, "{left} events are left");
        let bad = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(bad.is_empty(), "{bad:?}");
        Ok(())
    });
}
