//! A seal: the events committed since the last one get their places in the tree, and a checkpoint is written.
//!
//! Invariant: an event is in the tree exactly once. An event is due when its transaction has ended for this seal's snapshot and
//! had not for the last one's; long transactions hold nothing up.
//!
//! How due events are found with the primary keys alone: a seal reads B, the highest event id handed out, and *then* N, the next
//! transaction id. Ids are handed out in blocks, a block is taken after its transaction has an id, and never outlives it: so all
//! transactions from N on have only ids above B. What is due is above the last seal's B, but for the transactions that it
//! found unfinished. Of these, those that have ended since are looked for above the B of the last seal, or mark, before they began.

use super::checkpoint::{Checkpoint, Checkpoints, Epoch, Horizon};
use super::epoch;
use super::events::{Events, HIGHEST_ID};
use super::grow::{Grower, NewLeaf};
use super::incarnation::Incarnation;
use super::leaf::{LeafMaker, at};
use super::mark;
use super::order::{Due, Sorter};
use super::sealed::{self, Leaves};
use super::signing;
use super::tree::Tree;
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::cell::Backend;
use crate::pg::role::{self, ActAsSuperuser};
use crate::pg::snapshot::Snapshot;
use crate::pg::{catalog, sequence};
use crate::pg::{incarnation, xact};
use attest_log::Hash;
use pgrx::prelude::*;
use std::cell::RefCell;

/// How many event ids are looked at together where leaves are looked for.
const IDS_PER_RANGE: i64 = 1 << 16;

/// Passes that found nothing write nothing. What they know is kept here, for the checkpoint with this chain: until it is the last
/// one no more, they need not look again.
struct Searched {
    sequence: Option<pg_sys::Oid>,
    chain: Hash,
    horizon: Horizon,
}

static SEARCHED: Backend<RefCell<Option<Searched>>> = Backend::refcell(None);

/// `audit.seal()`.
#[pg_extern(sql = false)]
fn seal() -> i64 {
    or_raise(ends_soon());
    let _superuser = ActAsSuperuser::new();
    match or_raise(pass()) {
        Pass::Sealed(events) => events.cast_signed(),
        Pass::NotNow(why) => why.raise(),
    }
}

/// All other seals wait for the end of the transaction. A superuser may do what he likes.
fn ends_soon() -> Result<()> {
    if role::is_superuser() || !xact::in_block() {
        return Ok(());
    }
    Err(AttestError::new(
        SqlState::ERRCODE_ACTIVE_SQL_TRANSACTION,
        "audit.seal() cannot run inside a transaction block",
    )
    .detail("All other seals would have to wait until the transaction ends.")
    .hint("Send SELECT audit.seal() as a statement of its own, outside of BEGIN … COMMIT."))
}

/// Seals what is due, where nothing keeps that off. Superuser.
pub fn now() -> Result<()> {
    pass().map(drop)
}

/// The same for the worker, which comes again; whether anything was sealed.
pub fn pass_in_worker() -> Result<bool> {
    Ok(matches!(pass()?, Pass::Sealed(1..)))
}

/// What became of a pass.
enum Pass {
    /// So many events.
    Sealed(u64),
    /// The log is being restored: as long as the events are there but the checkpoints or indexes are not, nothing can be sealed.
    NotNow(AttestError),
}

/// Seals what is due. Superuser.
fn pass() -> Result<Pass> {
    if incarnation::in_recovery() {
        return Err(AttestError::new(
            SqlState::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "cannot seal the log on a standby",
        )
        .hint("Seal on the primary; the standby follows."));
    }
    xact::prevent_if_read_only(c"audit.seal()");
    if is_idle() {
        return Ok(Pass::Sealed(0));
    }
    // What an earlier seal of this transaction wrote.
    xact::command_counter_increment();
    let checkpoints = Checkpoints::open_to_seal()?;
    if !epoch::no_restore_runs() {
        return Ok(Pass::NotNow(
            AttestError::new(
                SqlState::ERRCODE_OBJECT_IN_USE,
                "cannot seal the log while it is being restored",
            )
            .detail("A session that wrote to it with audit.restore = on is still open.")
            .hint("Seal once all such sessions have ended."),
        ));
    }
    let events = match Events::open() {
        Ok(events) => events,
        Err(unfinished) => return Ok(Pass::NotNow(unfinished)),
    };
    // In this order: see above.
    let (last_event_id, next_xid) = mark::set();
    let committed = Snapshot::committed();
    let horizon = Horizon {
        last_event_id,
        next_xid,
        ended: committed.ended().clone(),
    };
    let snapshot = Snapshot::latest();
    let last = checkpoints.last(&snapshot, None);
    let current = Incarnation::current(&snapshot)?.ok_or_else(no_incarnation)?;
    let known = match &last {
        Some(last) => Epoch::find(&snapshot, last.epoch)?,
        None => None,
    };
    let sealer = Sealer {
        checkpoints,
        events,
        committed,
        snapshot,
        horizon,
    };
    let count = match (last, known) {
        (Some(last), Some(epoch)) if epoch.incarnation == Some(current) => {
            sealer.go_on(&last, &epoch)
        }
        (last, known) => sealer.begin(&current, last.as_ref(), known.as_ref()),
    };
    count.map(Pass::Sealed)
}

/// What a pass works with.
struct Sealer {
    checkpoints: Checkpoints,
    events: Events,
    /// Sees events: of ended transactions alone.
    committed: Snapshot,
    /// Sees the log's own tables.
    snapshot: Snapshot,
    horizon: Horizon,
}

impl Sealer {
    /// Seals what has come since the last checkpoint.
    fn go_on(&self, last: &Checkpoint, epoch: &Epoch) -> Result<u64> {
        let searched = SEARCHED.take().filter(|known| known.chain == last.chain);
        let since = searched.map_or_else(|| last.horizon.clone(), |known| known.horizon);
        let due = self.due(epoch, &since)?;
        if due.len() == 0 {
            // A transaction that wrote something may have written that checkpoint, and may be rolled back.
            if !xact::has_id() {
                SEARCHED.replace(Some(Searched {
                    sequence: sequence(),
                    chain: last.chain,
                    horizon: self.horizon.clone(),
                }));
            }
            return Ok(0);
        }
        self.append(Some(last), epoch, last.tree_size, None, due)
    }

    /// The events of transactions that have ended since.
    fn due(&self, epoch: &Epoch, since: &Horizon) -> Result<Sorter> {
        let now = &self.horizon;
        let (from, stragglers) =
            self.checkpoints
                .floor(&self.snapshot, epoch.epoch, since, &now.ended);
        if !stragglers && now.last_event_id == since.last_event_id {
            return Ok(Sorter::default());
        }
        let mut leaves = LeafMaker::new();
        let mut due = Sorter::default();
        let restored_to = if stragglers {
            self.restored_to(epoch)
        } else {
            i64::MIN
        };
        self.events
            .each(&self.committed, from.saturating_add(1), HIGHEST_ID, |row| {
                let xact_id = row.int8(at::XACT_ID).unwrap_or_default().cast_unsigned();
                if since.ended.has_ended(xact_id) || !now.ended.has_ended(xact_id) {
                    return Ok(());
                }
                let event_id = row.int8(at::EVENT_ID).unwrap_or_default();
                // A restored event may have the transaction id of a straggler.
                let is_known = epoch.event_id == Some(event_id)
                    || (event_id <= restored_to
                        && !sealed::find(&self.snapshot, event_id)?.is_empty());
                if !is_known {
                    due.push(Due {
                        xact_id,
                        statement_id: row.int4(at::STATEMENT_ID).unwrap_or_default(),
                        leaf: NewLeaf {
                            event_id,
                            hash: leaves.leaf(row).data.hash(),
                        },
                    });
                }
                Ok(())
            })?;
        Ok(due)
    }

    /// Up to which id there may be events that came with a restore: those of the epoch's beginning.
    fn restored_to(&self, epoch: &Epoch) -> i64 {
        let first = self.checkpoints.first(&self.snapshot, epoch.epoch);
        first.map_or(i64::MAX, |first| first.horizon.last_event_id)
    }

    /// Starts an epoch. Its first leaf is an event that carries the last checkpoint of the one before.
    fn begin(
        &self,
        current: &Incarnation,
        last: Option<&Checkpoint>,
        before: Option<&Epoch>,
    ) -> Result<u64> {
        // Where only the timeline is new, transaction ids go on, and with them the rule of snapshots.
        let continued = last.zip(before).filter(|(_, before)| {
            before
                .incarnation
                .is_some_and(|known| current.continues(&known))
        });
        let due = match continued {
            Some((last, before)) => self.due(before, &last.horizon)?,
            None => self.never_sealed(last.is_some())?,
        };
        if due.len() == 0 && last.is_none() {
            // Nothing yet: no event, no epoch.
            return Ok(0);
        }
        let started = epoch::start(current, last, before)?;
        let first = started.event_id.map(Self::first_leaf).transpose()?;
        self.append(last, &started, 0, first, due)
    }

    /// The events that stand in no tree. In a restored log their transaction ids are two clusters': there they stand in the order
    /// in which their own ids were handed out, which restores carry on.
    fn never_sealed(&self, restored: bool) -> Result<Sorter> {
        let mut leaves = LeafMaker::new();
        let mut due = Sorter::default();
        let mut from = i64::MIN;
        // From one event to the next: a forged one may have an id far from all others.
        while let Some(first) = self.events.next_id(&self.committed, from, HIGHEST_ID) {
            let last = first.saturating_add(IDS_PER_RANGE - 1).min(HIGHEST_ID);
            let known = Leaves::of_range(&self.snapshot, first, last)?;
            self.events.each(&self.committed, first, last, |row| {
                let event_id = row.int8(at::EVENT_ID).unwrap_or_default();
                if !known.contains(event_id) {
                    due.push(Due {
                        xact_id: row
                            .int8(at::XACT_ID)
                            .filter(|_| !restored)
                            .unwrap_or_default()
                            .cast_unsigned(),
                        statement_id: row
                            .int4(at::STATEMENT_ID)
                            .filter(|_| !restored)
                            .unwrap_or_default(),
                        leaf: NewLeaf {
                            event_id,
                            hash: leaves.leaf(row).data.hash(),
                        },
                    });
                }
                Ok(())
            })?;
            from = last + 1;
        }
        Ok(due)
    }

    /// The event that starts the epoch, as it was written a moment ago.
    fn first_leaf(event_id: i64) -> Result<NewLeaf> {
        xact::command_counter_increment();
        let snapshot = Snapshot::latest();
        let events = Events::open()?;
        let leaf = events.find(&snapshot, event_id, |row| {
            LeafMaker::new().leaf(row).data.hash()
        });
        let hash = leaf.ok_or_else(|| {
            AttestError::new(
                SqlState::ERRCODE_DATA_CORRUPTED,
                format!("event {event_id}, which starts an epoch, is gone"),
            )
        })?;
        Ok(NewLeaf { event_id, hash })
    }

    /// Gives the events their places, and writes the checkpoint.
    fn append(
        &self,
        last: Option<&Checkpoint>,
        epoch: &Epoch,
        size: u64,
        first: Option<NewLeaf>,
        due: Sorter,
    ) -> Result<u64> {
        // A checkpoint that others saw must survive a crash: what is sealed anew after it may get another order.
        xact::commit_durably();
        let mut tree = Tree::open_to_seal(epoch.epoch, &self.snapshot)?;
        let mut grower = Grower::resume(&mut tree, size)?;
        let due = due.into_sorted().map(|due| due.leaf);
        grower.append(&tree, first.into_iter().chain(due));
        let mut checkpoint = Checkpoint {
            epoch: epoch.epoch,
            tree_size: grower.size(),
            sealed_at: xact::wall_clock(),
            horizon: self.horizon.clone(),
            root: grower.root(),
            chain: [0; 32],
        };
        let previous = last.map_or([0; 32], |last| last.chain);
        checkpoint.chain = checkpoint.chain_after(&previous, &epoch.origin)?;
        self.checkpoints.write(&checkpoint);
        signing::sign(&checkpoint, &epoch.origin)?;
        Ok(checkpoint.tree_size - size)
    }
}

/// The sequence that hands them out.
pub fn sequence() -> Option<pg_sys::Oid> {
    catalog::audit_relation("audit_events_event_id_seq")
}

/// The highest event id handed out; 0 without one.
pub fn last_event_id() -> i64 {
    sequence().map_or(0, sequence::last_handed_out)
}

/// Whether nothing can have come since the last pass that found nothing. Takes no lock.
fn is_idle() -> bool {
    let searched = SEARCHED.borrow();
    let Some(known) = searched
        .as_ref()
        .filter(|known| known.sequence == sequence())
    else {
        return false;
    };
    let since = &known.horizon;
    if last_event_id() != since.last_event_id {
        return false;
    }
    let now = Snapshot::latest();
    let mut ended = since.ended.ended_since(now.ended(), since.next_xid);
    ended.next().is_none()
}

fn no_incarnation() -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        "cannot seal the log while the server recovers",
    )
}
