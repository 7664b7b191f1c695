//! The storage of an emptied month, which goes back to the file system bit by bit.
//!
//! `TRUNCATE` frees a table's files with its commit, all at once, and on some file systems gigabytes that are freed at once hold up
//! everybody's commits. So `audit.emptied_month`, else empty, first exchanges its storage with the month's, as CLUSTER and VACUUM FULL
//! exchange a table's (`swap_relation_files` in src/backend/commands/cluster.c): what TRUNCATE then frees is nothing. When the events are
//! gone for everybody, steps of their own shorten what was put aside. A crash leaves it to the next prune.

use super::plan::Partition;
use super::step::wait_for;
use crate::attach::registry;
use crate::error::Result;
use crate::pg::query::{self, Arg};
use crate::pg::relation::{lock, lock_at_once};
use crate::pg::storage::{self, Files};
use crate::pg::{catalog, wal, xact};
use pgrx::pg_sys;
use std::time::{Duration, Instant};

/// The table that has the storage of a month that was emptied.
pub const NAME: &str = "emptied_month";
/// Pages that are freed at once, 4 MB, and the rest after them.
const PORTION: u32 = 512;
const REST: Duration = Duration::from_millis(5);
/// A step takes so long, for which `audit.status()` may have to wait.
const STEP: Duration = Duration::from_millis(250);

/// What a step left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    Something,
    /// All there was: somebody reads or vacuums it.
    InUse,
}

/// Waits until nobody vacuums a partition's TOAST table, and keeps it so: before the partition is locked, so that its readers do not wait for
/// a VACUUM, which can be at the TOAST table alone.
pub fn keep_vacuum_out(partition: &Partition) -> Result<()> {
    let toast = registry::oids(
        "SELECT reltoastrelid FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1 AND reltoastrelid OPERATOR(pg_catalog.<>) 0",
        &[Arg::Oid(registry::oid(&partition.oid))],
    )?;
    toast
        .into_iter()
        .try_for_each(|toast| wait_for(toast, partition, lock::SHARE_UPDATE_EXCLUSIVE))
}

/// Exchanges a partition's storage with an empty one, before a TRUNCATE: where they are of one kind, and the storage of another month is
/// not there yet. The caller holds the partition's ACCESS EXCLUSIVE lock.
pub fn put_aside(partition: &Partition) -> Result<()> {
    let Some(emptied) = catalog::audit_relation(NAME) else {
        return Ok(());
    };
    let month = registry::oid(&partition.oid);
    let toasts = query::rows(
        "SELECT m.reltoastrelid::pg_catalog.text, e.reltoastrelid::pg_catalog.text FROM pg_catalog.pg_class m \
         JOIN pg_catalog.pg_class e ON (e.relkind, e.relam, e.relpersistence, e.reltablespace) \
             OPERATOR(pg_catalog.=) (m.relkind, m.relam, m.relpersistence, m.reltablespace) \
         JOIN pg_catalog.pg_class mt ON mt.oid OPERATOR(pg_catalog.=) m.reltoastrelid \
         JOIN pg_catalog.pg_class et ON et.oid OPERATOR(pg_catalog.=) e.reltoastrelid \
             AND et.reltablespace OPERATOR(pg_catalog.=) mt.reltablespace AND et.relam OPERATOR(pg_catalog.=) mt.relam \
         WHERE m.oid OPERATOR(pg_catalog.=) $1 AND e.oid OPERATOR(pg_catalog.=) $2",
        &[Arg::Oid(month), Arg::Oid(emptied)],
    )?;
    let Some([Some(month_toast), Some(emptied_toast)]) = toasts.first().map(Vec::as_slice) else {
        return Ok(());
    };
    let (month_toast, emptied_toast) = (registry::oid(month_toast), registry::oid(emptied_toast));
    let is_free = |table| Files::at_once(table).is_some_and(|files| files.pages() == 0);
    // What this transaction itself made or emptied may not be in the WAL.
    let is_new = [month, month_toast]
        .map(storage::is_of_this_transaction)
        .contains(&true);
    if is_new || !is_free(emptied) || !is_free(emptied_toast) {
        return Ok(());
    }
    // Nobody but a superuser who names it has a lock of it: see `keep_vacuum_out`. What TRUNCATE then does would wait for him.
    if !lock_at_once(month_toast, lock::ACCESS_EXCLUSIVE) {
        return Ok(());
    }
    exchange(&[(month, emptied), (month_toast, emptied_toast)])
}

/// Exchanges the storage of tables, which the caller has locked. That they are said to have pages shows that TRUNCATE has not come yet.
fn exchange(pairs: &[(pg_sys::Oid, pg_sys::Oid)]) -> Result<()> {
    for (one, other) in pairs {
        query::run(
            "UPDATE pg_catalog.pg_class c SET relfilenode = o.relfilenode, relpages = GREATEST(o.relpages, 1), reltuples = o.reltuples, \
                 relallvisible = o.relallvisible, relfrozenxid = o.relfrozenxid, relminmxid = o.relminmxid \
             FROM pg_catalog.pg_class o \
             WHERE (c.oid OPERATOR(pg_catalog.=) $1 AND o.oid OPERATOR(pg_catalog.=) $2) \
                OR (c.oid OPERATOR(pg_catalog.=) $2 AND o.oid OPERATOR(pg_catalog.=) $1)",
            &[Arg::Oid(*one), Arg::Oid(*other)],
        )?;
    }
    xact::command_counter_increment();
    Ok(())
}

/// Gives the next part of what was put aside back to the file system. Not in a transaction that put it aside: freed pages do not come
/// back when it is rolled back.
pub fn free() -> Result<Left> {
    let Some(emptied) = catalog::audit_relation(NAME) else {
        return Ok(Left::Nothing);
    };
    // The TOAST table first. To ask for a size keeps no lock.
    let tables = registry::oids(
        "SELECT part FROM pg_catalog.pg_class e, pg_catalog.unnest(ARRAY[e.reltoastrelid, e.oid]) AS part \
         WHERE e.oid OPERATOR(pg_catalog.=) $1 AND (e.relpages OPERATOR(pg_catalog.>) 0 OR (pg_catalog.pg_relation_size(e.oid) \
             OPERATOR(pg_catalog.+) pg_catalog.pg_relation_size(e.reltoastrelid)) OPERATOR(pg_catalog.>) 0)",
        &[Arg::Oid(emptied)],
    )?;
    if tables.is_empty() {
        return Ok(Left::Nothing);
    }
    // That the month is empty must be on disk before its pages go.
    wal::wait_for_disk()?;
    let until = Instant::now() + STEP;
    for table in tables {
        let Some(files) = Files::at_once(table) else {
            return Ok(Left::InUse);
        };
        let mut pages = files.pages();
        while pages > 0 {
            pgrx::check_for_interrupts!();
            if Instant::now() > until {
                return Ok(Left::Something);
            }
            pages = pages.saturating_sub(PORTION);
            files.shorten(pages);
            xact::pause(REST);
        }
    }
    // It still is as old as the month was, which would keep transaction ids from being used again.
    query::run(&format!("TRUNCATE audit.{NAME}"), &[])?;
    Ok(Left::Nothing)
}
