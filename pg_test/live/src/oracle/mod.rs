//! The replay oracle: does the trail of a table, folded, give exactly the table's rows?
//!
//! | function | what it demands | for |
//! | --- | --- | --- |
//! | [`check`] | sum of +`new_values` −`old_values` equals the rows as a multiset of images | every workload, many sessions too |
//! | [`check_ordered`] | in (`xact_id`, `statement_id`) order no statement leaves a negative count or two live images of one key | one session, a key that is not deferrable |
//! | [`check_as_of`] | the table as the log tells it of a moment equals a copy taken then | moments without open transactions |
//! | [`check_restored`] | as [`check`], events found by name instead of OID | after a restore |
//!
//! Tables with `capture => 'diff'` hold changed columns alone, so [`check`] folds them key by key
//! (`old || new`) instead; that too needs a key and one session.
//!
//! Images are compared as the text of `jsonb`, which shows `1.5` and `1.50` apart. A failure
//! prints the images left over and all events of their keys.

mod as_of;
mod fold;
mod keyed;
mod ordered;
mod plan;
mod report;
mod shadow;

use anyhow::{Context, Result};
use postgres::Client;

use crate::sql::Sql;
use plan::{Identity, Plan};

pub use as_of::check_as_of;
pub use shadow::{SHADOW_TABLE, check_shadow, shadow_schema, shadow_triggers};

/// Folds all events of `table` and compares with its rows.
///
/// # Errors
/// A readable report of every difference.
pub fn check(client: &mut Client, table: &str) -> Result<()> {
    check_as(client, table, Identity::Oid)
}

/// As [`check`] for a table that came out of a dump: its events carry the old table's OID.
pub fn check_restored(client: &mut Client, table: &str) -> Result<()> {
    check_as(client, table, Identity::Name)
}

/// Demands that the order of statements makes sense; see the module.
///
/// # Errors
/// A readable report of the first statement after which the fold is impossible.
pub fn check_ordered(client: &mut Client, table: &str) -> Result<()> {
    pinned(client, |client| {
        let plan = Plan::of(client, table, Identity::Oid)?;
        ordered::check(client, &plan)
    })
    .with_context(|| format!("replay of {table} in order"))
}

fn check_as(client: &mut Client, table: &str, identity: Identity) -> Result<()> {
    pinned(client, |client| {
        let plan = Plan::of(client, table, identity)?;
        if plan.diff {
            keyed::check(client, &plan)
        } else {
            fold::check(client, &plan)
        }
    })
    .with_context(|| format!("replay of {table}"))
}

/// Runs `check` in one snapshot under the settings that images are defined by.
fn pinned(client: &mut Client, check: impl FnOnce(&mut Client) -> Result<()>) -> Result<()> {
    client.run(
        "BEGIN ISOLATION LEVEL REPEATABLE READ;
         SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres';
         SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL lc_monetary = 'C';
         SET LOCAL xmloption = 'content'; SET LOCAL quote_all_identifiers = off;
         SET LOCAL row_security = off; SET LOCAL search_path = ''",
    )?;
    let outcome = check(client);
    // Ends the transaction also when a statement of the check failed.
    client.run("ROLLBACK")?;
    outcome
}
