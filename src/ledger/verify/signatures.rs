//! Signatures of checkpoints: those of trusted keys hold, and none that is due is missing.
//!
//! A key of the log signs each checkpoint from its first one on. Who removes signatures can pass for a time before the key, so the
//! newest checkpoint has to be signed in any case, and with it, by the chain and the tree, all before it. A witness cosigns when it
//! comes by: of its keys, one checkpoint at least.

use super::chain::finding;
use super::report::{Check, Report};
use crate::error::Result;
use crate::ledger::checkpoint::{Checkpoint, Epoch};
use crate::ledger::signing::{self, Signatures};
use crate::pg::snapshot::Snapshot;
use attest_log::note::{KeyKind, VerifierKey};

/// An epoch's checkpoints, as far as they are of trees, in order.
pub type OfEpoch<'a> = (&'a Epoch, &'a [Checkpoint]);

/// Verifies the signatures of all epochs.
pub fn check(snapshot: &Snapshot, epochs: &[OfEpoch<'_>], report: &mut Report) -> Result<()> {
    let trusted = signing::trusted_keys()?;
    let mut cosigned = false;
    let mut signed: Vec<Vec<bool>> = Vec::new();
    for (epoch, checkpoints) in epochs {
        let mut by_log = vec![false; checkpoints.len()];
        Signatures::open()?.each(snapshot, epoch.epoch, |tree_size, line| {
            report.signatures += 1;
            let position = checkpoints.binary_search_by_key(&tree_size, |known| known.tree_size);
            let result = match position {
                Err(_) => Err("there is no checkpoint of this size".to_owned()),
                Ok(at) => signing::check(&checkpoints[at], &epoch.origin, line, &trusted)
                    .map(|key| key.map(|key| (at, key.kind()))),
            };
            match result {
                Ok(None) => {}
                Ok(Some((at, KeyKind::Ed25519))) => by_log[at] = true,
                Ok(Some((_, KeyKind::Cosignature))) => cosigned = true,
                Err(wrong) => {
                    let detail =
                        format!("signature of the checkpoint of tree size {tree_size}: {wrong}");
                    let leaf = Some(tree_size.saturating_sub(1));
                    report.add(finding(Check::BadSignature, epoch.epoch, leaf, detail));
                }
            }
        });
        signed.push(by_log);
    }
    let has = |kind| trusted.iter().any(|key: &VerifierKey| key.kind() == kind);
    if has(KeyKind::Ed25519) {
        check_gaps(epochs, &signed, report);
    }
    if has(KeyKind::Cosignature)
        && !cosigned
        && let Some((epoch, _)) = epochs.last()
    {
        let detail =
            "no checkpoint is cosigned by a witness whose key is in audit.trusted_keys".to_owned();
        report.add(finding(Check::BadSignature, epoch.epoch, None, detail));
    }
    Ok(())
}

/// Checkpoints without a signature behind the first one that has one, a finding for each row of them; and the newest one.
fn check_gaps(epochs: &[OfEpoch<'_>], signed: &[Vec<bool>], report: &mut Report) {
    let mut begun = false;
    let newest = epochs
        .iter()
        .rposition(|(_, checkpoints)| !checkpoints.is_empty());
    for (number, ((epoch, checkpoints), signed)) in epochs.iter().zip(signed).enumerate() {
        let mut gap: Option<(u64, u64)> = None;
        let mut tell = |gap: Option<(u64, u64)>| {
            if let Some((from, to)) = gap {
                let which = if from == to {
                    format!("the checkpoint of tree size {from} has")
                } else {
                    format!("the checkpoints of tree sizes {from} to {to} have")
                };
                let detail = format!("{which} no signature of a key in audit.trusted_keys");
                let leaf = Some(from.saturating_sub(1));
                report.add(finding(Check::BadSignature, epoch.epoch, leaf, detail));
            }
        };
        for (position, (checkpoint, is_signed)) in checkpoints.iter().zip(signed).enumerate() {
            begun |= is_signed;
            let is_newest = newest == Some(number) && position + 1 == checkpoints.len();
            if *is_signed {
                tell(gap.take());
            } else if begun || is_newest {
                let size = checkpoint.tree_size;
                gap = Some((gap.map_or(size, |gap| gap.0), size));
            }
        }
        tell(gap);
    }
}
