//! A full disk beneath the log: the user gets the storage error, and nothing is half-recorded.
//!
//! As root the log's partition goes to a tablespace on a tiny tmpfs (a true ENOSPC). An ordinary
//! user cannot mount; there the server runs under a limit on the size of files instead, which
//! makes the same write fail in the same place with EFBIG.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use live_tests::database::Database;
use live_tests::env::environment;
use live_tests::{Sql, oracle, own_cluster, scratch};
use postgres::Client;

/// A mounted file system; unmounted with this value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts 4 MB at `dir/mnt`; `None` where mounting is not allowed.
    fn mount(dir: &Path) -> Result<Option<Self>> {
        let place = dir.join("mnt");
        std::fs::create_dir(&place)?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(&place);
        if !environment().root || !mount.output().is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        let mounted = Self(place);
        scratch::give(&mounted.0)?;
        Ok(Some(mounted))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn partition(client: &mut Client) -> Result<String> {
    client.one("SELECT DISTINCT tableoid::regclass FROM audit.audit_events")
}

/// Writes until the log is full; then checks that table and log agree. The SQLSTATE of the failure.
fn fill(db: &Database) -> Result<String> {
    let mut client = db.connect()?;
    let mut refusal = None;
    for _ in 0..200 {
        let error = client.attempt(
            "BEGIN;
             INSERT INTO other SELECT max(id) + 1 FROM other;
             INSERT INTO t SELECT i + (SELECT coalesce(max(id), 0) FROM t), repeat(md5(i::text), 8)
                 FROM generate_series(1, 200) i;
             COMMIT",
        )?;
        if error.is_some() {
            refusal = error;
            break;
        }
    }
    client.run("ROLLBACK")?;
    let Some(error) = refusal else {
        anyhow::bail!("the log never filled up")
    };
    ensure!(
        client.number("SELECT count(*) % 200 FROM t")? == 0,
        "a transaction was half done"
    );
    for table in ["t", "other"] {
        oracle::check(&mut client, table)?;
        oracle::check_ordered(&mut client, table)?;
    }
    Ok(error.sqlstate)
}

const TABLES: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY);
     INSERT INTO other VALUES (0);
     SELECT audit.attach('t', baseline => true); SELECT audit.attach('other', baseline => true)";

#[test]
fn case_37_disk_full_beneath_the_log() {
    own_cluster(&[], |db| {
        let mut client = db.connect()?;
        client.run(TABLES)?;
        let partition = partition(&mut client)?;
        if let Some(mounted) = Tmpfs::mount(db.cluster().dir())? {
            let outcome = (|| {
                client.run(&format!(
                    "CREATE TABLESPACE tiny LOCATION '{}'",
                    mounted.0.display()
                ))?;
                client.run(&format!("ALTER TABLE {partition} SET TABLESPACE tiny"))?;
                let sqlstate = fill(db)?;
                ensure!(
                    sqlstate == "53100",
                    "SQLSTATE {sqlstate} instead of 53100 disk_full"
                );
                // With room again, capture goes on.
                client.run(&format!(
                    "ALTER TABLE {partition} SET TABLESPACE pg_default"
                ))?;
                client.run("DROP TABLESPACE tiny")?;
                client.run("INSERT INTO t VALUES (-1, 'room again')")?;
                oracle::check(&mut client, "t")
            })();
            drop(client);
            db.cluster().stop()?;
            db.cluster().start()?;
            return outcome;
        }
        eprintln!("no tmpfs to be had: the server runs under a limit on the size of files");
        drop(client);
        db.cluster().stop()?;
        db.cluster().start_under("ulimit -f 8192;")?;
        fill(db)?;
        db.cluster().stop()?;
        db.cluster().start()?;
        let mut client = db.connect()?;
        client.run("INSERT INTO t VALUES (-1, 'room again')")?;
        oracle::check(&mut client, "t")
    });
}
