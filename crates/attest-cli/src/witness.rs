//! `attest witness`: sees that a log only ever grows, and says so under its checkpoints (C2SP tlog-witness, tlog-cosignature).
//!
//! Invariant: a checkpoint is in the state file, on disk, before its cosignature leaves this program. So no two checkpoints that
//! do not continue each other are ever cosigned, whatever happens in between.

use crate::db::{Database, Newest, Target};
use crate::{Outcome, keys, layout, time};
use anyhow::{Context, Result, bail, ensure};
use attest_log::checkpoint::{Checkpoint, horizon};
use attest_log::note::{KeyKind, Note, SignerKey, VerifierKey};
use attest_log::{Hash, tree};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// A witness of one log.
pub struct Witness {
    target: Target,
    key: SignerKey,
    log_keys: Vec<VerifierKey>,
    state: PathBuf,
    /// Keeps a second witness off the same state.
    _lock: File,
}

/// What was seen last.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    epoch: u32,
    /// The checkpoint, with the signatures it had and the witness's own.
    note: String,
}

/// What one look at the log came to.
pub enum Look {
    NothingSealed,
    /// Seen and cosigned before.
    Unchanged {
        size: u64,
    },
    Cosigned {
        size: u64,
        line: String,
    },
    /// The log's own signature is not there, or does not hold.
    Unsigned(String),
    Forked(String),
}

impl Look {
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NothingSealed | Self::Unchanged { .. } | Self::Cosigned { .. } => Outcome::Good,
            Self::Unsigned(_) => Outcome::Findings,
            Self::Forked(_) => Outcome::Forked,
        }
    }
}

impl Witness {
    /// Opens the state; `init` is for the first time, when there must be none.
    pub fn open(
        target: Target,
        key_file: &Path,
        log_keys: Vec<VerifierKey>,
        state: &Path,
        init: bool,
    ) -> Result<Self> {
        let key = keys::signer(key_file)?;
        ensure!(
            key.kind() == KeyKind::Cosignature,
            "{} is not a witness's key; attest keygen --kind witness makes one",
            key_file.display()
        );
        match (state.exists(), init) {
            (false, false) => bail!(
                "{} is not there; --init begins with the log as it is now, which must happen once alone",
                state.display()
            ),
            (true, true) => bail!(
                "{} is there already; without --init the witness goes on",
                state.display()
            ),
            _ => {}
        }
        let mut lock = state.as_os_str().to_owned();
        lock.push(".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock);
        let lock = lock.with_context(|| format!("cannot lock {}", state.display()))?;
        if lock.try_lock().is_err() {
            bail!("another witness works with {}", state.display());
        }
        Ok(Self {
            target,
            key,
            log_keys,
            state: state.to_owned(),
            _lock: lock,
        })
    }

    /// Looks at the log once.
    pub fn look(&self) -> Result<Look> {
        let mut database = Database::open(self.target.clone())?;
        let state = self.state()?;
        let epochs = database.newest()?;
        let Some(newest) = epochs.last() else {
            return Ok(match state {
                None => Look::NothingSealed,
                Some((_, seen)) => {
                    Look::Forked(format!("the log is empty; it had {} leaves", seen.size()))
                }
            });
        };
        let size = newest.checkpoint.size();
        if let Some((epoch, seen)) = &state
            && let Some(why) = fork(&mut database, *epoch, seen, &epochs)?
        {
            return Ok(Look::Forked(why));
        }
        if !self.log_keys.is_empty()
            && let Err(error) = newest.note.verify(&self.log_keys)
        {
            return Ok(Look::Unsigned(format!(
                "the checkpoint of {size} leaves: {error}"
            )));
        }
        let own = [self.key.verifier()];
        if state.is_some_and(|(_, seen)| seen == newest.checkpoint)
            && newest.note.verify(&own).is_ok()
        {
            return Ok(Look::Unchanged { size });
        }
        let signature = self.key.sign(newest.note.text(), time::now());
        let line = signature.to_string();
        let mut note = newest.note.clone();
        note.add(signature);
        self.keep(&State {
            epoch: newest.epoch,
            note: note.to_string(),
        })?;
        let mut client = self.target.connect()?;
        client
            .execute(
                "SELECT audit.add_signature($1, $2, $3)",
                &[&size.cast_signed(), &line, &newest.epoch.cast_signed()],
            )
            .context("the cosignature could not be stored")?;
        Ok(Look::Cosigned { size, line })
    }

    fn state(&self) -> Result<Option<(u32, Checkpoint)>> {
        let text = match std::fs::read_to_string(&self.state) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", self.state.display()))?,
        };
        let read = || -> Result<_> {
            let state: State = serde_json::from_str(&text)?;
            Ok(Some((
                state.epoch,
                Note::parse(&state.note)?.text().parse()?,
            )))
        };
        read().with_context(|| format!("{} is damaged", self.state.display()))
    }

    fn keep(&self, state: &State) -> Result<()> {
        let path = match self.state.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => self.state.clone(),
            _ => Path::new(".").join(&self.state),
        };
        layout::replace(&path, serde_json::to_string_pretty(state)?.as_bytes())
    }
}

/// Why the log is not a continuation of what was seen; None if it is.
fn fork(
    database: &mut Database,
    epoch: u32,
    seen: &Checkpoint,
    epochs: &[Newest],
) -> Result<Option<String>> {
    let now = epochs.iter().find(|newest| newest.epoch == epoch);
    let Some(now) = now.filter(|now| now.checkpoint.origin() == seen.origin()) else {
        return Ok(Some(format!(
            "the log has no longer a tree of origin {}",
            seen.origin()
        )));
    };
    let (old, new) = (seen.size(), now.checkpoint.size());
    if old > new {
        return Ok(Some(format!(
            "rolled back: epoch {epoch} had {old} leaves, and has {new}"
        )));
    }
    let proof = match proof(database, epoch, old, new)? {
        Ok(proof) => proof,
        Err(why) => {
            return Ok(Some(format!(
                "the log cannot prove that it continues what it was: {why}"
            )));
        }
    };
    if let Err(error) =
        tree::verify_consistency(old, seen.root(), new, now.checkpoint.root(), &proof)
    {
        return Ok(Some(format!(
            "the {new} leaves of epoch {epoch} do not continue the {old} that were seen: {error}"
        )));
    }
    // That each later epoch goes on with the chain of the one before. That its first event says so, attest verify looks at.
    for pair in epochs.windows(2).filter(|pair| pair[0].epoch >= epoch) {
        if let [before, after] = pair
            && !linked(database, before, after)?
        {
            return Ok(Some(format!(
                "epoch {} does not go on with the chain of epoch {}",
                after.epoch, before.epoch
            )));
        }
    }
    Ok(None)
}

fn proof(
    database: &mut Database,
    epoch: u32,
    old: u64,
    new: u64,
) -> Result<Result<Vec<Hash>, String>> {
    if old == new {
        return Ok(Ok(Vec::new()));
    }
    let sizes = (old.cast_signed(), new.cast_signed(), epoch.cast_signed());
    let asked = database.client().query_one(
        "SELECT audit.consistency_proof($1, $2, $3)",
        &[&sizes.0, &sizes.1, &sizes.2],
    );
    let hashes: Vec<Vec<u8>> = match asked {
        Ok(row) => row.get(0),
        // Corrupt data, a checkpoint that is gone: the server's answer. Anything else is a failure to ask.
        Err(error)
            if error.code().is_some_and(|code| {
                ["XX", "22", "55"]
                    .iter()
                    .any(|class| code.code().starts_with(class))
            }) =>
        {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error).context("no consistency proof"),
    };
    let hashes = hashes
        .into_iter()
        .map(Hash::try_from)
        .collect::<Result<_, _>>();
    Ok(hashes.map_err(|_| "it sends something that is no hash".to_owned()))
}

/// Whether the first checkpoint of an epoch continues the chain of the epoch before.
fn linked(database: &mut Database, before: &Newest, after: &Newest) -> Result<bool> {
    let row = database.client().query_opt(
        "SELECT c.tree_size, (extract(epoch FROM c.sealed_at) * 1000000)::bigint, c.root, c.chain, p.chain,
                c.last_event_id, c.next_xid::pg_catalog.text, c.snapshot::pg_catalog.text
         FROM (SELECT * FROM audit.checkpoints WHERE epoch = $1 ORDER BY tree_size LIMIT 1) c,
              (SELECT * FROM audit.checkpoints WHERE epoch = $2 ORDER BY tree_size DESC LIMIT 1) p",
        &[&after.epoch.cast_signed(), &before.epoch.cast_signed()],
    )?;
    let linked = row.and_then(|row| {
        let hash = |column| Hash::try_from(row.get::<_, &[u8]>(column)).ok();
        let first = Checkpoint::new(
            after.checkpoint.origin(),
            row.get::<_, i64>(0).cast_unsigned(),
            hash(2)?,
        )
        .ok()?;
        let horizon = horizon(row.get(5), row.get::<_, &str>(6).parse().ok()?, row.get(7));
        Some(first.chain(&hash(4)?, row.get(1), &horizon) == hash(3)?)
    });
    Ok(linked.unwrap_or(false))
}
