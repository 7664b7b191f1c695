//! A database as a source, and the few statements that write to it.
//!
//! All that is read is read under one snapshot (REPEATABLE READ), which further connections share. Tables are read rather than
//! functions called: a function of the server could see more than the snapshot.

mod connect;
mod event_row;
mod libpq_files;
mod passfile;
mod reader;
mod rows;
mod tls;

pub use connect::Target;
pub use reader::{DbReader, Tiles};

use crate::source::{Epoch, Line, SEGMENT, Sealed, Source, Stranger, Timestamp};
use anyhow::{Context, Result, ensure};
use attest_log::Hash;
use attest_log::checkpoint::{Checkpoint, horizon};
use attest_log::encoding::unix_micros;
use attest_log::note::{Note, Signature};
use postgres::{Client, Row};
use rows::Rows;

/// A database under one snapshot.
pub struct Database {
    target: Target,
    client: Client,
    snapshot: String,
}

/// An epoch's newest checkpoint.
#[derive(Debug, Clone)]
pub struct Newest {
    pub epoch: u32,
    pub checkpoint: Checkpoint,
    pub note: Note,
}

impl Database {
    /// Connects and takes the snapshot.
    pub fn open(target: Target) -> Result<Self> {
        let mut client = target.connect()?;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let there: bool = client
            .query_one(
                "SELECT pg_catalog.to_regclass('audit.checkpoints') IS NOT NULL",
                &[],
            )?
            .get(0);
        ensure!(
            there,
            "this database has no log: the extension pg_attest is not there"
        );
        let snapshot = client
            .query_one("SELECT pg_catalog.pg_export_snapshot()", &[])?
            .get(0);
        Ok(Self {
            target,
            client,
            snapshot,
        })
    }

    /// The connection, for what else is to be read in the same snapshot.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The newest checkpoint of each epoch that has one, in order.
    pub fn newest(&mut self) -> Result<Vec<Newest>> {
        let rows = self.client.query(
            "SELECT DISTINCT ON (c.epoch) c.epoch, e.origin, c.tree_size, c.root
             FROM audit.checkpoints c JOIN audit.epochs e USING (epoch)
             ORDER BY c.epoch, c.tree_size DESC",
            &[],
        )?;
        let noted = |row: &Row| self.noted(row.get::<_, i32>(0).cast_unsigned(), row, 1);
        rows.iter().map(noted).collect()
    }

    /// The checkpoint of a row that has its origin, tree size and root from a column on, with its signatures.
    pub fn noted(&mut self, epoch: u32, row: &Row, column: usize) -> Result<Newest> {
        let (size, root): (i64, Vec<u8>) = (row.get(column + 1), row.get(column + 2));
        let root = Hash::try_from(root)
            .ok()
            .context("a root in audit.checkpoints is no hash")?;
        let origin: String = row.get(column);
        let checkpoint = Checkpoint::new(origin, size.cast_unsigned(), root)?;
        let mut note = Note::new(checkpoint.to_string())?;
        let lines = "SELECT line FROM audit.checkpoint_signatures WHERE epoch = $1 AND tree_size = $2 ORDER BY added_at, line";
        for line in self.client.query(lines, &[&epoch.cast_signed(), &size])? {
            // A line that is none is found where all signatures are looked at.
            if let Ok(signature) = line.get::<_, String>(0).parse::<Signature>() {
                note.add(signature);
            }
        }
        Ok(Newest {
            epoch,
            checkpoint,
            note,
        })
    }
}

impl Source for Database {
    type Reader = DbReader;

    fn name(&self) -> String {
        self.target.to_string()
    }

    fn epochs(&mut self) -> Result<Vec<Result<Epoch, (u32, String)>>> {
        let newest = self.newest()?.into_iter();
        Ok(newest
            .map(|newest| {
                Ok(Epoch {
                    number: newest.epoch,
                    note: newest.note.to_string(),
                })
            })
            .collect())
    }

    fn reader(&mut self) -> Result<DbReader> {
        let mut client = self.target.connect()?;
        client.batch_execute(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
            self.snapshot.replace('\'', "''")
        ))?;
        Ok(DbReader::new(client))
    }

    fn checkpoints(&mut self, epoch: u32) -> Result<impl Iterator<Item = Result<Line>>> {
        // A signature without a checkpoint comes as a row without a chain.
        let copy = format!(
            "COPY (SELECT coalesce(c.tree_size, s.tree_size), c.sealed_at, c.root, c.chain, s.line,
               c.last_event_id, c.next_xid, c.snapshot::pg_catalog.text
             FROM (SELECT * FROM audit.checkpoints WHERE epoch = {epoch}) c
             FULL JOIN (SELECT * FROM audit.checkpoint_signatures WHERE epoch = {epoch}) s USING (tree_size)
             ORDER BY 1) TO STDOUT (FORMAT binary)"
        );
        Ok(Checkpoints {
            rows: Rows::new(self.client.copy_out(&copy)?)?,
            held: None,
        })
    }

    fn timestamps(&mut self, epoch: u32) -> Result<Vec<Timestamp>> {
        let query = "SELECT tree_size, pg_catalog.encode(token_sha256, 'hex') FROM audit.checkpoint_timestamps
             WHERE epoch = $1 ORDER BY tree_size, token_sha256";
        let rows = self.client.query(query, &[&epoch.cast_signed()])?;
        let stands = |row: &Row| Timestamp {
            tree_size: Some(row.get::<_, i64>(0).cast_unsigned()),
            name: row.get(1),
        };
        Ok(rows.iter().map(stands).collect())
    }

    fn answer(&mut self, epoch: u32, timestamp: &Timestamp) -> Result<Vec<u8>> {
        let query = "SELECT token FROM audit.checkpoint_timestamps
             WHERE epoch = $1 AND tree_size = $2 AND token_sha256 = pg_catalog.decode($3, 'hex')";
        let size = timestamp.tree_size.map(u64::cast_signed);
        let row = self
            .client
            .query_one(query, &[&epoch.cast_signed(), &size, &timestamp.name])?;
        Ok(row.get(0))
    }

    fn strangers(&mut self, _: &[(u32, u64)], each: &mut dyn FnMut(Stranger)) -> Result<()> {
        let mut rows = Rows::new(self.client.copy_out(STRANGERS)?)?;
        while let Some(row) = rows.next()? {
            let event_id = row.i64(0)?;
            let said = |told: &str| {
                format!(
                    "{told}; it says: transaction {}",
                    row.i64(1).unwrap_or_default()
                )
            };
            let why = match row.bytes(2) {
                Some([1]) => Some(said(
                    "it stands in no tree, although its transaction had ended when the last seal was made, or its id is one that no event gets",
                )),
                _ => None,
            };
            each(Stranger {
                event_id: Some(event_id),
                why,
            });
        }
        Ok(())
    }

    fn most_leaves(&mut self, epoch: u32) -> Result<u64> {
        let query = "SELECT pg_catalog.count(*) FROM audit.tiles WHERE epoch = $1 AND level = 1";
        let tiles: i64 = self
            .client
            .query_one(query, &[&epoch.cast_signed()])?
            .get(0);
        Ok(tiles.cast_unsigned().saturating_mul(2 * SEGMENT))
    }

    fn lists_declarations(&self) -> bool {
        true
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Events without a leaf, and whether the last seal should have given them one.
const STRANGERS: &str = "COPY (
    WITH tree AS (SELECT epoch, max(tree_size) AS size FROM audit.checkpoints GROUP BY epoch),
    leaf AS (
        SELECT unnest(event_ids) AS event_id FROM audit.tiles JOIN tree USING (epoch)
        WHERE level = 0 AND tile_index BETWEEN 0 AND size / 256 - 1
        UNION ALL SELECT unnest(event_ids) FROM audit.tree_edge JOIN tree USING (epoch)
        WHERE first_leaf BETWEEN size / 256 * 256 AND size - 1),
    last AS (SELECT snapshot FROM audit.checkpoints ORDER BY epoch DESC, tree_size DESC LIMIT 1)
    SELECT e.event_id, e.xact_id, coalesce(pg_catalog.pg_visible_in_snapshot(e.xact_id, last.snapshot), false)
        OR e.event_id <= 0 OR e.event_id = 9223372036854775807
    FROM audit.audit_events e LEFT JOIN last ON true
    WHERE NOT EXISTS (SELECT FROM leaf WHERE leaf.event_id = e.event_id)
) TO STDOUT (FORMAT binary)";

/// Checkpoints, a row for each of their signatures.
struct Checkpoints<R> {
    rows: Rows<R>,
    held: Option<Sealed>,
}

impl<R: std::io::BufRead> Checkpoints<R> {
    fn line(&mut self) -> Result<Option<Line>> {
        while let Some(row) = self.rows.next()? {
            let size = row.i64(0)?.cast_unsigned();
            let line = row
                .bytes(4)
                .map(|line| String::from_utf8_lossy(line).into_owned());
            if let Some(held) = self.held.as_mut().filter(|held| held.tree_size == size) {
                held.signatures.extend(line);
                continue;
            }
            let hash = |column| {
                row.bytes(column)
                    .and_then(|bytes| Hash::try_from(bytes).ok())
            };
            let read = match (row.bytes(3).is_some(), hash(2), hash(3)) {
                (false, _, _) => Line::Stray(size),
                (true, Some(root), Some(chain)) => Line::Checkpoint(Sealed {
                    tree_size: size,
                    time: unix_micros(row.i64(1)?),
                    horizon: horizon(
                        row.i64(5)?,
                        row.i64(6)?.cast_unsigned(),
                        &String::from_utf8_lossy(row.bytes(7).unwrap_or_default()),
                    ),
                    root,
                    chain,
                    signatures: line.into_iter().collect(),
                }),
                _ => Line::Broken(format!(
                    "checkpoint of tree size {size}: its root or its chain is no hash"
                )),
            };
            return Ok(match read {
                Line::Checkpoint(next) => match self.held.replace(next) {
                    Some(held) => Some(Line::Checkpoint(held)),
                    None => continue,
                },
                told => Some(told),
            });
        }
        Ok(self.held.take().map(Line::Checkpoint))
    }
}

impl<R: std::io::BufRead> Iterator for Checkpoints<R> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}
