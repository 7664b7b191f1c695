//! What the log says of archives: it is told of one when it was verified by reading it back, and prunes no other.

use super::manifest::Manifest;
use crate::db::{Database, Target};
use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Whether the log has an archive with this manifest.
pub fn is_there(database: &mut Database, sha256: &str) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM audit.archives WHERE manifest_sha256 = pg_catalog.decode($1, 'hex'))";
    Ok(database.client().query_one(query, &[&sha256])?.get(0))
}

/// Records an archive. On a connection of its own: the one that read it stays in its snapshot.
pub fn record(target: &Target, manifest: &Manifest, sha256: &str, uri: &str) -> Result<()> {
    let root = BASE64_STANDARD.decode(&manifest.root)?;
    let leaves = serde_json::to_string(&manifest.leaves)?;
    target
        .connect()?
        .execute(
            "SELECT audit.record_archive($1, $2, $3, $4, $5::text::pg_catalog.jsonb, $6, pg_catalog.decode($7, 'hex'),
                 'epoch'::pg_catalog.timestamptz + $8::bigint::double precision * interval '1 microsecond')",
            &[
                &uri,
                &manifest.partition,
                &manifest.first_event_id,
                &manifest.last_event_id,
                &leaves,
                &root,
                &sha256,
                &manifest.archived_at,
            ],
        )
        .context("the archive is written, but was not recorded; the same command tries that again")
        .map(drop)
}
