//! The partitions of a log that can be archived, and what the log says about archives.

use super::manifest::Manifest;
use crate::db::{Database, Newest};
use crate::source::SEGMENT;
use anyhow::{Context, Result, ensure};

/// A month of the log.
#[derive(Debug, Clone)]
pub struct Partition {
    pub name: String,
    /// What holds for its events alone, in SQL: readers have rights on the whole log, not on its partitions.
    pub condition: String,
    /// Its bounds in microseconds since the Unix epoch.
    pub from: i64,
    pub until: i64,
    /// Whether no transaction that begins now can have events in it.
    pub over: bool,
}

/// Its events.
#[derive(Debug, Clone, Copy)]
pub struct Events {
    pub count: u64,
    pub first: i64,
    pub last: i64,
}

/// All months, the oldest first. Bounds are printed in the session's time zone and read in it again.
const PARTITIONS: &str = "
    SELECT c.relname::text, pg_catalog.format('occurred_at >= %L AND occurred_at < %L', bound[1], bound[2]),
           (extract(epoch FROM bound[1]::pg_catalog.timestamptz) * 1000000)::bigint,
           (extract(epoch FROM bound[2]::pg_catalog.timestamptz) * 1000000)::bigint,
           bound[2]::pg_catalog.timestamptz <= pg_catalog.now()
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid,
    pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid), $$FROM \\('([^']+)'\\) TO \\('([^']+)'\\)$$) bound
    WHERE i.inhparent = 'audit.audit_events'::pg_catalog.regclass AND bound IS NOT NULL
    ORDER BY 3";

/// The months of the log.
pub fn all(database: &mut Database) -> Result<Vec<Partition>> {
    let rows = database.client().query(PARTITIONS, &[])?;
    let partition = |row: &postgres::Row| Partition {
        name: row.get(0),
        condition: row.get(1),
        from: row.get(2),
        until: row.get(3),
        over: row.get(4),
    };
    Ok(rows.iter().map(partition).collect())
}

/// Its events; None where it has none.
pub fn events(database: &mut Database, partition: &Partition) -> Result<Option<Events>> {
    let query = format!(
        "SELECT pg_catalog.count(*), pg_catalog.min(event_id), pg_catalog.max(event_id) FROM audit.audit_events WHERE {}",
        partition.condition
    );
    let row = database.client().query_one(&query, &[])?;
    let (count, first, last): (i64, Option<i64>, Option<i64>) =
        (row.get(0), row.get(1), row.get(2));
    Ok(first.zip(last).map(|(first, last)| Events {
        count: count.cast_unsigned(),
        first,
        last,
    }))
}

/// How many of its events came after an archive of it was taken.
pub fn later_than(
    database: &mut Database,
    partition: &Partition,
    manifest: &Manifest,
) -> Result<u64> {
    let query = format!(
        "SELECT pg_catalog.count(*) FROM audit.audit_events
         WHERE {} AND NOT pg_catalog.pg_visible_in_snapshot(xact_id, $1::text::pg_catalog.pg_snapshot)",
        partition.condition
    );
    let row = database.client().query_one(&query, &[&manifest.snapshot])?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// Whether an archive is of this log: its trees are.
pub fn is_of_this_log(database: &mut Database, manifest: &Manifest) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM audit.epochs WHERE epoch = $1 AND origin = $2)";
    for tree in &manifest.epochs {
        let epoch = tree.epoch.cast_signed();
        if !database
            .client()
            .query_one(query, &[&epoch, &tree.origin])?
            .get::<_, bool>(0)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Keeps a second `attest archive` of this database from writing the same files, as long as this one lives.
pub fn lock(database: &mut Database) -> Result<()> {
    // The number is the name "archive" in ASCII.
    let query = "SELECT pg_catalog.pg_try_advisory_lock(x'61726368697665'::bigint)";
    let locked: bool = database.client().query_one(query, &[])?.get(0);
    ensure!(
        locked,
        "another attest archive is at work on this database; try again when it has ended"
    );
    Ok(())
}

/// The snapshot under which everything is read, and the time of the database in microseconds since the Unix epoch.
pub fn now(database: &mut Database) -> Result<(String, i64)> {
    let query = "SELECT pg_catalog.pg_current_snapshot()::text, (extract(epoch FROM pg_catalog.now()) * 1000000)::bigint";
    let row = database.client().query_one(query, &[])?;
    Ok((row.get(0), row.get(1)))
}

/// The segments of leaves in which events of these ids can stand, by epoch and number.
const SEGMENTS: &str = "
    SELECT epoch, tile_index / 256 FROM audit.tiles
    WHERE level = 0 AND pg_catalog.int8range(min_event_id, max_event_id, '[]') OPERATOR(pg_catalog.&&) pg_catalog.int8range($1, $2, '[]')
    UNION
    SELECT e.epoch, c.tree_size / 65536
    FROM (SELECT DISTINCT epoch FROM audit.tree_edge, unnest(event_ids) id WHERE id BETWEEN $1 AND $2) e
    JOIN (SELECT epoch, pg_catalog.max(tree_size) AS tree_size FROM audit.checkpoints GROUP BY epoch) c USING (epoch)
    ORDER BY 1, 2";

/// The segments of leaves that have events of a partition.
pub fn segments(database: &mut Database, events: &Events) -> Result<Vec<(u32, u64)>> {
    const { assert!(SEGMENT == 65_536) };
    let rows = database
        .client()
        .query(SEGMENTS, &[&events.first, &events.last])?;
    let segment = |row: &postgres::Row| {
        let (epoch, segment): (i32, i64) = (row.get(0), row.get(1));
        (epoch.cast_unsigned(), segment.cast_unsigned())
    };
    Ok(rows.iter().map(segment).collect())
}

/// Of the checkpoints with this leaf the one with the most signatures, of these the newest.
pub fn checkpoint_over(database: &mut Database, epoch: u32, leaf: u64) -> Result<Newest> {
    let (number, above) = (epoch.cast_signed(), leaf.cast_signed());
    let row = database
        .client()
        .query_opt(
            "SELECT e.origin, c.tree_size, c.root FROM audit.checkpoints c JOIN audit.epochs e USING (epoch)
             LEFT JOIN (SELECT tree_size, pg_catalog.count(*) AS lines FROM audit.checkpoint_signatures
                        WHERE epoch = $1 AND tree_size > $2 GROUP BY tree_size) s USING (tree_size)
             WHERE c.epoch = $1 AND c.tree_size > $2
             ORDER BY coalesce(s.lines, 0) DESC, c.tree_size DESC LIMIT 1",
            &[&number, &above],
        )?
        .with_context(|| format!("no checkpoint of epoch {epoch} has leaf {leaf}"))?;
    database.noted(epoch, &row, 0)
}
