//! Which rows must have a leaf, by what the last seal had seen.

use super::checkpoints::goes_on;
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Epoch};
use crate::ledger::events::is_event_id;
use crate::ledger::incarnation::Incarnation;
use crate::pg::snapshot::{Snapshot, XidSet, next_xid};
use serde::{Deserialize, Serialize};

/// Which rows must have a leaf.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Expected {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
    /// In another incarnation, the ids that were handed out before it; transaction ids say nothing of later ones.
    up_to: Option<i64>,
    /// The next transaction id, where ids are still those of the last seal.
    next_xid: Option<u64>,
}

impl Expected {
    /// Why an event without a leaf is forged; None of one that is not sealed yet.
    pub fn why_forged(&self, event_id: i64, xact_id: u64) -> Option<&'static str> {
        let sealed = XidSet {
            xmin: self.xmin,
            xmax: self.xmax,
            in_progress: Vec::new(),
        };
        let was_sealed = sealed.has_ended(xact_id)
            && self.in_progress.binary_search(&xact_id).is_err()
            && self.up_to.is_none_or(|up_to| event_id <= up_to);
        if !is_event_id(event_id) {
            Some("its id is one that no event gets")
        } else if was_sealed {
            Some(
                "it stands in no tree, although its transaction had ended when the last seal was made",
            )
        } else if self.next_xid.is_some_and(|next| xact_id >= next) {
            Some("its transaction id has not been given to any transaction yet")
        } else {
            None
        }
    }

    /// As the last checkpoint says.
    pub fn of(snapshot: &Snapshot, epochs: &[Epoch], last: Option<&Checkpoint>) -> Result<Self> {
        let Some((last, epoch)) = last.zip(epochs.last()) else {
            return Ok(Self::default());
        };
        // A standby is the incarnation that its primary is.
        let current = Incarnation::current(snapshot)?;
        let goes_on = goes_on(current.as_ref(), epoch);
        let ended = &last.horizon.ended;
        Ok(Self {
            xmin: ended.xmin,
            xmax: ended.xmax,
            in_progress: ended.in_progress.clone(),
            up_to: (!goes_on).then_some(last.horizon.last_event_id),
            next_xid: (goes_on && current.is_some()).then(next_xid),
        })
    }
}
