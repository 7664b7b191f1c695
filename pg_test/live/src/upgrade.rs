//! A cluster that pg_upgrade made of an older one.

use anyhow::{Context, Result};
use postgres::Client;
use std::path::Path;

use crate::cluster::{Cluster, PORT, SUPERUSER};
use crate::env::{environment, run};
use crate::scratch;

/// Settings of the cluster before and after.
const SETTINGS: &str = "
listen_addresses = ''
fsync = off
shared_preload_libraries = 'pg_attest'
audit.seal_interval = 20ms
";

/// Some packages of 15 give each column an option `pg_attver`, also without this extension. No other version reads it: pg_upgrade
/// stops at any table.
const FORGET_FOREIGN_OPTIONS: &str = "UPDATE pg_catalog.pg_attribute SET attoptions = NULL \
     WHERE array_to_string(attoptions, ',') ~ '^pg_attver=\\d+$'";

/// A running cluster, of the server under test, made by pg_upgrade of one of the older server (`PG_ATTEST_OLD_BINDIR`; without it,
/// of the same server) whose database `postgres` was filled by `fill`.
///
/// # Errors
/// What a program said that failed.
pub fn upgraded(fill: impl FnOnce(&mut Client) -> Result<()>) -> Result<Cluster> {
    let env = environment();
    let new = env.bindir.as_path();
    let old = env.old_bindir.as_deref().unwrap_or(new);
    let dir = scratch::new_dir()?;
    let (data, before) = (dir.join("data"), dir.join("before"));
    initdb(old, &dir, &before)?;
    initdb(new, &dir, &data)?;
    for data in [&data, &before] {
        let path = data.join("postgresql.conf");
        let text = format!(
            "{SETTINGS}unix_socket_directories = '{}'\nport = {PORT}\n",
            dir.display()
        );
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    pg_ctl(old, &dir, &before, "start")?;
    let cluster = Cluster::in_folder(dir.clone());
    let filled = cluster
        .connect("postgres", SUPERUSER)
        .and_then(|mut client| {
            fill(&mut client)?;
            Ok(client.batch_execute(FORGET_FOREIGN_OPTIONS)?)
        });
    pg_ctl(old, &dir, &before, "stop")?;
    filled?;
    let mut upgrade = env.command(new.join("pg_upgrade"), &dir);
    upgrade.arg("-b").arg(old).arg("-B").arg(new);
    upgrade.arg("-d").arg(&before).arg("-D").arg(&data);
    upgrade.arg("-s").arg(&dir).args(["-U", SUPERUSER]);
    run(&mut upgrade).with_context(|| complaints(&data))?;
    cluster.start()?;
    Ok(cluster)
}

/// What pg_upgrade's logs have of errors.
fn complaints(data: &Path) -> String {
    let folders = std::fs::read_dir(data.join("pg_upgrade_output.d"));
    let logs = folders.into_iter().flatten().flatten();
    let files = logs.filter_map(|folder| std::fs::read_dir(folder.path().join("log")).ok());
    let texts = files
        .flatten()
        .flatten()
        .filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let is_one = |line: &&str| line.contains("ERROR") || line.contains("error:");
    let lines: Vec<String> = texts
        .flat_map(|text| {
            text.lines()
                .filter(is_one)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    lines.join("\n")
}

fn initdb(bindir: &Path, dir: &Path, data: &Path) -> Result<()> {
    let mut command = environment().command(bindir.join("initdb"), dir);
    command.arg("-D").arg(data);
    command.args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]);
    command.args(["--locale=C", "--no-sync"]);
    // Both with or both without; 18 is the first that has them unless told otherwise.
    let help = run(environment()
        .command(bindir.join("initdb"), dir)
        .arg("--help"))?;
    if String::from_utf8_lossy(&help.stdout).contains("--no-data-checksums") {
        command.arg("--no-data-checksums");
    }
    run(&mut command).map(drop)
}

fn pg_ctl(bindir: &Path, dir: &Path, data: &Path, action: &str) -> Result<()> {
    let mut command = environment().command(bindir.join("pg_ctl"), dir);
    command.arg("-D").arg(data).arg("-l").arg(dir.join("log"));
    command.args(["-w", "-t", "60", action]);
    // The server would otherwise hold our pipes open.
    let null = std::process::Stdio::null;
    command.stdin(null()).stdout(null()).stderr(null());
    let status = command.status()?;
    anyhow::ensure!(status.success(), "pg_ctl {action}: {status}");
    Ok(())
}
