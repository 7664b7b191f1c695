//! The end of an epoch, as the first event of the next one names it: `docs/log-format.md`, section 7.

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::text;
use serde_json::{Value as Json, json};

/// An epoch's last checkpoint, with its place in the chain.
#[derive(Debug, Clone)]
pub struct EpochEnd {
    /// The epoch's number.
    pub epoch: u32,
    /// Its last checkpoint.
    pub checkpoint: Checkpoint,
    /// That checkpoint's chain.
    pub chain: Hash,
}

impl EpochEnd {
    /// What stands under `previous` in the context of the next epoch's first event.
    pub fn to_json(&self) -> Json {
        json!({
            "epoch": self.epoch,
            "origin": self.checkpoint.origin(),
            "tree_size": self.checkpoint.size(),
            "root": text::to_base64(self.checkpoint.root()),
            "chain": text::to_base64(&self.chain),
        })
    }

    /// Whether this event (its operation, action and the text of its context) names it.
    pub fn is_named_by(&self, operation: &[u8], action: Option<&[u8]>, context: &[u8]) -> bool {
        let said: Option<Json> = serde_json::from_slice(context).ok();
        operation == b"system"
            && action == Some(b"epoch")
            && said.is_some_and(|said| said["previous"] == self.to_json())
    }
}
