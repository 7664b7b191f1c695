//! `pg_attest`: an immutable, provable audit trail for `PostgreSQL`.
//!
//! The tree is the architecture:
//! - `act`: events that no row change makes: what `pg_attest` does itself, what applications tell
//! - `attach`: which tables are audited, and how; DDL followed and recorded
//! - `table_plan`: what is captured of one relation
//! - `capture`: from a statement to its events, on the user's hot path
//! - `ledger`: committed events sealed in a Merkle tree; proofs and verification
//! - `retention`: how long events stay: policies, holds, prunes, erasures
//! - `worker`: seals in the background
//! - `settings`, `error`: what users set, what they read when something is refused
//! - `pg`: the only home of `unsafe`
//! - `sql/`: the schema and every SQL function's declaration, in the order below

use pgrx::prelude::*;

mod act;
mod attach;
mod capture;
mod error;
mod ledger;
mod pg;
mod retention;
mod set_context;
mod settings;
mod table_plan;
mod worker;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!(
    "../sql/context.sql",
    name = "context",
    requires = ["schema"]
);
extension_sql_file!(
    "../sql/capture.sql",
    name = "capture",
    requires = ["schema"]
);
extension_sql_file!("../sql/attach.sql", name = "attach", requires = ["capture"]);
extension_sql_file!("../sql/log.sql", name = "log", requires = ["capture"]);
extension_sql_file!(
    "../sql/archived_events.sql",
    name = "archived_events",
    requires = ["capture"]
);
extension_sql_file!(
    "../sql/retention.sql",
    name = "retention",
    requires = ["log"]
);
extension_sql_file!(
    "../sql/status.sql",
    name = "status",
    requires = ["attach", "retention"]
);
extension_sql_file!(
    "../sql/access.sql",
    name = "access",
    requires = ["context", "archived_events", "status"],
    finalize
);

/// Called by `PostgreSQL` when the library is loaded: by the first trigger that fires, or by `shared_preload_libraries`.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::init();
    pg::invalidation::init();
    pg::hooks::init();
    worker::init();
}

#[cfg(any(test, feature = "pg_test"))]
#[path = "../pg_test/mod.rs"]
pub mod pg_test;
