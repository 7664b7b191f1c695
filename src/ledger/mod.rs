//! The log: committed events get their places in a Merkle tree, and everything is proved and verified from it.
//!
//! `docs/log-format.md` is normative for what is stored; the tree itself is the crate `attest-log`.
//!
//! - `seal`: from committed events to a checkpoint; `epoch`, `incarnation`: whose log it is
//! - `mark`: where a seal begins to look; `order`: due events in the order of their places
//! - `leaf`: an event's row as its leaf; `events`, `tables`, `tree`, `grow`, `checkpoint`: what is read and written
//! - `event_row`: an event's columns in one value, for programs that read many
//! - `sealed`: from an event to its leaf; `unsealed`: what has none yet; `proof`, `signing`: what is handed to others and comes back
//! - `verify`: everything computed anew

mod checkpoint;
mod epoch;
mod event_row;
pub mod events;
pub mod grow;
mod incarnation;
pub mod leaf;
pub mod mark;
pub mod order;
mod proof;
pub mod seal;
pub mod sealed;
mod signing;
mod tables;
mod tree;
mod unsealed;
mod verify;

pub use epoch::{hold_off_seals, no_restore_runs, settled};
