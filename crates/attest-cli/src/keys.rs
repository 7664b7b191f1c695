//! Keys from files, and new ones. Secrets come from files that nobody else can read, never from the command line.

use anyhow::{Context, Result, bail};
use attest_log::note::{KeyKind, SignerKey, VerifierKey};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A secret key from its file, which must not be readable or writable by anyone but its owner.
pub fn signer(path: &Path) -> Result<SignerKey> {
    let text = secret(path)?;
    text.trim()
        .parse()
        .with_context(|| format!("{} is not a private key", path.display()))
}

/// The text of a file that holds a secret.
pub fn secret(path: &Path) -> Result<String> {
    let about = || format!("cannot read {}", path.display());
    let mut file = std::fs::File::open(path).with_context(about)?;
    let mode = file.metadata().with_context(about)?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "{} is open to others (mode {:04o}); chmod 600 makes it private",
            path.display(),
            mode & 0o7777
        );
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).with_context(about)?;
    Ok(text)
}

/// The keys of a file, one a line; empty lines and lines that begin with # mean nothing.
pub fn verifiers(path: &Path) -> Result<Vec<VerifierKey>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    keys.map(|line| {
        line.parse()
            .with_context(|| format!("in {}: {line:.60}", path.display()))
    })
    .collect()
}

/// Makes a key, writes its secret half to a new file, and gives its public half.
pub fn generate(name: &str, kind: KeyKind, path: &Path) -> Result<VerifierKey> {
    let mut seed = [0; 32];
    if let Err(error) = getrandom::fill(&mut seed) {
        bail!("no random bytes: {error}");
    }
    let key = SignerKey::from_seed(name, kind, &seed)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    writeln!(file, "{}", key.to_secret_text())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key.verifier())
}
