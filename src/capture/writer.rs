//! Events into the log: finds the partition, gives each event its id, time and salt, and appends.
//!
//! Invariant: a transaction writes one partition, for `occurred_at` is the transaction's start. The partition is looked up once per
//! transaction, and again when the relcache says that it changed while no rows wait (`pg::held` keeps it open and locked).

use super::context::Context;
use super::event::{self, COLUMNS, Event, EventKind, Stamp};
use super::event_id;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::cell::Backend;
use crate::pg::heap::Appender;
use crate::pg::held;
use crate::pg::index_plan::IndexPlans;
use crate::pg::relation::OpenRelation;
use crate::pg::relation::lock;
use crate::pg::{catalog, context_source, invalidation, partition, xact};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

const LOCK: pg_sys::LOCKMODE = lock::ROW_EXCLUSIVE;

/// What this backend knows of the log's tables.
struct Log {
    epoch: u64,
    parent: pg_sys::Oid,
    sequence: pg_sys::Oid,
    kinds: [pg_sys::Oid; EventKind::LABELS.len()],
    /// The partition of the transaction with this local id.
    current: Option<(u32, pg_sys::Oid)>,
    indexes: HashMap<pg_sys::Oid, Rc<IndexPlans>>,
}

static LOG: Backend<RefCell<Option<Log>>> = Backend::refcell(None);

impl Log {
    /// What is known, looked up where it is out of date; whoever takes it puts it back.
    fn take() -> Result<Self> {
        let known = LOG.take().filter(|log| log.epoch == invalidation::epoch());
        known.or_else(Self::look_up).ok_or_else(|| {
            AttestError::new(
                SqlState::ERRCODE_UNDEFINED_OBJECT,
                "the audit log is not there",
            )
            .detail("The schema audit lacks audit_events, its sequence or its types.")
            .hint(
                "Restore the database from a dump: the log's tables belong to the extension pg_attest.",
            )
        })
    }

    fn look_up() -> Option<Self> {
        let epoch = invalidation::epoch();
        let namespace = catalog::namespace_oid(c"audit")?;
        let parent = catalog::relation_oid(namespace, "audit_events")?;
        invalidation::watch(parent);
        let mut kinds = [pg_sys::InvalidOid; EventKind::LABELS.len()];
        for (kind, label) in kinds.iter_mut().zip(EventKind::LABELS) {
            *kind = catalog::enum_label_oid(namespace, c"operation", label)?;
        }
        let sequence = catalog::relation_oid(namespace, "audit_events_event_id_seq")?;
        Some(Self {
            epoch,
            parent,
            sequence,
            kinds,
            current: None,
            indexes: HashMap::new(),
        })
    }
}

/// The open log of a statement.
pub struct Writer<'a> {
    /// Where rows go when the statement ends; None where they wait for the transaction's end.
    own: Option<Appender>,
    context: &'a Context,
    kinds: [pg_sys::Oid; EventKind::LABELS.len()],
    sequence: pg_sys::Oid,
    command: u32,
    occurred_at: i64,
    captured_at: i64,
    xact_id: u64,
    written: u64,
}

impl<'a> Writer<'a> {
    /// Opens the partition of the running transaction.
    pub fn open(context: &'a Context) -> Result<Self> {
        let occurred_at = xact::transaction_start();
        let command = xact::command_id_for_write();
        let own = if held::may_wait() {
            if !held::is_open() {
                held::open(|| open_partition(occurred_at))?;
            }
            None
        } else {
            let (table, indexes) = open_partition(occurred_at)?;
            Some(Appender::new(table, indexes, command))
        };
        let log = Log::take()?;
        let (kinds, sequence) = (log.kinds, log.sequence);
        LOG.replace(Some(log));
        Ok(Self {
            own,
            context,
            kinds,
            sequence,
            command,
            occurred_at,
            captured_at: xact::wall_clock(),
            xact_id: xact::top_transaction_id(),
            written: 0,
        })
    }

    /// Adds an event; returns its id.
    pub fn append(&mut self, event: &Event<'_>) -> Result<i64> {
        let stamp = Stamp {
            event_id: event_id::next(self.sequence)?,
            occurred_at: self.occurred_at,
            captured_at: self.captured_at,
            xact_id: self.xact_id,
            operation: self.kinds[event.kind as usize],
            salt: &salt()?,
        };
        let fields = event::fields(event, &stamp, self.context);
        match &mut self.own {
            Some(appender) => appender.append(&fields),
            None => {
                // What waited was written meanwhile, if somebody looked at the log.
                while !held::append(self.command, &fields) {
                    held::open(|| open_partition(self.occurred_at))?;
                }
            }
        }
        self.written += 1;
        Ok(stamp.event_id)
    }

    /// The statement is complete; returns how many events it was in all.
    pub fn finish(self) -> u64 {
        match self.own {
            Some(appender) => appender.finish(),
            None => held::end_statement(),
        }
        self.written
    }
}

/// Writes one event; returns its id.
pub fn write_one(event: &Event<'_>, context: &Context) -> Result<i64> {
    let mut writer = Writer::open(context)?;
    let event_id = writer.append(event)?;
    writer.finish();
    Ok(event_id)
}

type Opened = (OpenRelation, Rc<IndexPlans>);

fn open_partition(occurred_at: i64) -> Result<Opened> {
    // Each further turn means that a partition was attached or detached between our look and our lock.
    for _ in 0..100 {
        if let Some(opened) = try_open_partition(occurred_at)? {
            return Ok(opened);
        }
    }
    Err(AttestError::new(
        SqlState::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the audit log's partitions keep changing",
    )
    .hint("Try again once the maintenance of audit.audit_events is done."))
}

fn try_open_partition(occurred_at: i64) -> Result<Option<Opened>> {
    let transaction = xact::local_transaction_id();
    let mut log = Log::take()?;
    let partition = match log.current {
        Some((known, partition)) if known == transaction => partition,
        _ => find_partition(&log, occurred_at)?,
    };
    log.current = Some((transaction, partition));
    let table = OpenRelation::try_table(partition, LOCK);
    // Taking the lock reads pending invalidations: what was looked up before may be gone.
    let Some(table) =
        table.filter(|table| log.epoch == invalidation::epoch() && table.relation().is_partition())
    else {
        return Ok(None);
    };
    let indexes = if let Some(plans) = log.indexes.get(&partition) {
        Rc::clone(plans)
    } else {
        check_columns(&table)?;
        // Before: opening the indexes may bring news of this partition.
        invalidation::watch(partition);
        let plans = Rc::new(IndexPlans::of(table.relation()));
        log.indexes.insert(partition, Rc::clone(&plans));
        plans
    };
    LOG.replace(Some(log));
    Ok(Some((table, indexes)))
}

fn find_partition(log: &Log, occurred_at: i64) -> Result<pg_sys::Oid> {
    let parent = OpenRelation::table(log.parent, LOCK);
    partition::for_timestamp(parent.relation(), occurred_at).ok_or_else(|| {
        AttestError::new(
            SqlState::ERRCODE_CHECK_VIOLATION,
            "audit.audit_events has no partition for now",
        )
        .detail("Its default partition is missing too.")
        .hint("Call SELECT audit.maintain() as an administrator.")
    })
}

/// The appender checks no types: the table must have the columns that `event::fields` fills.
fn check_columns(table: &OpenRelation) -> Result<()> {
    let found = table.relation().column_names();
    if found == COLUMNS {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_DATATYPE_MISMATCH,
        format!(
            "{} is not a partition that pg_attest made",
            table.relation().name()
        ),
    )
    .detail(format!("Its columns are {}.", found.join(", ")))
    .hint("Detach it, and let audit.maintain() make the partition."))
}

/// 16 random bytes for the payload commitment, from a pool: the system call costs more than an event's image.
fn salt() -> Result<[u8; 16]> {
    struct Pool {
        bytes: [u8; 4096],
        used: usize,
    }
    static POOL: Backend<RefCell<Pool>> = Backend::refcell(Pool {
        bytes: [0; 4096],
        used: 4096,
    });
    let mut pool = POOL.borrow_mut();
    if pool.used == pool.bytes.len() {
        if !context_source::random_bytes(&mut pool.bytes) {
            return Err(AttestError::new(
                SqlState::ERRCODE_INTERNAL_ERROR,
                "could not generate a random salt",
            )
            .hint("The system's random number generator failed; see the server's log."));
        }
        pool.used = 0;
    }
    let at = pool.used;
    pool.used += 16;
    let mut salt = [0; 16];
    salt.copy_from_slice(&pool.bytes[at..at + 16]);
    // A salt that stayed in memory could be guessed back later.
    pool.bytes[at..at + 16].fill(0);
    Ok(salt)
}
