//! What verification can find: one list of names for the database, the command line, and whoever reads either.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of finding. `docs/security.md` says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Check {
    /// The event is not what was sealed, or not where it belongs.
    #[serde(rename = "altered event")]
    AlteredEvent,
    /// A leaf without an event.
    #[serde(rename = "missing event")]
    MissingEvent,
    /// An event without a leaf, or a second one for a leaf.
    #[serde(rename = "forged event")]
    ForgedEvent,
    /// Not an event that `pg_attest` wrote.
    #[serde(rename = "malformed event")]
    MalformedEvent,
    /// A declared prune, clear or erasure that does not fit the leaves it names.
    #[serde(rename = "false declaration")]
    FalseDeclaration,
    /// Hashes that do not fit those above or below them, that are gone, or that are no part of the tree.
    #[serde(rename = "altered tile")]
    AlteredTile,
    /// A checkpoint that does not fit the tree, or the checkpoint before it.
    #[serde(rename = "broken checkpoint")]
    BrokenCheckpoint,
    /// A signature by a trusted key that does not hold, or none where one is due.
    #[serde(rename = "bad signature")]
    BadSignature,
    /// Two trees of one origin, or one event with two leaves.
    #[serde(rename = "two trees")]
    TwoTrees,
    /// A file of an archive, or its manifest, that is not what the rest says of it.
    #[serde(rename = "altered archive")]
    AlteredArchive,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AlteredEvent,
        Self::MissingEvent,
        Self::ForgedEvent,
        Self::MalformedEvent,
        Self::FalseDeclaration,
        Self::AlteredTile,
        Self::BrokenCheckpoint,
        Self::BadSignature,
        Self::TwoTrees,
        Self::AlteredArchive,
    ];

    /// Its name, as `audit.verify()` and `attest verify` give it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlteredEvent => "altered event",
            Self::MissingEvent => "missing event",
            Self::ForgedEvent => "forged event",
            Self::MalformedEvent => "malformed event",
            Self::FalseDeclaration => "false declaration",
            Self::AlteredTile => "altered tile",
            Self::BrokenCheckpoint => "broken checkpoint",
            Self::BadSignature => "bad signature",
            Self::TwoTrees => "two trees",
            Self::AlteredArchive => "altered archive",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many findings of each kind are listed; the rest is counted.
pub const LISTED: u64 = 1000;
