//! Signature lines of checkpoints, against the trusted keys.

use super::report::Check;
use super::segment::{Claim, Done, Scope, finding};
use attest_log::note::{Note, Signature, VerifierKey};

/// Verifies them; lines of other keys mean nothing.
pub fn check_signatures(scope: &Scope<'_>, claims: &[Claim], done: &mut Done) {
    for claim in claims {
        let size = claim.checkpoint.size();
        let mut bad = |why: String| {
            let detail = format!("signature of the checkpoint of tree size {size}: {why}");
            let leaf = Some(size.saturating_sub(1));
            done.findings
                .push(finding(scope, Check::BadSignature, leaf, detail));
        };
        let signature: Signature = match claim.line.parse() {
            Ok(signature) => signature,
            Err(error) => {
                bad(attest_log::Error::to_string(&error));
                continue;
            }
        };
        let is =
            |key: &VerifierKey| key.name() == signature.name() && key.id() == signature.key_id();
        let Some(key) = scope.keys.iter().position(is) else {
            continue;
        };
        let note = Note::new(claim.checkpoint.to_string()).map(|mut note| {
            note.add(signature);
            note
        });
        match note.and_then(|note| {
            Ok(note
                .verify(&scope.keys[key..=key])?
                .first()
                .and_then(|v| v.time))
        }) {
            Ok(time) => done.signed.push((key, size, time)),
            Err(error) => bad(error.to_string()),
        }
    }
}
