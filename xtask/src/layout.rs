//! Where everything lives, and as whom servers run.
//!
//! Invariant: all that a server needs (its PostgreSQL, its data, its socket folder) is in a place
//! that the server's user can reach, and nothing but `target/` and these places is ever written.

use crate::{run, ui};
use anyhow::{Context, Result, bail};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A socket's path must stay below 108 bytes; this leaves room for the folders and the file name.
const LONGEST_BASE: usize = 60;

/// The user that servers run as. PostgreSQL refuses root.
#[derive(Clone, Debug)]
pub enum ServerUser {
    /// We are an ordinary user: servers run as ourselves.
    Myself,
    /// We are root: servers run as this user.
    Other { name: String, uid: u32, gid: u32 },
}

impl ServerUser {
    fn find() -> Result<Self> {
        if !is_root() {
            return Ok(Self::Myself);
        }
        for name in ["postgres", "nobody"] {
            let id = |flag| run::capture(Command::new("id").args([flag, name]));
            if let (Ok(uid), Ok(gid)) = (id("-u"), id("-g")) {
                let (uid, gid) = (uid.trim().parse()?, gid.trim().parse()?);
                return Ok(Self::Other {
                    name: name.to_owned(),
                    uid,
                    gid,
                });
            }
        }
        bail!("PostgreSQL does not run as root, and there is neither a user postgres nor nobody");
    }

    /// The name to hand to `--runas`; none when servers run as ourselves.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Myself => None,
            Self::Other { name, .. } => Some(name),
        }
    }

    /// A command that runs as this user, with an environment that does not colour what
    /// PostgreSQL prints: no `PG…` variables, no backtraces, locale C.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        clean_environment(&mut command);
        if let Self::Other { uid, gid, name } = self {
            // std drops root's supplementary groups itself when it changes the uid.
            command
                .uid(*uid)
                .gid(*gid)
                .env("USER", name)
                .env("LOGNAME", name)
                .env("HOME", "/tmp");
        }
        command.current_dir("/");
        command
    }

    fn own(&self, path: &Path) -> Result<()> {
        if let Self::Other { uid, gid, .. } = self {
            std::os::unix::fs::chown(path, Some(*uid), Some(*gid))?;
        }
        Ok(())
    }
}

/// Takes out of a command's environment what changes PostgreSQL's output.
pub fn clean_environment(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("PG") || name.starts_with("RUST_") || name == "LD_LIBRARY_PATH" {
            command.env_remove(&key);
        }
    }
    command.env("LC_ALL", "C").env_remove("LANGUAGE");
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The folders of this checkout.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The checkout.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// For what servers must reach: `target`, or a folder in /var/tmp.
    place: PathBuf,
    /// A short folder that belongs to the server's user: data, sockets, scratch files.
    pub scratch: PathBuf,
    pub user: ServerUser,
}

impl Layout {
    pub fn find() -> Result<Self> {
        let root = checkout()?;
        let target = target_folder(&root);
        let user = ServerUser::find()?;
        std::fs::create_dir_all(&target)?;
        let uid = rustix::process::geteuid().as_raw();
        let name = format!("pg_attest-{uid}-{:08x}", fingerprint(&root));
        let place = if reachable(&user, &target) {
            target.clone()
        } else {
            let place = Path::new("/var/tmp").join(&name);
            if !place.exists() {
                ui::note(&format!(
                    "{} is closed to the server's user: PostgreSQL and its data go to {}",
                    target.display(),
                    place.display()
                ));
            }
            own_folder(&place, 0o755)?;
            place
        };
        let scratch = if place.join("run").as_os_str().len() <= LONGEST_BASE {
            place.join("run")
        } else {
            Path::new("/tmp").join(name)
        };
        let layout = Self {
            root,
            target,
            place,
            scratch,
            user,
        };
        layout.make_scratch()?;
        Ok(layout)
    }

    /// Makes the scratch folder again if it was removed.
    fn make_scratch(&self) -> Result<()> {
        if !self.scratch.exists() {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&self.scratch)?;
            self.user.own(&self.scratch)?;
        }
        let meta = std::fs::symlink_metadata(&self.scratch)?;
        let owner = match &self.user {
            ServerUser::Myself => rustix::process::geteuid().as_raw(),
            ServerUser::Other { uid, .. } => *uid,
        };
        let me = rustix::process::geteuid().as_raw();
        if !meta.is_dir() || (meta.uid() != owner && meta.uid() != me) {
            bail!(
                "{} belongs to someone else; remove it or have it removed",
                self.scratch.display()
            );
        }
        self.user.own(&self.scratch)
    }

    /// A fresh folder in the scratch folder, for the server's user alone.
    pub fn scratch_folder(&self, name: &str) -> Result<PathBuf> {
        self.make_scratch()?;
        let path = self.scratch.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        self.user.own(&path)?;
        Ok(path)
    }

    /// Copies a tree of files into a folder of the server's user.
    pub fn copy_for_server(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::create_dir_all(to)?;
        self.user.own(to)?;
        for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
            let entry = entry?;
            let copy = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.copy_for_server(&entry.path(), &copy)?;
            } else {
                std::fs::copy(entry.path(), &copy)?;
                self.user.own(&copy)?;
            }
        }
        Ok(())
    }

    pub fn log(&self, name: &str) -> PathBuf {
        log_in(&self.target, name)
    }

    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A private PostgreSQL, for instance `15` or `15-demo`.
    pub fn postgres(&self, name: &str) -> PathBuf {
        self.place.join("pg").join(name)
    }

    /// One `PGRX_HOME` per private PostgreSQL: a change of one rebuilds no other's bindings.
    pub fn pgrx_home(&self, name: &str) -> PathBuf {
        self.place.join("pgrx").join(name)
    }

    /// What outlives the checkout: PostgreSQL versions built from source.
    pub fn cache() -> Result<PathBuf> {
        let folder = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        if let Some(own) = folder("PG_ATTEST_CACHE") {
            return Ok(own);
        }
        let base = folder("XDG_CACHE_HOME")
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .context("no home folder; set PG_ATTEST_CACHE")?;
        Ok(base.join("pg_attest"))
    }
}

/// The log of something that happens before the server's user is known.
pub fn log(name: &str) -> Result<PathBuf> {
    Ok(log_in(&target_folder(&checkout()?), name))
}

fn log_in(target: &Path, name: &str) -> PathBuf {
    target.join("xtask/logs").join(format!("{name}.log"))
}

fn checkout() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.parent().context("xtask has no parent folder")?;
    root.canonicalize()
        .with_context(|| format!("the checkout {} has moved", root.display()))
}

fn target_folder(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| root.join(folder)),
        None => root.join("target"),
    }
}

fn fingerprint(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    // The lower half is as good a fingerprint as the whole.
    hasher.finish() & u64::from(u32::MAX)
}

/// Asks the kernel, not the permission bits: access lists and mounts count too.
fn reachable(user: &ServerUser, folder: &Path) -> bool {
    match user {
        ServerUser::Myself => true,
        ServerUser::Other { .. } => run::succeeds(
            user.command("/bin/sh")
                .args(["-c", "cd \"$1\" && test -r .", "sh"])
                .arg(folder),
        ),
    }
}

/// A folder of ours in a place that everybody can write to: never someone else's, never a link.
fn own_folder(path: &Path, mode: u32) -> Result<()> {
    if !path.exists() {
        std::fs::DirBuilder::new().mode(mode).create(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    let meta = std::fs::symlink_metadata(path)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        bail!(
            "{} belongs to someone else; remove it or have it removed",
            path.display()
        );
    }
    Ok(())
}
