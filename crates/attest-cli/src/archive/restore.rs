//! Brings an archive's events into a database, as a partition of `audit.archived_events` (`sql/archived_events.sql`): a table of its
//! own, which no function of the log reads.

use super::columns::{self, COLUMNS, Kind, Value};
use super::rows::{self, Archived};
use super::store::Store;
use super::verify::Opened;
use crate::db::Target;
use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use attest_log::encoding::TextList;
use postgres::Client;
use std::io::Write;
use std::net::IpAddr;

/// Microseconds from 1970 to 2000, where PostgreSQL's times begin.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// Of text, the type of the elements of `changed_columns`.
const TEXT: i32 = 25;

/// Loads an archive, all of it or nothing; false where it is there already.
pub fn restore(target: &Target, store: &Store, opened: &Opened, name: &str) -> Result<bool> {
    let manifest = &opened.manifest;
    let mut client = target.connect()?;
    let there: bool = client
        .query_one(
            "SELECT pg_catalog.to_regclass('audit.archived_events') IS NOT NULL",
            &[],
        )?
        .get(0);
    ensure!(
        there,
        "this database has no audit.archived_events: the extension pg_attest is not there, or too old"
    );
    let mut load = client.transaction()?;
    let table: Option<String> = load
        .query_one(
            "SELECT audit.begin_archived($1, $2)",
            &[&name, &opened.sha256],
        )?
        .get(0);
    let Some(table) = table else { return Ok(false) };
    let progress = Progress::new("restoring", manifest.count);
    let columns: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
    let copy = format!(
        "COPY {table} ({}) FROM STDIN (FORMAT binary)",
        columns.join(", ")
    );
    let mut copy = load.copy_in(&copy)?;
    copy.write_all(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")?;
    let mut row = Vec::new();
    for said in &manifest.events {
        let path = &said.object.path;
        let fetched = store
            .fetch(path)?
            .with_context(|| format!("{path} is missing"))?;
        ensure!(
            fetched.sha256 == said.object.sha256,
            "{path} was changed while it was read"
        );
        let mut rows = 0_u64;
        rows::read(fetched.file, &mut |archived| {
            row.clear();
            encode(archived, &mut row)?;
            copy.write_all(&row)?;
            rows += 1;
            if rows.is_multiple_of(4096) {
                progress.advance(4096);
            }
            Ok(())
        })
        .with_context(|| format!("cannot load {path}"))?;
    }
    copy.write_all(&(-1_i16).to_be_bytes())?;
    let loaded = copy.finish()?;
    ensure!(
        loaded == manifest.count,
        "{loaded} events were loaded, not {}",
        manifest.count
    );
    load.execute("SELECT audit.finish_archived($1)", &[&name])?;
    load.commit()?;
    progress.finish();
    Ok(true)
}

/// Removes a restored archive.
pub fn drop(target: &Target, name: &str) -> Result<()> {
    let mut client: Client = target.connect()?;
    client
        .execute("SELECT audit.drop_archived($1)", &[&name])
        .map(std::mem::drop)
        .map_err(Into::into)
}

/// A row of a binary COPY: PostgreSQL's documentation, "COPY", section "Binary Format".
fn encode(archived: &Archived<'_>, row: &mut Vec<u8>) -> Result<()> {
    row.extend(i16::try_from(COLUMNS.len())?.to_be_bytes());
    let values = columns::values(&archived.event, archived.epoch, archived.leaf_index);
    for (column, value) in COLUMNS.iter().zip(values) {
        match (column.kind, value) {
            (_, None) => field(row, None)?,
            (Kind::Time, Some(Value::Long(micros))) => {
                let micros = micros.wrapping_sub(POSTGRES_EPOCH);
                field(row, Some(&micros.to_be_bytes()))?;
            }
            (Kind::Oid, Some(Value::Long(oid))) => {
                field(row, Some(&u32::try_from(oid)?.to_be_bytes()))?;
            }
            (_, Some(Value::Long(value))) => field(row, Some(&value.to_be_bytes()))?,
            (_, Some(Value::Int(value))) => field(row, Some(&value.to_be_bytes()))?,
            (Kind::Json, Some(Value::Bytes(text))) => json(row, text)?,
            (Kind::List, Some(Value::Bytes(list))) => {
                field(row, Some(&array(TextList::parse(list)?)?))?;
            }
            (Kind::Address, Some(Value::Bytes(text))) => field(row, Some(&inet(text)?))?,
            (_, Some(Value::Bytes(bytes))) => field(row, Some(bytes))?,
        }
    }
    Ok(())
}

fn field(row: &mut Vec<u8>, value: Option<&[u8]>) -> Result<()> {
    match value {
        None => row.extend((-1_i32).to_be_bytes()),
        Some(value) => {
            row.extend(i32::try_from(value.len())?.to_be_bytes());
            row.extend_from_slice(value);
        }
    }
    Ok(())
}

/// jsonb is sent as its text behind a version.
fn json(row: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    row.extend(i32::try_from(text.len() + 1)?.to_be_bytes());
    row.push(1);
    row.extend_from_slice(text);
    Ok(())
}

/// Dimensions, whether there are NULLs, the element's type; of the dimension length and lower bound; then the elements.
fn array(list: TextList<'_>) -> Result<Vec<u8>> {
    let elements: Vec<_> = list.iter().collect();
    let has_nulls = i32::from(elements.contains(&None));
    let dimensions = i32::from(!elements.is_empty());
    let mut bytes = Vec::new();
    for word in [dimensions, has_nulls, TEXT] {
        bytes.extend(word.to_be_bytes());
    }
    if !elements.is_empty() {
        for word in [i32::try_from(elements.len())?, 1] {
            bytes.extend(word.to_be_bytes());
        }
    }
    for element in elements {
        field(&mut bytes, element)?;
    }
    Ok(bytes)
}

/// Family, bits, whether it is a cidr, then the address: `network_send` of PostgreSQL's network.c.
fn inet(text: &[u8]) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(text)?;
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>()?)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .with_context(|| format!("{text} is not an address"))?;
    let (family, octets) = match address {
        IpAddr::V4(address) => (2, address.octets().to_vec()),
        IpAddr::V6(address) => (3, address.octets().to_vec()),
    };
    let length = u8::try_from(octets.len())?;
    let mut bytes = vec![family, bits.unwrap_or(length * 8), 0, length];
    bytes.extend(octets);
    Ok(bytes)
}
