//! Signatures of checkpoints: the server's own, and those that others bring. C2SP signed-note, Ed25519.

use super::checkpoint::Checkpoint;
use super::proof::At;
use super::tables::{Rows, Table};
use crate::error::{AttestError, Result, SqlState, or_raise};
use crate::pg::columns::{Expected, bytea, column};
use crate::pg::context_source;
use crate::pg::datum::Varlena;
use crate::pg::index_scan::{Condition, Order};
use crate::pg::relation::lock;
use crate::pg::role;
use crate::pg::snapshot::Snapshot;
use crate::pg::tuple::Field;
use crate::pg::xact;
use crate::settings;
use attest_log::note::{Note, Signature, SignerKey, VerifierKey};
use pgrx::pg_sys::{BYTEAOID, INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID};
use pgrx::prelude::*;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const COLUMNS: [Expected; 5] = [
    column("epoch", INT4OID),
    column("tree_size", INT8OID),
    column("line", TEXTOID),
    column("added_at", TIMESTAMPTZOID),
    column("added_by", TEXTOID),
];

/// `audit.checkpoint_signatures`, open.
pub struct Signatures(Table);

impl Signatures {
    pub fn open() -> Result<Self> {
        Table::open("checkpoint_signatures", &COLUMNS, lock::ACCESS_SHARE).map(Self)
    }

    fn open_to_add() -> Result<Self> {
        Table::open("checkpoint_signatures", &COLUMNS, lock::ROW_EXCLUSIVE).map(Self)
    }

    /// Calls `f` with the tree size and the line of each signature of an epoch.
    pub fn each(&self, snapshot: &Snapshot, epoch: i32, f: impl FnMut(u64, &str)) {
        self.each_of(snapshot, &[Condition::Int4Is(epoch)], f);
    }

    /// The lines of a checkpoint.
    pub fn of(&self, snapshot: &Snapshot, checkpoint: &Checkpoint) -> Vec<String> {
        let is = [
            Condition::Int4Is(checkpoint.epoch),
            Condition::Int8Is(checkpoint.tree_size.cast_signed()),
        ];
        let mut lines = Vec::new();
        self.each_of(snapshot, &is, |_, line| lines.push(line.to_owned()));
        lines
    }

    fn each_of(&self, snapshot: &Snapshot, conditions: &[Condition], mut f: impl FnMut(u64, &str)) {
        let mut scan = self.0.scan(snapshot, conditions, Order::Ascending);
        while scan
            .next(|row| {
                let line = String::from_utf8_lossy(row.bytes(2).unwrap_or_default());
                f(row.int8(1).unwrap_or_default().cast_unsigned(), &line);
            })
            .is_some()
        {}
    }

    fn write(&self, checkpoint: &Checkpoint, line: &str) {
        let line = Varlena::text(line.as_bytes());
        let by = session_user();
        let mut rows = Rows::of(&self.0);
        rows.append(&[
            Field::Int4(checkpoint.epoch),
            Field::Int8(checkpoint.tree_size.cast_signed()),
            Field::Varlena(line.bytes()),
            Field::Int8(xact::wall_clock()),
            Field::Varlena(by.bytes()),
        ]);
        rows.finish();
    }
}

fn session_user() -> Varlena {
    Varlena::text(&context_source::role_name(context_source::session_user()))
}

/// Signs with the server's own key, if it has one. A key that cannot be used does not keep events from being sealed: whoever
/// seals is warned, and the checkpoint stays without signature.
pub fn sign(checkpoint: &Checkpoint, origin: &str) -> Result<()> {
    let Some(path) = settings::SIGNING_KEY_FILE.get() else {
        return Ok(());
    };
    let path = path.to_string_lossy().into_owned();
    if path.is_empty() {
        return Ok(());
    }
    match read_key(Path::new(&path)) {
        Ok(key) => {
            let line = key.sign(&checkpoint.body(origin)?, unix_seconds());
            Signatures::open_to_add()?.write(checkpoint, &line.to_string());
        }
        Err(error) if role::is_superuser() => error.warning(),
        Err(error) => {
            // Where the key is kept is no business of others.
            error.log_only();
            AttestError::new(
                SqlState::ERRCODE_CONFIG_FILE_ERROR,
                "the server's signing key cannot be used",
            )
            .detail("The events are sealed, and the checkpoint is not signed.")
            .hint("The server's log says more.")
            .warning();
        }
    }
    Ok(())
}

fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// The key in this file, which nobody but the server's user can have read.
fn read_key(path: &Path) -> Result<SignerKey> {
    let refused = |state, detail: String| {
        AttestError::new(
            state,
            format!("the signing key \"{}\" cannot be used", path.display()),
        )
        .detail(detail)
        .hint("audit.signing_key_file names a file that `attest keygen` made: owned by the server's user, mode 0600 or 0400.")
    };
    let unreadable =
        |error: std::io::Error| refused(SqlState::ERRCODE_IO_ERROR, format!("{error}."));
    let found = std::fs::metadata(path).map_err(unreadable)?;
    let own = std::fs::metadata("/proc/self").map(|own| own.uid()).ok();
    if !found.is_file()
        || found.mode() & 0o077 != 0
        || own.is_some_and(|own| found.uid() != own && found.uid() != 0)
    {
        return Err(refused(
            SqlState::ERRCODE_CONFIG_FILE_ERROR,
            format!(
                "Its mode is {:04o}, its owner's id {}.",
                found.mode() & 0o7777,
                found.uid()
            ),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    text.trim()
        .parse()
        .map_err(|error| refused(SqlState::ERRCODE_CONFIG_FILE_ERROR, format!("{error}.")))
}

/// The keys in `audit.trusted_keys`.
pub fn trusted_keys() -> Result<Vec<VerifierKey>> {
    let keys = settings::TRUSTED_KEYS.get();
    let keys = keys
        .as_ref()
        .map(|keys| keys.to_string_lossy())
        .unwrap_or_default();
    keys.split([',', ' ', '\n'])
        .filter(|key| !key.is_empty())
        .map(|key| {
            key.parse().map_err(|error| {
                AttestError::new(
                    SqlState::ERRCODE_CONFIG_FILE_ERROR,
                    "audit.trusted_keys has something that is no key",
                )
                .detail(format!("\"{key}\": {error}."))
                .hint("Give verifier keys as `attest keygen` prints them, separated by commas.")
            })
        })
        .collect()
}

/// Whether a signature line is one, and holds if its key is trusted; which key made it, if it is trusted.
pub fn check<'k>(
    checkpoint: &Checkpoint,
    origin: &str,
    line: &str,
    trusted: &'k [VerifierKey],
) -> std::result::Result<Option<&'k VerifierKey>, String> {
    let signature: Signature = line.parse().map_err(|error| format!("{error}"))?;
    let body = checkpoint
        .body(origin)
        .map_err(|_| "the checkpoint has no text".to_owned())?;
    let mut note = Note::new(body).map_err(|error| error.to_string())?;
    note.add(signature);
    match note.verify(trusted) {
        Ok(verified) => Ok(verified.first().map(|verified| verified.key)),
        Err(attest_log::Error::Untrusted { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// The checkpoint with its signatures, as a note.
pub fn note(snapshot: &Snapshot, at: &At) -> Result<Note> {
    let mut note = Note::new(at.checkpoint.body(&at.epoch.origin)?)?;
    for line in Signatures::open()?.of(snapshot, &at.checkpoint) {
        // A line that somebody broke is left out; audit.verify_chain() names it.
        if let Ok(signature) = line.parse() {
            note.add(signature);
        }
    }
    Ok(note)
}

/// `audit.checkpoint_note(tree_size, epoch)`.
#[pg_extern(sql = false)]
fn checkpoint_note(tree_size: Option<i64>, epoch: Option<i32>) -> Option<String> {
    let snapshot = Snapshot::latest();
    let at = or_raise(At::find(&snapshot, tree_size, epoch))?;
    Some(or_raise(note(&snapshot, &at)).to_string())
}

/// `audit.add_signature(tree_size, line, epoch)`.
#[pg_extern(sql = false)]
fn add_signature(tree_size: Option<i64>, line: Option<&str>, epoch: Option<i32>) {
    or_raise(add(tree_size, line.unwrap_or_default(), epoch));
}

fn add(tree_size: Option<i64>, line: &str, epoch: Option<i32>) -> Result<()> {
    xact::prevent_if_read_only(c"audit.add_signature()");
    let snapshot = Snapshot::latest();
    let at = required(&snapshot, tree_size, epoch)?;
    check(&at.checkpoint, &at.epoch.origin, line, &trusted_keys()?)
        .map_err(|wrong| {
            AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                "the signature is not one of this checkpoint",
            )
            .detail(format!("{wrong}."))
            .hint("Give a signature line of a signed note over audit.checkpoint_body(…).")
        })
        .map(drop)?;
    let signatures = Signatures::open_to_add()?;
    if !signatures
        .of(&snapshot, &at.checkpoint)
        .iter()
        .any(|known| known == line)
    {
        signatures.write(&at.checkpoint, line);
    }
    Ok(())
}

const TIMESTAMP_COLUMNS: [Expected; 6] = [
    column("epoch", INT4OID),
    column("tree_size", INT8OID),
    column("token_sha256", BYTEAOID),
    column("token", BYTEAOID),
    column("added_at", TIMESTAMPTZOID),
    column("added_by", TEXTOID),
];

/// `audit.add_timestamp(tree_size, token, epoch)`.
#[pg_extern(sql = false)]
fn add_timestamp(tree_size: Option<i64>, token: Option<&[u8]>, epoch: Option<i32>) {
    or_raise(add_token(tree_size, token.unwrap_or_default(), epoch));
}

fn add_token(tree_size: Option<i64>, token: &[u8], epoch: Option<i32>) -> Result<()> {
    /// A DER SEQUENCE; what is in it is for `openssl ts` and `attest verify` to judge.
    const DER_SEQUENCE: u8 = 0x30;
    xact::prevent_if_read_only(c"audit.add_timestamp()");
    if token.first() != Some(&DER_SEQUENCE) {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "the token is not the answer of a timestamping authority",
        )
        .hint("Give the DER bytes of a TimeStampResp (RFC 3161), as `openssl ts` or `attest timestamp` gets it."));
    }
    let snapshot = Snapshot::latest();
    let at = required(&snapshot, tree_size, epoch)?;
    let table = Table::open(
        "checkpoint_timestamps",
        &TIMESTAMP_COLUMNS,
        lock::ROW_EXCLUSIVE,
    )?;
    let digest = attest_log::hash::sha256(token);
    let is = [
        Condition::Int4Is(at.checkpoint.epoch),
        Condition::Int8Is(at.checkpoint.tree_size.cast_signed()),
    ];
    let mut scan = table.scan(&snapshot, &is, Order::Ascending);
    while let Some(known) = scan.next(|row| row.bytes(2) == Some(&digest)) {
        if known {
            return Ok(());
        }
    }
    drop(scan);
    let digest = bytea(&digest);
    let (token, by) = (bytea(token), session_user());
    let mut rows = Rows::of(&table);
    rows.append(&[
        Field::Int4(at.checkpoint.epoch),
        Field::Int8(at.checkpoint.tree_size.cast_signed()),
        Field::Varlena(digest.bytes()),
        Field::Varlena(token.bytes()),
        Field::Int8(xact::wall_clock()),
        Field::Varlena(by.bytes()),
    ]);
    rows.finish();
    Ok(())
}

/// The checkpoint that the arguments mean, which must be there.
fn required(snapshot: &Snapshot, tree_size: Option<i64>, epoch: Option<i32>) -> Result<At> {
    let missing = || match epoch {
        Some(epoch) => AttestError::new(
            SqlState::ERRCODE_NO_DATA_FOUND,
            format!("there is no checkpoint in epoch {epoch}"),
        )
        .hint("audit.checkpoints has those that there are."),
        None => AttestError::new(
            SqlState::ERRCODE_NO_DATA_FOUND,
            "there is no checkpoint yet",
        )
        .hint("SELECT audit.seal(); makes one."),
    };
    At::find(snapshot, tree_size, epoch)?.ok_or_else(missing)
}
