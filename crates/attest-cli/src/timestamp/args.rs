//! The command that has a checkpoint stamped.

use crate::args::say;
use crate::db::{Database, Target};
use crate::{Outcome, time, timestamp};
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use std::io::Write;
use std::path::PathBuf;

/// Has an authority say when a checkpoint was there (RFC 3161), verifies its answer and stores it beside the checkpoint
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  attest timestamp --db postgresql://witness@db.example/shop --tsa https://tsa.example/tsr --ca tsa-ca.pem
  attest timestamp --db postgresql://witness@db.example/shop --request query.tsq
  attest timestamp --db postgresql://witness@db.example/shop --answer reply.tsr --ca tsa-ca.pem

What is stamped is the checkpoint's text, so `openssl ts -verify -data` takes it too.

Exit status: 0 stored (or the request written), 1 the answer does not hold, 2 wrong usage or no connection.")]
pub struct Timestamp {
    /// The database, as a PostgreSQL URL without password
    #[arg(long, value_name = "URL")]
    db: String,
    #[command(flatten)]
    way: Way,
    /// The authority's certificates, which its answer must lead to
    #[arg(long, value_name = "PEM", required_unless_present = "request")]
    ca: Option<PathBuf>,
    /// The checkpoint of this many leaves, of the newest epoch that has it [default: the newest one]
    #[arg(long, value_name = "LEAVES", conflicts_with = "answer")]
    tree_size: Option<u64>,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Way {
    /// The authority to ask
    #[arg(long, value_name = "URL")]
    tsa: Option<String>,
    /// Write the request to a file, to be sent by other means
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Take the answer from a file
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
}

impl Timestamp {
    pub fn run(&self) -> Result<Outcome> {
        let target: Target = self.db.parse()?;
        let mut database = Database::open(target.clone())?;
        let (answer, nonce, place) = if let Some(path) = &self.way.answer {
            let answer =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let place = timestamp::find_stamped(&mut database, &answer)?;
            (
                answer,
                None,
                place.context("no checkpoint of this log is what the answer is of")?,
            )
        } else {
            let size = self.tree_size;
            let place = timestamp::find(&mut database, |checkpoint| {
                size.is_none_or(|size| checkpoint.size() == size)
            })?;
            let place = place.context("there is no such checkpoint")?;
            let (request, nonce) = timestamp::request(&place.checkpoint.to_string())?;
            if let Some(path) = &self.way.request {
                std::fs::write(path, request)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                say!(
                    "the request for the checkpoint of {} leaves is in {}",
                    place.checkpoint.size(),
                    path.display()
                )?;
                return Ok(Outcome::Good);
            }
            let url = self.way.tsa.as_deref().unwrap_or_default();
            (timestamp::ask(url, &request)?, Some(nonce), place)
        };
        drop(database);
        let authorities = timestamp::authorities(self.ca.as_deref().context("--ca is missing")?)?;
        match timestamp::verify(
            &answer,
            &place.checkpoint.to_string(),
            nonce.as_deref(),
            &authorities,
        ) {
            Ok(stamp) => {
                timestamp::store(&target, &place, &answer)?;
                let (size, when) = (place.checkpoint.size(), time::utc(stamp.time));
                say!(
                    "the checkpoint of {size} leaves was there at {when} (serial {})",
                    stamp.serial
                )?;
                Ok(Outcome::Good)
            }
            Err(error) => {
                eprintln!("attest: the timestamp does not hold, and is not stored: {error:#}");
                Ok(Outcome::Findings)
            }
        }
    }
}
