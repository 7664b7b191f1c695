//! The only home of `unsafe` calls into `PostgreSQL`: small wrappers that cannot be misused from safe code.
//!
//! Rules that every wrapper here keeps:
//! - A wrapper that owns a `PostgreSQL` resource gives it back in `Drop`, except while a panic unwinds: then an ERROR
//!   is on its way and `PostgreSQL`'s own (sub)transaction abort gives everything back.
//! - What is cached across statements lives in a memory context of its own and holds no lock, pin or resource-owner entry. What lives as
//!   long as a transaction (`held`) belongs to the transaction's resource owner.
//! - Callbacks (invalidation, hooks) allocate nothing and cannot fail.

// C's integers are what they are: PostgreSQL keeps counts and enums as int, sizes below 1 GB, and hands out char pointers to
// what it has aligned.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_ptr_alignment
)]

pub mod attempt;
mod btree;
mod btree_leaf;
mod btree_queue;
mod btree_write;
pub mod call_row;
pub mod catalog;
pub mod cell;
pub mod columns;
pub mod context_source;
pub mod datum;
pub mod ffi;
pub mod fmgr;
mod generated_column;
pub mod guc;
pub mod heap;
pub mod heap_scan;
pub mod held;
pub mod hooks;
pub mod incarnation;
pub mod index_plan;
pub mod index_scan;
pub mod invalidation;
mod json_type;
pub mod jsonb_arg;
pub mod jsonb_text;
pub mod memory;
mod nbtree;
#[cfg(feature = "pg15")]
mod new_pages;
pub mod object_lock;
pub mod page_hole;
pub mod parallel;
pub mod partition;
pub mod pinned;
pub mod progress;
pub mod query;
pub mod relation;
pub mod role;
pub mod scan;
pub mod sequence;
pub mod slot;
pub mod snapshot;
pub mod storage;
pub mod temp_file;
pub mod text;
pub mod time;
pub mod trigger;
pub mod tuple;
pub mod tuplestore;
pub mod utility_hook;
pub mod wal;
pub mod worker;
pub mod xact;

/// Whether an ERROR is unwinding through us, or its transaction is being rolled back; `PostgreSQL` will then clean up itself.
fn unwinding() -> bool {
    std::thread::panicking() || held::is_abandoning()
}
