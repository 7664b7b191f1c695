//! The command line.

use crate::db::Database;
use crate::export_dir::ExportDir;
use crate::witness::Look;
use crate::{Outcome, archive, export, keys, timestamp, verify, witness};
use anyhow::{Context, Result, ensure};
use attest_log::note::{KeyKind, Note, VerifierKey};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// A line on stdout; a reader that has gone is an error like any other.
macro_rules! say {
    ($($text:tt)*) => {
        writeln!(std::io::stdout(), $($text)*)
    };
}
pub(crate) use say;

const AFTER: &str = "\
Exit status:
  0  good
  1  findings: something is not what it should be
  2  wrong usage, or input, output or connection failed
  3  fork or rollback: the log is not a continuation of what was seen before

The connection comes from --db and, for what it leaves out, from PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD,
PGSERVICE, PGSSLMODE, PGSSLROOTCERT and ~/.pgpass. A password on the command line is refused: others could read it.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "attest", version, about = "Verifies, exports, witnesses, timestamps and reports the log of pg_attest, without trust in its server", long_about = None, after_help = AFTER)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Export(Export),
    Archive(archive::args::Archive),
    RestoreArchive(archive::args::RestoreArchive),
    Verify(Verify),
    Keygen(Keygen),
    Witness(Witness),
    Timestamp(timestamp::args::Timestamp),
    Report(crate::report::Report),
}

/// Copies the log into a folder, as files that anyone can verify; again, to bring the folder up to date
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  attest export --db postgresql://auditor@db.example/shop ./export
  PGSERVICE=shop attest export --db postgresql:// /mnt/worm/shop

The role needs: SELECT audit.grant_access('auditor', 'reader');

Exit status: 0 exported, 2 wrong usage or failed output, 3 the log is not a continuation of the export.")]
pub struct Export {
    /// The database, as a PostgreSQL URL without password
    #[arg(long, value_name = "URL")]
    db: String,
    /// The folder, which is made if it is not there
    folder: PathBuf,
}

impl Export {
    pub fn run(&self) -> Result<Outcome> {
        match export::export(Database::open(self.db.parse()?)?, &self.folder)? {
            export::Ended::Written { leaves, misfits } => {
                say!("{leaves} events exported to {}", self.folder.display())?;
                if misfits > 0 {
                    eprintln!(
                        "attest: {misfits} of them are gone or are not what was sealed; attest verify says more"
                    );
                }
                Ok(Outcome::Good)
            }
            export::Ended::Forked(why) => {
                eprintln!("attest: FORK: {why}; the export was left as it was");
                Ok(Outcome::Forked)
            }
        }
    }
}

/// Recomputes everything that the log claims, of an export, an archive or a database
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  attest verify ./export --trusted-keys keys.txt
  attest verify ./export --against checkpoint-of-last-year
  attest verify ./export --ca tsa-ca.pem
  attest verify --db postgresql://auditor@db.example/shop --json
  attest verify /mnt/archive/audit_events_2026_01 --trusted-keys keys.txt
  attest verify s3://bank-audit/shop

Of an archive, only the checkpoint that it holds can be verified --against; it holds no timestamps. A folder of archives: all of them.

Exit status: 0 verified, 1 findings, 2 wrong usage or failed input.")]
pub struct Verify {
    /// An export, an archive, or a folder of archives: a folder, or s3://…, gs://…, az://…
    #[arg(
        value_name = "FOLDER",
        required_unless_present = "db",
        conflicts_with = "db"
    )]
    folder: Option<String>,
    /// A database, as a PostgreSQL URL without password
    #[arg(long, value_name = "URL")]
    db: Option<String>,
    #[command(flatten)]
    trusted: Trusted,
    /// Certificates of timestamping authorities: timestamps of checkpoints must lead to one of them
    #[arg(long, value_name = "PEM")]
    ca: Option<PathBuf>,
    /// A checkpoint that was kept from earlier: the log must be its continuation
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Of an archive: the SHA-256 of its manifest, as the log recorded it
    #[arg(long, value_name = "HEX", conflicts_with = "db")]
    manifest_sha256: Option<String>,
    /// The origin that the newest epoch must have
    #[arg(long)]
    origin: Option<String>,
    /// A report for machines, on stdout
    #[arg(long)]
    json: bool,
    /// Threads [default: one per processor]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZero<usize>>,
}

/// Keys whose signatures count
#[derive(Debug, ClapArgs)]
pub struct Trusted {
    /// A verifier key that is trusted: name+id+base64
    #[arg(long, value_name = "KEY")]
    key: Vec<VerifierKey>,
    /// A file of verifier keys, one a line
    #[arg(long, value_name = "FILE")]
    trusted_keys: Option<PathBuf>,
}

impl Trusted {
    pub fn read(&self) -> Result<Vec<VerifierKey>> {
        let mut all = self.key.clone();
        if let Some(path) = &self.trusted_keys {
            all.extend(keys::verifiers(path)?);
        }
        Ok(all)
    }
}

impl Verify {
    pub fn run(&self) -> Result<Outcome> {
        let read = |path: &PathBuf| -> Result<Note> {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Note::parse(&text).with_context(|| format!("{} is not a checkpoint", path.display()))
        };
        let options = verify::Options {
            keys: self.trusted.read()?,
            authorities: match &self.ca {
                Some(path) => timestamp::authorities(path)?,
                None => Vec::new(),
            },
            against: self.against.iter().map(read).collect::<Result<_>>()?,
            origin: self.origin.clone(),
            threads: self.threads.map_or_else(
                || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
                std::num::NonZero::get,
            ),
        };
        if let Some(folder) = &self.folder
            && let Some(reports) =
                archive::verify(folder, &options, self.manifest_sha256.as_deref())?
        {
            return archive::args::tell(&reports, self.json);
        }
        ensure!(
            self.manifest_sha256.is_none(),
            "--manifest-sha256 is of an archive, and this is none"
        );
        let report = match &self.folder {
            Some(folder) => verify::verify(&mut ExportDir::open(folder.as_ref())?, &options)?,
            None => verify::verify(
                &mut Database::open(self.db.as_deref().unwrap_or_default().parse()?)?,
                &options,
            )?,
        };
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?)?;
        } else {
            say!("{report}")?;
        }
        Ok(if report.ok {
            Outcome::Good
        } else {
            Outcome::Findings
        })
    }
}

/// Makes a key: the secret half into a new file that only its owner can read, the public half to stdout
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  attest keygen --name db.example/shop --kind log /etc/pg_attest/shop.key     for audit.signing_key_file
  attest keygen --name witness.example/w --kind witness ~/witness.key >> keys.txt")]
pub struct Keygen {
    /// The key's name, as signature lines show it; no spaces and no +
    #[arg(long)]
    name: String,
    /// What it signs as
    #[arg(long, value_enum)]
    kind: Kind,
    /// The new file
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// The log itself: Ed25519
    Log,
    /// A witness: cosignature/v1
    Witness,
}

impl Keygen {
    pub fn run(&self) -> Result<Outcome> {
        let kind = match self.kind {
            Kind::Log => KeyKind::Ed25519,
            Kind::Witness => KeyKind::Cosignature,
        };
        say!("{}", keys::generate(&self.name, kind, &self.file)?)?;
        Ok(Outcome::Good)
    }
}

/// Sees that the log only grows, and cosigns its checkpoints; stops loudly at a fork or a rollback
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  attest keygen --name witness.example/w --kind witness witness.key
  attest witness --db postgresql://witness@db.example/shop --key-file witness.key --state shop.json --init --once
  attest witness --db postgresql://witness@db.example/shop --key-file witness.key --state shop.json --interval 60

Run it on a machine that the database's administrators do not reach, and keep its state: a witness without memory sees nothing.
The role needs: SELECT audit.grant_access('witness', 'witness');

Exit status: 0 cosigned or unchanged, 1 the log's own signature is missing or wrong, 2 wrong usage or no connection,
3 fork or rollback: look into it before anything else; nothing was cosigned, the state is as it was.")]
pub struct Witness {
    /// The database, as a PostgreSQL URL without password
    #[arg(long, value_name = "URL")]
    db: String,
    /// The witness's private key; nobody else may read it
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Where the witness keeps what it saw
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Begin: make the state, and take the log as it is now
    #[arg(long)]
    init: bool,
    /// A key of the log: only checkpoints that it signed are cosigned
    #[arg(long, value_name = "KEY")]
    log_key: Vec<VerifierKey>,
    /// Look once and end
    #[arg(long)]
    once: bool,
    /// Seconds between looks
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        conflicts_with = "once"
    )]
    interval: u64,
}

impl Witness {
    pub fn run(&self) -> Result<Outcome> {
        let target = self.db.parse()?;
        let witness = witness::Witness::open(
            target,
            &self.key_file,
            self.log_key.clone(),
            &self.state,
            self.init,
        )?;
        loop {
            let look = witness.look();
            match &look {
                Ok(Look::NothingSealed) => say!("nothing is sealed yet")?,
                Ok(Look::Unchanged { size }) => say!("unchanged: {size} leaves")?,
                Ok(Look::Cosigned { size, line }) => say!("cosigned: {size} leaves\n{line}")?,
                Ok(Look::Unsigned(why)) => eprintln!("attest: NOT COSIGNED: {why}"),
                Ok(Look::Forked(why)) => eprintln!("attest: FORK: {why}"),
                // A server that is away comes back; a witness that watches waits for it.
                Err(error) if !self.once => eprintln!("attest: {error:#}"),
                Err(_) => {}
            }
            if self.once
                || look
                    .as_ref()
                    .is_ok_and(|look| look.outcome() == Outcome::Forked)
            {
                return look.map(|look| look.outcome());
            }
            std::thread::sleep(Duration::from_secs(self.interval));
        }
    }
}
