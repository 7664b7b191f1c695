//! The log of `pg_attest` without PostgreSQL: how an event becomes a leaf, leaves a Merkle tree, the tree tiles, its
//! root a signed checkpoint, and how all of it is proved and verified. `docs/log-format.md` is the normative text;
//! this crate is one implementation of it.
//!
//! Nothing here does input or output: tiles come through [`tile::TileReader`], everything else as bytes and text.
//! Parsers accept exactly what the format allows, never panic, and bound what they allocate by their input.

pub mod checkpoint;
mod cosignature;
pub mod declaration;
pub mod encoding;
pub mod epoch;
mod error;
pub mod finding;
pub mod hash;
pub mod json_line;
pub mod note;
pub mod proof;
mod text;
pub mod tile;
pub mod tree;

pub use error::Error;
pub use hash::Hash;
pub use text::hex;
