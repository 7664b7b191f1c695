//! The command line of `attest report`.

use super::period::Period;
use crate::args::Trusted;
use crate::db::Database;
use crate::time::Day;
use crate::{Outcome, verify};
use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Makes a page for auditors: what changed in a period, who, when, why; verified first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attest report --db postgresql://auditor@db.example/shop --from 2026-10-01 --to 2026-12-31 quarter.html
  attest report --db postgresql://auditor@db.example/shop --from 2026-11-21 --to 2026-11-21 --trusted-keys keys.txt --force today.html

The page is one HTML file that loads nothing and prints well. The whole log is verified first; what the page tells is read
from the same snapshot of the database. The role needs: SELECT audit.grant_access('auditor', 'reader');

Exit status: 0 written, 1 written, and the log did not verify, 2 wrong usage, no connection or failed output: nothing was written.")]
pub struct Report {
    /// The database, as a PostgreSQL URL without password
    #[arg(long, value_name = "URL")]
    db: String,
    /// The first day, in UTC
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Day,
    /// The last day, in UTC; all of it belongs to the period
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Day,
    #[command(flatten)]
    trusted: Trusted,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// The page, which is written whole or not at all
    out: PathBuf,
}

impl Report {
    pub fn run(&self) -> Result<Outcome> {
        let period = Period::new(self.from, self.to)?;
        if !self.force {
            super::check_free(&self.out)?;
        }
        let options = verify::Options {
            keys: self.trusted.read()?,
            authorities: Vec::new(),
            against: Vec::new(),
            origin: None,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        let database = Database::open(self.db.parse()?)?;
        let (html, verified) = super::make(database, &period, &options)?;
        super::write(&self.out, &html, self.force)?;
        let verdict = if verified { "verified" } else { "NOT VERIFIED" };
        writeln!(
            std::io::stdout(),
            "{period}: written to {}; the log is {verdict}",
            self.out.display()
        )?;
        Ok(if verified {
            Outcome::Good
        } else {
            Outcome::Findings
        })
    }
}
