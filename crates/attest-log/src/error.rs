//! What can be wrong with what others hand to this crate.

use crate::tile::Tile;

/// Each message says what is wrong, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("field {field} is {length} bytes long; the encoding holds at most 4294967295")]
    FieldTooLong { field: &'static str, length: usize },
    #[error("{field} is too long to print, or nested too deeply")]
    Unprintable { field: &'static str },
    #[error("the event has neither a salt nor a payload hash, so its payload has no commitment")]
    NoCommitment,
    #[error("the event has a payload hash, which is of erased events alone, and still a {left}")]
    HalfErased { left: &'static str },
    #[error("the list's encoding is broken at byte {at}")]
    BrokenList { at: usize },
    #[error("{field} is not UTF-8")]
    NotUtf8 { field: &'static str },
    #[error("the line is not an event: {why}")]
    EventLine { why: String },
    #[error(
        "leaf data is {length} bytes long instead of {}",
        crate::encoding::LeafData::LENGTH
    )]
    LeafLength { length: usize },
    #[error("leaf data does not begin with \"pg_attest/leaf/v1\"")]
    LeafPrefix,

    #[error("there is no leaf {index} in a tree of {size} leaves")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {old} leaves cannot have grown to {new}")]
    Shrunk { old: u64, new: u64 },
    #[error("a tree of {size} leaves has {expected} subtrees at its edge, not {found}")]
    EdgeLength {
        size: u64,
        expected: usize,
        found: usize,
    },
    #[error("the proof has {found} hashes; this one takes {expected}")]
    ProofLength { expected: usize, found: usize },
    #[error("the proof does not lead to the root")]
    WrongRoot,
    #[error(
        "the proof does not lead to the older root: the newer tree is not a continuation of the older one"
    )]
    NotConsistent,

    #[error("tile {tile} has {found} hashes, {} are needed", tile.width)]
    ShortTile { tile: Tile, found: usize },
    #[error("a tile of {length} bytes is not a sequence of 1 to 256 hashes of 32 bytes")]
    TileLength { length: usize },
    #[error("{path:?} is not the path of a tile")]
    TilePath { path: String },
    #[error("the entry bundle is broken at byte {at}")]
    BrokenBundle { at: usize },
    #[error(
        "an entry of {length} bytes does not fit a bundle, which holds at most 65535 per entry"
    )]
    EntryTooLong { length: usize },

    #[error(
        "a note's text ends in a newline, has no other control characters, and is shorter than 1 MB"
    )]
    NoteText,
    #[error(
        "this is not a signed note: it has no empty line before its signatures, or its last line has no newline"
    )]
    NoteForm,
    #[error("{line:?} is not a signature line of a note")]
    SignatureLine { line: String },
    #[error("the note has more than {most} signatures")]
    TooManySignatures { most: usize },
    #[error("the signature of trusted key {name} does not fit the text")]
    BadSignature { name: String },
    #[error("no trusted key signed this{}", signed_by(signers))]
    Untrusted { signers: Vec<String> },
    #[error("a key's name is not empty and has no spaces, control characters or +")]
    KeyName,
    #[error(
        "this is not a key of signed notes (<name>+<id>+<base64>; a private one begins with PRIVATE+KEY+)"
    )]
    Key,
    #[error("the key's id is not the one of its name and bytes")]
    KeyId,
    #[error(
        "keys of kind {byte:#04x} are not known here; Ed25519 (0x01) and cosignature/v1 (0x04) are"
    )]
    KeyKind { byte: u8 },

    #[error("this is not a checkpoint (lines: origin, tree size, root in base64)")]
    Checkpoint,
    #[error("an origin is not empty and has no spaces, control characters or +")]
    Origin,
    #[error("the checkpoint says that its tree is empty, but its root is another")]
    EmptyTree,
    #[error("this is not a proof of {kind}")]
    ProofForm { kind: &'static str },
    #[error("the checkpoint is of log {found:?}, not of {expected:?}")]
    OtherOrigin { found: String, expected: String },
    #[error(
        "the proof is from a tree of {proof} leaves, the older checkpoint of one of {checkpoint}"
    )]
    OtherSize { proof: u64, checkpoint: u64 },
}

fn signed_by(signers: &[String]) -> String {
    if signers.is_empty() {
        "; it has no signature at all".to_owned()
    } else {
        let some: Vec<&str> = signers.iter().take(5).map(String::as_str).collect();
        format!(" (signed by {})", some.join(", "))
    }
}
