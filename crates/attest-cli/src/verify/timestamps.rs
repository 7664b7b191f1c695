//! RFC 3161 timestamps, each against the checkpoint that it stands beside.
//!
//! A timestamp dates a checkpoint. One that does not fit says nothing of the leaves: no leaf is blamed for it.

use super::report::{Check, Finding, Report, Stamped};
use crate::source::{Line, Source};
use crate::timestamp;
use anyhow::Result;
use attest_log::Hash;
use attest_log::checkpoint::Checkpoint;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;

/// What an epoch's timestamps are.
#[derive(Default)]
pub struct Stamps {
    /// Those of the checkpoints that they stand beside; with authorities, signed by one of them.
    pub fit: u64,
    /// Of them, those whose signatures were not verified.
    pub unsigned: u64,
    /// The newest checkpoint that an authority dated.
    pub newest: Option<Stamped>,
}

/// Checks all timestamps of an epoch: what each is of and, with authorities, who says so.
pub fn check(
    source: &mut impl Source,
    epoch: u32,
    head: &Checkpoint,
    authorities: &[CertificateDer<'_>],
    report: &mut Report,
) -> Result<Stamps> {
    let all = source.timestamps(epoch)?;
    let mut stamps = Stamps::default();
    if all.is_empty() {
        return Ok(stamps);
    }
    let mut roots: HashMap<u64, Option<Hash>> = all
        .iter()
        .filter_map(|stamp| Some((stamp.tree_size?, None)))
        .collect();
    for line in source.checkpoints(epoch)? {
        // Lines that are no checkpoints are found where the chain is.
        if let Line::Checkpoint(sealed) = line?
            && let Some(root) = roots.get_mut(&sealed.tree_size)
        {
            *root = Some(sealed.root);
        }
    }
    for stamp in all {
        let mut bad = |why: String| {
            let of = stamp.tree_size.map_or(String::new(), |size| {
                format!(" of the checkpoint of tree size {size}")
            });
            report.add(Finding {
                check: Check::BadSignature,
                epoch,
                event_id: None,
                leaf_index: None,
                detail: format!("timestamp {}{of}: {why}", stamp.name),
            });
        };
        let Some(size) = stamp.tree_size else {
            bad("its name does not say which checkpoint it is of".to_owned());
            continue;
        };
        let Some(root) = roots.get(&size).copied().flatten() else {
            bad("there is no such checkpoint".to_owned());
            continue;
        };
        let text = match Checkpoint::new(head.origin(), size, root) {
            Ok(checkpoint) => checkpoint.to_string(),
            Err(error) => {
                bad(error.to_string());
                continue;
            }
        };
        let answer = source.answer(epoch, &stamp)?;
        let read = if authorities.is_empty() {
            timestamp::fits(&answer, &text).map(|()| None)
        } else {
            timestamp::verify(&answer, &text, None, authorities).map(Some)
        };
        match read {
            Ok(said) => {
                stamps.fit += 1;
                stamps.unsigned += u64::from(said.is_none());
                let dated = said.map(|said| Stamped {
                    tree_size: size,
                    time: said.time,
                });
                // Of several of one checkpoint, the earliest says most.
                let better = |dated: &Stamped| {
                    stamps.newest.as_ref().is_none_or(|known| {
                        (known.tree_size, dated.time) < (dated.tree_size, known.time)
                    })
                };
                if let Some(dated) = dated.filter(better) {
                    stamps.newest = Some(dated);
                }
            }
            Err(error) => bad(format!("{error:#}")),
        }
    }
    Ok(stamps)
}
