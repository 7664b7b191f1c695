//! The scratch folder of a test binary, and the watcher that clears it away.
//!
//! Invariant: whatever happens to the test binary (success, panic, `kill -9`, Ctrl-C), its servers
//! are stopped and its folder is removed. The watcher is a small shell process of its own process
//! group that waits for the end of a pipe which only this process holds: no destructor has to run.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::env::{environment, run};

/// Stops every server under `$1`, unmounts what tests mounted there, removes it.
const WATCHER: &str = r#"
read -r _
for pidfile in "$1"/*/data/postmaster.pid; do
    [ -f "$pidfile" ] || continue
    pid=$(head -n 1 "$pidfile")
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
done
for mounted in "$1"/*/mnt; do
    [ -d "$mounted" ] && umount -l "$mounted" 2>/dev/null
done
[ "$2" = keep ] || rm -rf "$1"
"#;

struct Scratch {
    dir: PathBuf,
    /// Holds the pipe's writing end open for as long as this process lives.
    _watcher: Child,
}

/// The scratch folder of this process, made at first use.
pub fn dir() -> Result<&'static Path> {
    static SCRATCH: OnceLock<Result<Scratch>> = OnceLock::new();
    match SCRATCH.get_or_init(make) {
        Ok(scratch) => Ok(&scratch.dir),
        Err(error) => Err(anyhow::anyhow!("no scratch folder: {error:#}")),
    }
}

/// A new folder under the scratch folder, owned by the server's user.
pub fn new_dir() -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let path = dir()?.join(format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    give(&path)?;
    Ok(path)
}

/// Hands a path to the server's user.
pub fn give(path: &Path) -> Result<()> {
    if let Some((uid, gid)) = environment().run_as {
        chown(path, Some(uid), Some(gid))
            .with_context(|| format!("cannot hand over {}", path.display()))?;
    }
    Ok(())
}

/// Copies a data directory as the server's user; the copy must not exist yet.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().unwrap_or(to);
    run(environment()
        .command("cp", dir)
        .args(["-R", "-p"])
        .arg(from)
        .arg(to))?;
    Ok(())
}

fn make() -> Result<Scratch> {
    let environment = environment();
    let dir = tempfile::Builder::new()
        .prefix("pa-")
        .tempdir_in(&environment.tmp)
        .with_context(|| format!("PG_ATTEST_TMP={}", environment.tmp.display()))?
        .keep();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755))?;
    give(&dir)?;
    let watcher = Command::new("sh")
        .args(["-c", WATCHER, "watcher"])
        .arg(&dir)
        .arg(if environment.keep { "keep" } else { "remove" })
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the watcher")?;
    if environment.keep {
        eprintln!(
            "PG_ATTEST_KEEP: clusters and logs stay in {}",
            dir.display()
        );
    }
    Ok(Scratch {
        dir,
        _watcher: watcher,
    })
}
