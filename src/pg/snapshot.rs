//! Snapshots: which transactions have ended.

use super::{held, unwinding};
use pgrx::pg_sys;
use std::fmt;

/// The transactions that a snapshot sees, by their 64-bit ids.
///
/// Unlike SQL's `pg_current_snapshot()`, one's own transaction is among those in progress: what it writes later would else
/// count as seen.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct XidSet {
    /// All ids below it have ended.
    pub xmin: u64,
    /// No id from it on has ended.
    pub xmax: u64,
    /// The ids between that have not ended, ascending.
    pub in_progress: Vec<u64>,
}

impl XidSet {
    /// Whether the transaction had ended: committed or rolled back.
    pub fn has_ended(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.in_progress.binary_search(&xid).is_err())
    }

    /// The ids below `before` that had not ended here but have in `later`, ascending.
    pub fn ended_since<'a>(
        &'a self,
        later: &'a Self,
        before: u64,
    ) -> impl Iterator<Item = u64> + 'a {
        let in_progress = self.in_progress.iter().copied();
        in_progress
            .chain(self.xmax..before)
            .filter(move |xid| *xid < before && later.has_ended(*xid))
    }
}

/// As `PostgreSQL` prints a `pg_snapshot`.
impl fmt::Display for XidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (position, xid) in self.in_progress.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

/// A snapshot of what is committed now, registered and active until dropped.
pub struct Snapshot {
    raw: pg_sys::Snapshot,
    ended: XidSet,
}

impl Snapshot {
    /// What is committed now, whatever the transaction's isolation, and what the transaction's own commands wrote before.
    pub fn latest() -> Self {
        held::write();
        // SAFETY: inside a transaction.
        unsafe { Self::of(pg_sys::GetLatestSnapshot()) }
    }

    /// The one that is active: in a parallel worker the leader's.
    pub fn active() -> Self {
        // SAFETY: whoever reads has an active snapshot.
        unsafe { Self::of(pg_sys::GetActiveSnapshot()) }
    }

    /// # Safety
    /// `raw` is valid now.
    unsafe fn of(raw: pg_sys::Snapshot) -> Self {
        // SAFETY: registered, so that it stays as it is; active, for what the executor and detoasting ask of it.
        unsafe {
            let raw = pg_sys::RegisterSnapshot(raw);
            pg_sys::PushActiveSnapshot(raw);
            Self {
                raw,
                ended: xid_set(&*raw),
            }
        }
    }

    /// The same without what the running transaction wrote.
    pub fn committed() -> Self {
        let snapshot = Self::latest();
        // SAFETY: a registered snapshot is a copy of ours. Rows of command 0 on are in its future.
        unsafe { (*snapshot.raw).curcid = pg_sys::FirstCommandId };
        snapshot
    }

    /// The transactions that it sees.
    pub fn ended(&self) -> &XidSet {
        &self.ended
    }

    pub(in crate::pg) fn raw(&self) -> pg_sys::Snapshot {
        self.raw
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !unwinding() {
            // SAFETY: pushed and registered by us; snapshots nest.
            unsafe {
                pg_sys::PopActiveSnapshot();
                pg_sys::UnregisterSnapshot(self.raw);
            }
        }
    }
}

fn xid_set(snapshot: &pg_sys::SnapshotData) -> XidSet {
    let next = next_xid();
    // An id of a snapshot is below the next one, and less than 2^31 behind it.
    let widen = |xid: pg_sys::TransactionId| {
        let xid = u64::from(u32::from(xid));
        let full = (next & !0xffff_ffff) | xid;
        if full > next {
            full.saturating_sub(1 << 32)
        } else {
            full
        }
    };
    let listed = if snapshot.xcnt == 0 {
        &[]
    } else {
        // SAFETY: xip has xcnt entries; with none it may be NULL.
        unsafe { std::slice::from_raw_parts(snapshot.xip, snapshot.xcnt as usize) }
    };
    let mut in_progress: Vec<u64> = listed.iter().map(|xid| widen(*xid)).collect();
    let xmax = widen(snapshot.xmax);
    // SAFETY: plain read of transaction state.
    let own = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value;
    if own != 0 && own < xmax {
        in_progress.push(own);
    }
    in_progress.sort_unstable();
    in_progress.dedup();
    let xmin = in_progress.first().copied().unwrap_or(xmax);
    XidSet {
        xmin: xmin.min(widen(snapshot.xmin)),
        xmax,
        in_progress,
    }
}

/// The id that the next transaction to need one will get. On a standby: the next one after those it knows of.
pub fn next_xid() -> u64 {
    // SAFETY: no precondition.
    unsafe { pg_sys::ReadNextFullTransactionId().value }
}
