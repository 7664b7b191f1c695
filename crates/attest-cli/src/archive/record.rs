//! What the log says of archives: it is told of one when it was verified by reading it back, and prunes no other.

use super::verify::Opened;
use crate::db::{Database, Target};
use anyhow::{Context, Result};

/// Whether the log has an archive with this manifest.
pub fn is_there(database: &mut Database, sha256: &str) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM audit.archives WHERE manifest_sha256 = pg_catalog.decode($1, 'hex'))";
    Ok(database.client().query_one(query, &[&sha256])?.get(0))
}

/// Records an archive. On a connection of its own: the one that read it stays in its snapshot.
pub fn record(target: &Target, opened: &Opened, uri: &str) -> Result<()> {
    target
        .connect()?
        .execute("SELECT audit.record_archive($1, $2)", &[&uri, &opened.text])
        .context("the archive is written, but was not recorded; the same command tries that again")
        .map(drop)
}
