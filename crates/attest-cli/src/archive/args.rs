//! The commands that write and restore archives.

use super::partitions::{self, Partition};
use super::store::Store;
use super::{record, restore, verify, write};
use crate::args::{Trusted, say};
use crate::db::Database;
use crate::verify::{Options, Report};
use crate::{Outcome, time};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use std::io::Write;

/// Copies months of the log that are over into Parquet files, verifies them and records that in the log
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attest archive --db postgresql://archivist@db.example/shop /mnt/archive/shop
  attest archive --db postgresql://archivist@db.example/shop s3://bank-audit/shop --until 2026-01-01
  attest archive --db postgresql://archivist@db.example/shop s3://bank-audit/shop --partition audit_events_2026_01

Each month becomes a folder of DEST. What is there already is left alone, so run it as often as you like. An attempt that was
broken off leaves no archive; the next one begins that month anew.

Credentials come from the environment, never from the command line: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT (and AWS_ALLOW_HTTP=true for one without TLS); GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME,
AZURE_STORAGE_ACCOUNT_KEY; or the machine's own role.

The role needs: SELECT audit.grant_access('archivist', 'admin');

Exit status: 0 archived, 1 the log is not what was sealed, or the store gave other bytes than were written, so nothing was archived,
2 wrong usage or failed input or output.")]
pub struct Archive {
    /// The database, as a PostgreSQL URL without password
    #[arg(long, value_name = "URL")]
    db: String,
    /// Where archives go: a folder, or `s3://bucket/folder`, `gs://…`, `az://…`
    #[arg(value_name = "DEST")]
    destination: String,
    /// Only this partition of `audit.audit_events`
    #[arg(long, value_name = "NAME")]
    partition: Vec<String>,
    /// Only months that end at this day (UTC) or before
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<time::Day>,
    /// Only write and verify: do not record in the log that the archive is there
    #[arg(long)]
    no_record: bool,
    /// Threads that verify [default: one per processor]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZero<usize>>,
}

/// What became of a month.
enum Ended {
    Archived,
    There,
    Findings,
}

impl Archive {
    pub fn run(&self) -> Result<Outcome> {
        let mut database = Database::open(self.db.parse()?)?;
        partitions::lock(&mut database)?;
        let store = Store::open(&self.destination)?;
        let months = self.months(&mut database)?;
        let mut outcome = Outcome::Good;
        if months.is_empty() {
            say!("no month is over that has events")?;
        }
        for (partition, events) in months {
            match self.month(&mut database, &store, &partition, &events)? {
                Ended::Archived | Ended::There => {}
                Ended::Findings => outcome = Outcome::Findings,
            }
        }
        Ok(outcome)
    }

    /// The months that are asked for, over, and not empty.
    fn months(&self, database: &mut Database) -> Result<Vec<(Partition, partitions::Events)>> {
        let all = partitions::all(database)?;
        for name in &self.partition {
            let known = all.iter().find(|partition| partition.name == *name);
            let known = known.with_context(|| {
                format!("{name} is not a month of audit.audit_events; \\d+ audit.audit_events lists them")
            })?;
            ensure!(
                known.over,
                "{name} is not over: it takes events until {}",
                time::utc_micros(known.until)
            );
        }
        let wanted = |partition: &Partition| {
            let named = self.partition.is_empty() || self.partition.contains(&partition.name);
            named
                && partition.over
                && self
                    .until
                    .is_none_or(|until| partition.until <= until.start_micros())
        };
        let mut months = Vec::new();
        for partition in all.into_iter().filter(wanted) {
            if let Some(events) = partitions::events(database, &partition)? {
                months.push((partition, events));
            }
        }
        Ok(months)
    }

    fn month(
        &self,
        database: &mut Database,
        store: &Store,
        partition: &Partition,
        events: &partitions::Events,
    ) -> Result<Ended> {
        let options = Options {
            keys: Vec::new(),
            authorities: Vec::new(),
            against: Vec::new(),
            origin: None,
            threads: threads(self.threads),
        };
        // Events that a transaction of that month committed later make another archive of it.
        for number in 1.. {
            let name = match number {
                1 => partition.name.clone(),
                more => format!("{}-{more}", partition.name),
            };
            let place = store.inside(&name);
            let (opened, report) = match verify::open(&place)? {
                None => {
                    let (opened, report) =
                        write::write(database, partition, events, &place, &options)?;
                    (opened, Some(report))
                }
                Some(Err(error)) => bail!("{}: its manifest is none: {error:#}", place.name()),
                Some(Ok(opened)) => {
                    ensure!(
                        partitions::is_of_this_log(database, &opened.manifest)?,
                        "{} is the archive of another log: each log needs a destination of its own",
                        place.name()
                    );
                    if opened.manifest.partition != partition.name
                        || partitions::later_than(database, partition, &opened.manifest)? > 0
                    {
                        continue;
                    }
                    let recorded = self.no_record || record::is_there(database, &opened.sha256)?;
                    // One that is not: the attempt before was broken off behind the manifest, or did not record.
                    let report = if recorded {
                        None
                    } else {
                        Some(verify::verify(&place, &opened, &options)?)
                    };
                    (opened, report)
                }
            };
            let Some(report) = report else {
                say!(
                    "{}: is archived already, at {}",
                    partition.name,
                    place.name()
                )?;
                return Ok(Ended::There);
            };
            if !report.ok {
                say!("{report}")?;
                eprintln!("attest: {} was not archived", partition.name);
                return Ok(Ended::Findings);
            }
            if !self.no_record {
                record::record(&self.db.parse()?, &opened, &place.uri())?;
            }
            let (manifest, sha256) = (&opened.manifest, &opened.sha256);
            let size: u64 = manifest.events.iter().map(|file| file.object.bytes).sum();
            say!(
                "{}: {} events archived to {} ({} of Parquet)\n  manifest SHA-256 {sha256}",
                partition.name,
                manifest.count,
                place.name(),
                indicatif::HumanBytes(size)
            )?;
            return Ok(Ended::Archived);
        }
        Ok(Ended::There)
    }
}

fn threads(asked: Option<std::num::NonZero<usize>>) -> usize {
    asked.map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        std::num::NonZero::get,
    )
}

/// Brings an archive's events back into a database, for reading, as `audit.archived_events`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attest restore-archive /mnt/archive/shop/audit_events_2026_01 --db postgresql://postgres@db.example/shop
  attest restore-archive s3://bank-audit/shop/audit_events_2026_01 --db postgresql:///shop --trusted-keys keys.txt
  attest restore-archive --drop audit_events_2026_01 --db postgresql:///shop

The archive is verified first; nothing of one that has findings is loaded. The events are read with
SELECT … FROM audit.archived_events: they are no part of the log. Needs a superuser, or the owner of the extension.

Exit status: 0 restored, there already, or dropped, 1 the archive has findings, 2 wrong usage or failed input or output.")]
pub struct RestoreArchive {
    /// The archive: a folder, or s3://…, gs://…, az://…
    #[arg(
        value_name = "ARCHIVE",
        required_unless_present = "drop",
        conflicts_with = "drop"
    )]
    archive: Option<String>,
    /// The database, as a PostgreSQL URL without password
    #[arg(long, value_name = "URL")]
    db: String,
    /// The name that `audit.archived_events` has it under [default: the archive's partition]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Remove a restored archive from the database again
    #[arg(long, value_name = "NAME")]
    drop: Option<String>,
    #[command(flatten)]
    trusted: Trusted,
}

impl RestoreArchive {
    pub fn run(&self) -> Result<Outcome> {
        let target = self.db.parse()?;
        if let Some(name) = &self.drop {
            restore::drop(&target, name)?;
            say!("{name}: dropped from audit.archived_events")?;
            return Ok(Outcome::Good);
        }
        let place = self.archive.as_deref().unwrap_or_default();
        let store = Store::open(place)?;
        let opened = match verify::open(&store)? {
            None => bail!("{place} is no archive: there is no manifest.json"),
            Some(Err(error)) => return tell(&[verify::broken(&store, &error)], false),
            Some(Ok(opened)) => opened,
        };
        let options = Options {
            keys: self.trusted.read()?,
            authorities: Vec::new(),
            against: Vec::new(),
            origin: None,
            threads: threads(None),
        };
        let name = self.name.as_ref().unwrap_or(&opened.manifest.partition);
        let report = verify::verify(&store, &opened, &options)?;
        if !report.ok {
            return tell(&[report], false);
        }
        if restore::restore(&target, &store, &opened, name)? {
            let count = opened.manifest.count;
            say!("{name}: {count} events in audit.archived_events")?;
        } else {
            say!("{name}: is in audit.archived_events already")?;
        }
        Ok(Outcome::Good)
    }
}

/// Several archives' reports, for a machine.
#[derive(Serialize)]
struct Reports<'a> {
    ok: bool,
    archives: &'a [Report],
}

/// Prints reports of archives.
pub fn tell(reports: &[Report], json: bool) -> Result<Outcome> {
    let ok = reports.iter().all(|report| report.ok);
    match (reports, json) {
        ([report], true) => say!("{}", serde_json::to_string_pretty(report)?)?,
        (archives, true) => {
            let reports = Reports { ok, archives };
            say!("{}", serde_json::to_string_pretty(&reports)?)?;
        }
        (reports, false) => {
            for report in reports {
                if reports.len() > 1 {
                    say!("== {}", report.source)?;
                }
                say!("{report}")?;
            }
        }
    }
    Ok(if ok { Outcome::Good } else { Outcome::Findings })
}
