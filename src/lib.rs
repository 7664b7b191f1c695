//! `pg_attest`: an immutable, provable audit trail for `PostgreSQL`.
//!
//! The tree is the architecture:
//! - `act`: events that no row change makes: what `pg_attest` does itself, what applications tell
//! - `activity`: events that applications tell; auditors' reviews
//! - `attach`: which tables are audited, and how; DDL followed and recorded
//! - `process`: processes begin and end: who causes whom
//! - `table_plan`: what is captured of one relation
//! - `capture`: from a statement to its events, on the user's hot path
//! - `ledger`: committed events sealed in a Merkle tree; proofs and verification
//! - `retention`: how long events stay: policies, holds, prunes, erasures
//! - `summaries`: what pages of events are found by
//! - `worker`: seals in the background
//! - `settings`, `error`: what users set, what they read when something is refused
//! - `pg`: the only home of `unsafe`
//! - `sql/`: the schema and every SQL function's declaration, in the order below

use pgrx::prelude::*;

mod act;
mod activity;
mod attach;
mod capture;
mod error;
mod ledger;
mod pg;
mod process;
mod retention;
mod set_context;
mod settings;
mod summaries;
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
    "../sql/activity.sql",
    name = "activity",
    requires = ["capture"]
);
extension_sql_file!(
    "../sql/summaries.sql",
    name = "summaries",
    requires = ["capture"]
);
extension_sql_file!(
    "../sql/events.sql",
    name = "events",
    requires = ["summaries"]
);
extension_sql_file!(
    "../sql/activity_views.sql",
    name = "activity_views",
    requires = ["summaries"]
);
extension_sql_file!(
    "../sql/reports.sql",
    name = "reports",
    requires = ["status", "events"]
);
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
extension_sql_file!("../sql/holds.sql", name = "holds", requires = ["retention"]);
extension_sql_file!("../sql/archives.sql", name = "archives", requires = ["log"]);
extension_sql_file!("../sql/prune.sql", name = "prune", requires = ["holds"]);
extension_sql_file!("../sql/erase.sql", name = "erase", requires = ["holds"]);
extension_sql_file!(
    "../sql/upkeep.sql",
    name = "upkeep",
    requires = ["retention"]
);
extension_sql_file!(
    "../sql/retention_report.sql",
    name = "retention_report",
    requires = ["prune", "archives"]
);
extension_sql_file!(
    "../sql/process.sql",
    name = "process",
    requires = ["schema"]
);
extension_sql_file!("../sql/eras.sql", name = "eras", requires = ["attach"]);
extension_sql_file!("../sql/history.sql", name = "history", requires = ["eras"]);
extension_sql_file!("../sql/as_of.sql", name = "as_of", requires = ["eras"]);
extension_sql_file!("../sql/changes.sql", name = "changes", requires = ["eras"]);
extension_sql_file!(
    "../sql/revert.sql",
    name = "revert",
    requires = ["changes", "history"]
);
extension_sql_file!(
    "../sql/lineage.sql",
    name = "lineage",
    requires = ["process", "history"]
);
extension_sql_file!(
    "../sql/status.sql",
    name = "status",
    requires = ["attach", "retention_report", "upkeep", "summaries"]
);
extension_sql_file!(
    "../sql/metrics.sql",
    name = "metrics",
    requires = ["log", "summaries"]
);
extension_sql_file!(
    "../sql/line_protocol.sql",
    name = "line_protocol",
    requires = ["metrics"]
);
extension_sql_file!(
    "../sql/openmetrics.sql",
    name = "openmetrics",
    requires = ["attach", "log"]
);
extension_sql_file!(
    "../sql/access.sql",
    name = "access",
    requires = [
        "line_protocol",
        "openmetrics",
        "archived_events",
        "context",
        "activity",
        "activity_views",
        "events",
        "reports",
        "as_of",
        "revert",
        "lineage",
        "erase",
        "retention_report",
        "status"
    ],
    finalize
);

/// Called by `PostgreSQL` when the library is loaded: by the first trigger that fires, or by `shared_preload_libraries`.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::init();
    pg::invalidation::init();
    pg::hooks::init();
    pg::held::init();
    pg::utility_hook::init();
    worker::init();
}

#[cfg(any(test, feature = "pg_test"))]
#[path = "../pg_test/mod.rs"]
pub mod pg_test;
