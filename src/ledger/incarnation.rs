//! Which database this log belongs to, so that no two databases ever sign for the same origin.

use super::tables::Table;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::columns::{Expected, column};
use crate::pg::incarnation as server;
use crate::pg::index_scan::Order;
use crate::pg::relation::lock;
use crate::pg::snapshot::Snapshot;
use pgrx::pg_sys;
use std::fmt;

/// One life of one database's log.
///
/// A copy by `CREATE DATABASE … TEMPLATE` has another database OID, a cluster made by `pg_upgrade` another system identifier, a
/// promoted standby or a backup recovered to a point in time another timeline. A log restored from a dump has another random
/// number in `audit.installation`, which CREATE EXTENSION makes and no dump takes along: clusters that were copied before have one
/// system identifier, and give the same OIDs to the same things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation {
    system: u64,
    timeline: u32,
    database: u32,
    installation: u128,
}

const COLUMNS: [Expected; 1] = [column("id", pg_sys::UUIDOID)];

impl Incarnation {
    /// This server's, this database's. None on a standby.
    pub fn current(snapshot: &Snapshot) -> Result<Option<Self>> {
        let Some(timeline) = server::timeline() else {
            return Ok(None);
        };
        let table = Table::open("installation", &COLUMNS, lock::ACCESS_SHARE)?;
        let mut scan = table.scan(snapshot, &[], Order::Ascending);
        let id = scan.next(|row| row.uuid(0).copied()).flatten();
        let id = id.ok_or_else(|| {
            AttestError::new(
                SqlState::ERRCODE_DATA_CORRUPTED,
                "audit.installation is empty",
            )
            .hint("SET audit.restore = on; INSERT INTO audit.installation DEFAULT VALUES; lets the log go on with a new epoch.")
        })?;
        Ok(Some(Self {
            system: server::system_identifier(),
            timeline,
            database: server::database(),
            installation: u128::from_be_bytes(id),
        }))
    }

    /// From the text of `audit.epochs.incarnation`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let parsed = Self {
            system: parts.next()?.parse().ok()?,
            timeline: parts.next()?.parse().ok()?,
            database: parts.next()?.parse().ok()?,
            installation: u128::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some(parsed)
    }

    /// Whether the other one lived in these very tables, so that transaction ids go on from it.
    pub fn continues(&self, other: &Self) -> bool {
        (self.system, self.database, self.installation)
            == (other.system, other.database, other.installation)
    }

    /// The origin line of the checkpoints of an epoch.
    pub fn origin(&self, epoch: i32) -> String {
        format!("pg_attest/{self}/{epoch}")
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            system,
            timeline,
            database,
            installation,
        } = self;
        write!(f, "{system}/{timeline}/{database}/{installation:032x}")
    }
}
