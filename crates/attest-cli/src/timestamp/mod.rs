//! `attest timestamp`: has an authority say when a checkpoint was there (RFC 3161), and keeps what it says in the database.

pub mod args;
mod token;

pub use token::{fits, request, verify};

use crate::db::{Database, Target};
use anyhow::{Context, Result, bail, ensure};
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use attest_log::hash::sha256;
use postgres::fallible_iterator::FallibleIterator;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// An answer is a few kilobytes, with its certificates.
const LARGEST_ANSWER: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_mins(1);

/// A checkpoint and where it stands.
pub struct Place {
    pub epoch: i32,
    pub checkpoint: Checkpoint,
}

/// The first checkpoint, from the newest on, that is the wanted one.
pub fn find(
    database: &mut Database,
    wanted: impl Fn(&Checkpoint) -> bool,
) -> Result<Option<Place>> {
    let query = "SELECT c.epoch, e.origin, c.tree_size, c.root FROM audit.checkpoints c JOIN audit.epochs e USING (epoch)
        ORDER BY c.epoch DESC, c.tree_size DESC";
    let mut rows = database
        .client()
        .query_raw(query, std::iter::empty::<i32>())?;
    while let Some(row) = rows.next()? {
        let root = Hash::try_from(row.get::<_, &[u8]>(3))
            .context("a root in audit.checkpoints is no hash")?;
        let checkpoint = Checkpoint::new(
            row.get::<_, String>(1),
            row.get::<_, i64>(2).cast_unsigned(),
            root,
        )?;
        if wanted(&checkpoint) {
            let epoch = row.get(0);
            return Ok(Some(Place { epoch, checkpoint }));
        }
    }
    Ok(None)
}

/// The checkpoint that an answer is of.
pub fn find_stamped(database: &mut Database, answer: &[u8]) -> Result<Option<Place>> {
    let stamped = token::imprint(answer)?;
    find(database, |checkpoint| {
        sha256(checkpoint.to_string().as_bytes())[..] == stamped
    })
}

/// Sends a request to an authority (RFC 3161 section 3.4).
pub fn ask(url: &str, request: &[u8]) -> Result<Vec<u8>> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .build(),
    );
    let answer = agent
        .post(url)
        .header("Content-Type", "application/timestamp-query")
        .send(request);
    let mut answer = answer.with_context(|| format!("{url} gives no answer"))?;
    let mut bytes = Vec::new();
    answer
        .body_mut()
        .as_reader()
        .take(LARGEST_ANSWER + 1)
        .read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= LARGEST_ANSWER,
        "{url} answers with more than {LARGEST_ANSWER} bytes"
    );
    Ok(bytes)
}

/// Stores an answer beside its checkpoint.
pub fn store(target: &Target, place: &Place, answer: &[u8]) -> Result<()> {
    let (size, epoch) = (place.checkpoint.size().cast_signed(), place.epoch);
    let mut client = target.connect()?;
    client
        .execute(
            "SELECT audit.add_timestamp($1, $2, $3)",
            &[&size, &answer, &epoch],
        )
        .context("the timestamp could not be stored")?;
    Ok(())
}

/// The certificates of a PEM file.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let about = || format!("cannot read {}", path.display());
    let all = CertificateDer::pem_file_iter(path).with_context(about)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().with_context(about)?;
    if all.is_empty() {
        bail!("{} has no certificate", path.display());
    }
    Ok(all)
}
