//! Epochs and checkpoints: the rows, their text, and the chain that binds them.

use super::incarnation::Incarnation;
use super::mark;
use super::tables::{Rows, Table};
use crate::error::Result;
use crate::pg::columns::{Expected, Fields, bytea, column, snapshot_value};
use crate::pg::datum::Varlena;
use crate::pg::index_scan::{Condition, Order};
use crate::pg::relation::lock;
use crate::pg::snapshot::{Snapshot, XidSet};
use crate::pg::tuple::Field;
use attest_log::Hash;
use attest_log::checkpoint::{Checkpoint as Text, horizon};
use attest_log::encoding::unix_micros;

use pgrx::pg_sys;
use pgrx::pg_sys::{BYTEAOID, INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID, XID8OID};

const EPOCH_COLUMNS: [Expected; 5] = [
    column("epoch", INT4OID),
    column("origin", TEXTOID),
    column("incarnation", TEXTOID),
    column("started_at", TIMESTAMPTZOID),
    column("event_id", INT8OID),
];

/// A row of `audit.epochs`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_field_names)] // as the column
pub struct Epoch {
    pub epoch: i32,
    pub origin: String,
    /// None when the text is none.
    pub incarnation: Option<Incarnation>,
    /// Microseconds since 2000-01-01.
    pub started_at: i64,
    /// The epoch's first leaf, from the second epoch on.
    pub event_id: Option<i64>,
}

impl Epoch {
    fn read(row: &Fields<'_>) -> Self {
        let text =
            |number| String::from_utf8_lossy(row.bytes(number).unwrap_or_default()).into_owned();
        Self {
            epoch: row.int4(0).unwrap_or_default(),
            origin: text(1),
            incarnation: Incarnation::parse(&text(2)),
            started_at: row.int8(3).unwrap_or_default(),
            event_id: row.int8(4),
        }
    }

    /// All epochs, the first one first.
    pub fn all(snapshot: &Snapshot) -> Result<Vec<Self>> {
        let table = Table::open("epochs", &EPOCH_COLUMNS, lock::ACCESS_SHARE)?;
        let mut scan = table.scan(snapshot, &[], Order::Ascending);
        Ok(std::iter::from_fn(|| scan.next(|row| Self::read(&row))).collect())
    }

    /// The epoch of this number.
    pub fn find(snapshot: &Snapshot, epoch: i32) -> Result<Option<Self>> {
        let table = Table::open("epochs", &EPOCH_COLUMNS, lock::ACCESS_SHARE)?;
        let mut scan = table.scan(snapshot, &[Condition::Int4Is(epoch)], Order::Ascending);
        Ok(scan.next(|row| Self::read(&row)))
    }

    /// Writes the row of an epoch that starts.
    pub fn write(&self, incarnation: &Incarnation) -> Result<()> {
        let table = Table::open("epochs", &EPOCH_COLUMNS, lock::ROW_EXCLUSIVE)?;
        let origin = Varlena::text(self.origin.as_bytes());
        let incarnation = Varlena::text(incarnation.to_string().as_bytes());
        let mut rows = Rows::of(&table);
        rows.append(&[
            Field::Int4(self.epoch),
            Field::Varlena(origin.bytes()),
            Field::Varlena(incarnation.bytes()),
            Field::Int8(self.started_at),
            self.event_id.map_or(Field::Null, Field::Int8),
        ]);
        rows.finish();
        Ok(())
    }
}

const CHECKPOINT_COLUMNS: [Expected; 8] = [
    column("epoch", INT4OID),
    column("tree_size", INT8OID),
    column("sealed_at", TIMESTAMPTZOID),
    column("next_xid", XID8OID),
    column("last_event_id", INT8OID),
    column("root", BYTEAOID),
    column("chain", BYTEAOID),
    column("snapshot", pg_sys::PG_SNAPSHOTOID),
];

/// A row of `audit.checkpoints`.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub epoch: i32,
    pub tree_size: u64,
    /// Microseconds since 2000-01-01.
    pub sealed_at: i64,
    /// What may still be unsealed.
    pub horizon: Horizon,
    pub root: Hash,
    pub chain: Hash,
}

/// Up to where events had been sealed at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// No higher event id had been handed out.
    pub last_event_id: i64,
    /// Read after `last_event_id`: transactions from this one on have only higher event ids.
    pub next_xid: u64,
    /// The events of all ended transactions are sealed.
    pub ended: XidSet,
}

impl Checkpoint {
    fn read(row: &Fields<'_>) -> Self {
        let hash = |number| {
            row.bytes(number)
                .and_then(|bytes| Hash::try_from(bytes).ok())
                .unwrap_or_default()
        };
        let (xmin, xmax, in_progress) = row.snapshot(7).unwrap_or_default();
        Self {
            epoch: row.int4(0).unwrap_or_default(),
            tree_size: row.int8(1).unwrap_or_default().cast_unsigned(),
            sealed_at: row.int8(2).unwrap_or_default(),
            horizon: Horizon {
                last_event_id: row.int8(4).unwrap_or_default(),
                next_xid: row.int8(3).unwrap_or_default().cast_unsigned(),
                ended: XidSet {
                    xmin,
                    xmax,
                    in_progress,
                },
            },
            root: hash(5),
            chain: hash(6),
        }
    }

    /// Whether a tree can have this size; `bigint` has others.
    pub fn is_of_a_tree(&self) -> bool {
        (1..=i64::MAX.cast_unsigned()).contains(&self.tree_size)
    }

    pub fn text(&self, origin: &str) -> Result<Text> {
        Ok(Text::new(origin, self.tree_size, self.root)?)
    }

    /// The checkpoint's text, without signatures (C2SP tlog-checkpoint).
    pub fn body(&self, origin: &str) -> Result<String> {
        Ok(self.text(origin)?.to_string())
    }

    /// What its chain must be, after the checkpoint with this one.
    pub fn chain_after(&self, previous: &Hash, origin: &str) -> Result<Hash> {
        let Horizon {
            last_event_id,
            next_xid,
            ended,
        } = &self.horizon;
        let horizon = horizon(*last_event_id, *next_xid, &ended.to_string());
        let text = self.text(origin)?;
        Ok(text.chain(previous, unix_micros(self.sealed_at), &horizon))
    }
}

/// `audit.checkpoints`, open.
pub struct Checkpoints(Table);

impl Checkpoints {
    /// For reading.
    pub fn open() -> Result<Self> {
        Self::open_with(lock::ACCESS_SHARE)
    }

    /// For the one sealer: waits for another one to commit. Neither readers nor a restore wait for it.
    pub fn open_to_seal() -> Result<Self> {
        Self::open_with(lock::SHARE_UPDATE_EXCLUSIVE)
    }

    fn open_with(lock: pg_sys::LOCKMODE) -> Result<Self> {
        Table::open("checkpoints", &CHECKPOINT_COLUMNS, lock).map(Self)
    }

    /// The last one, of all epochs or of one.
    pub fn last(&self, snapshot: &Snapshot, epoch: Option<i32>) -> Option<Checkpoint> {
        let of_epoch: Vec<_> = epoch.map(Condition::Int4Is).into_iter().collect();
        let mut scan = self.0.scan(snapshot, &of_epoch, Order::Descending);
        scan.next(|row| Checkpoint::read(&row))
    }

    /// An epoch's first one.
    pub fn first(&self, snapshot: &Snapshot, epoch: i32) -> Option<Checkpoint> {
        let mut scan = self
            .0
            .scan(snapshot, &[Condition::Int4Is(epoch)], Order::Ascending);
        scan.next(|row| Checkpoint::read(&row))
    }

    /// The one of this size.
    pub fn find(&self, snapshot: &Snapshot, epoch: i32, tree_size: u64) -> Option<Checkpoint> {
        let is = [
            Condition::Int4Is(epoch),
            Condition::Int8Is(tree_size.cast_signed()),
        ];
        let mut scan = self.0.scan(snapshot, &is, Order::Ascending);
        scan.next(|row| Checkpoint::read(&row))
    }

    /// Calls `f` with all of them in order, while it says so.
    pub fn each(
        &self,
        snapshot: &Snapshot,
        mut f: impl FnMut(Checkpoint) -> Result<()>,
    ) -> Result<()> {
        let mut scan = self.0.scan(snapshot, &[], Order::Ascending);
        while let Some(checkpoint) = scan.next(|row| Checkpoint::read(&row)) {
            f(checkpoint)?;
        }
        Ok(())
    }

    /// The id above which all events stand that have become due since a horizon of this epoch, and whether some may be of
    /// transactions that were unfinished then.
    pub fn floor(
        &self,
        snapshot: &Snapshot,
        epoch: i32,
        since: &Horizon,
        now: &XidSet,
    ) -> (i64, bool) {
        match since.ended.ended_since(now, since.next_xid).next() {
            Some(xid) => {
                let marked = mark::floor_of(xid);
                (
                    marked.unwrap_or_else(|| self.floor_of(snapshot, epoch, xid)),
                    true,
                )
            }
            None => (since.last_event_id, false),
        }
    }

    /// The id above which all events of a transaction stand: of the epoch's last checkpoint that this transaction began after.
    pub fn floor_of(&self, snapshot: &Snapshot, epoch: i32, xid: u64) -> i64 {
        let of_epoch = [Condition::Int4Is(epoch)];
        let mut scan = self.0.scan(snapshot, &of_epoch, Order::Descending);
        while let Some(checkpoint) = scan.next(|row| Checkpoint::read(&row)) {
            if checkpoint.horizon.next_xid <= xid {
                return checkpoint.horizon.last_event_id;
            }
        }
        i64::MIN
    }

    /// Appends one.
    pub fn write(&self, checkpoint: &Checkpoint) {
        let Horizon {
            last_event_id,
            next_xid,
            ended,
        } = &checkpoint.horizon;
        let root = bytea(&checkpoint.root);
        let chain = bytea(&checkpoint.chain);
        let snapshot = snapshot_value(ended.xmin, ended.xmax, &ended.in_progress);
        let mut rows = Rows::of(&self.0);
        rows.append(&[
            Field::Int4(checkpoint.epoch),
            Field::Int8(checkpoint.tree_size.cast_signed()),
            Field::Int8(checkpoint.sealed_at),
            Field::Int8(next_xid.cast_signed()),
            Field::Int8(*last_event_id),
            Field::Varlena(root.bytes()),
            Field::Varlena(chain.bytes()),
            Field::Varlena8(snapshot.bytes()),
        ]);
        rows.finish();
    }
}
