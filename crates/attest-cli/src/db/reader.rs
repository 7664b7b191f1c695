//! Reads the bulk of one epoch from the log's tables.

use super::event_row;
use super::rows::Rows;
use crate::source::{EachDeclaring, Found, Reader, SEGMENT};
use anyhow::{Context, Result};
use attest_log::declaration::ACTIONS;
use attest_log::encoding::TextListBuf;
use attest_log::tile::{self, Tile, TileReader};
use attest_log::{Error, Hash};
use postgres::Client;
use std::collections::HashMap;
use std::ops::Range;

/// A gap in event ids that is read over rather than asked around: a statement costs as much as some hundred rows.
const GAP: i64 = 256;

/// The events that declare; where they stand; of one that stands nowhere, whether it is only not sealed yet.
const DECLARING: &str = "
    WITH last AS (SELECT snapshot FROM audit.checkpoints ORDER BY epoch DESC, tree_size DESC LIMIT 1)
    SELECT e.event_id, l.epoch, l.leaf, NOT coalesce(pg_catalog.pg_visible_in_snapshot(e.xact_id, last.snapshot), false)
        AND e.event_id > 0 AND e.event_id < 9223372036854775807
    FROM audit.audit_events e LEFT JOIN last ON true
    LEFT JOIN LATERAL (
        SELECT epoch, tile_index * 256 + array_position(event_ids, e.event_id) - 1 AS leaf FROM audit.tiles
        WHERE level = 0 AND int8range(min_event_id, max_event_id, '[]') @> e.event_id AND e.event_id = ANY (event_ids)
        UNION ALL SELECT epoch, first_leaf + array_position(event_ids, e.event_id) - 1 FROM audit.tree_edge
        WHERE e.event_id = ANY (event_ids)) AS l ON true
    WHERE e.operation = 'system' AND e.action = ANY ($1)";

/// A connection in the snapshot.
pub struct DbReader {
    client: Client,
    epoch: i32,
    size: u64,
    loaded: Option<Loaded>,
    changed: TextListBuf,
}

/// The leaves of a segment.
struct Loaded {
    segment: u64,
    tiles: Vec<Result<Leaves, String>>,
}

struct Leaves {
    hashes: Vec<Hash>,
    event_ids: Vec<i64>,
}

impl DbReader {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            epoch: 0,
            size: 0,
            loaded: None,
            changed: TextListBuf::new(),
        }
    }

    fn load(&mut self, segment: u64) -> Result<&Loaded> {
        if self
            .loaded
            .as_ref()
            .is_none_or(|loaded| loaded.segment != segment)
        {
            self.loaded = Some(self.read(segment)?);
        }
        self.loaded.as_ref().context("nothing is loaded")
    }

    fn read(&mut self, segment: u64) -> Result<Loaded> {
        let first = segment * 256;
        let count = (self.size - segment * SEGMENT).min(SEGMENT).div_ceil(256);
        let mut tiles: Vec<Result<Leaves, String>> = Vec::new();
        tiles.resize_with(usize::try_from(count)?, || Err("it is missing".to_owned()));
        let rows = self.client.query(
            "SELECT tile_index - $2, hashes, event_ids FROM audit.tiles
             WHERE epoch = $1 AND level = 0 AND tile_index >= $2 AND tile_index < $2 + 256",
            &[&self.epoch, &first.cast_signed()],
        )?;
        for row in rows {
            let place = usize::try_from(row.get::<_, i64>(0))?;
            let (hashes, event_ids): (&[u8], Option<Vec<i64>>) = (row.get(1), row.get(2));
            if let Some(tile) = tiles.get_mut(place) {
                *tile = tile::parse(hashes)
                    .map_err(|error| error.to_string())
                    .and_then(|hashes| {
                        let event_ids = event_ids.unwrap_or_default();
                        let fits = hashes.len() == event_ids.len();
                        let hashes = hashes.to_vec();
                        fits.then_some(Leaves { hashes, event_ids })
                            .ok_or("it has not an event id for each hash".to_owned())
                    });
            }
        }
        if self.size / 256 < first + count
            && let Some(tile) = tiles.last_mut()
        {
            *tile = self.edge()?;
        }
        Ok(Loaded { segment, tiles })
    }

    /// The leaves behind the last full tile.
    fn edge(&mut self) -> Result<Result<Leaves, String>> {
        let rows = self.client.query(
            "SELECT first_leaf, hashes, event_ids FROM audit.tree_edge WHERE epoch = $1 ORDER BY first_leaf",
            &[&self.epoch],
        )?;
        let mut leaves = Leaves {
            hashes: Vec::new(),
            event_ids: Vec::new(),
        };
        let first = self.size / 256 * 256;
        for row in rows {
            let at: i64 = row.get(0);
            let (hashes, event_ids): (&[u8], Vec<i64>) = (row.get(1), row.get(2));
            let (hashes, rest) = hashes.as_chunks();
            if at.cast_unsigned() != first + leaves.hashes.len() as u64
                || !rest.is_empty()
                || hashes.len() != event_ids.len()
            {
                return Ok(Err(format!(
                    "the row of audit.tree_edge at leaf {at} does not continue it"
                )));
            }
            leaves.hashes.extend_from_slice(hashes);
            leaves.event_ids.extend(event_ids);
        }
        let beyond = leaves.hashes.len() as u64 > self.size - first;
        Ok(if beyond {
            Err(format!(
                "audit.tree_edge goes beyond the newest checkpoint, of {} leaves",
                self.size
            ))
        } else {
            Ok(leaves)
        })
    }

    fn upper(&mut self, tile: Tile) -> Result<Result<Vec<Hash>, String>> {
        let (level, index) = (i32::from(tile.level), tile.index.cast_signed());
        if tile.is_full() {
            let row = self.client.query_opt(
                "SELECT hashes FROM audit.tiles WHERE epoch = $1 AND level = $2 AND tile_index = $3",
                &[&self.epoch, &level, &index],
            )?;
            return Ok(match row {
                None => Err("it is missing".to_owned()),
                Some(row) => tile::parse(row.get(0))
                    .map(<[Hash]>::to_vec)
                    .map_err(|error| error.to_string()),
            });
        }
        // Not stored: the roots of the full tiles below it.
        let first = index * 256;
        let rows = self.client.query(
            "SELECT root FROM audit.tiles WHERE epoch = $1 AND level = $2 AND tile_index >= $3 AND tile_index < $4 ORDER BY tile_index",
            &[&self.epoch, &(level - 1), &first, &(first + i64::from(tile.width))],
        )?;
        let roots = rows
            .iter()
            .map(|row| Hash::try_from(row.get::<_, &[u8]>(0)).ok());
        Ok(match roots.collect::<Option<Vec<_>>>() {
            Some(roots) if roots.len() == usize::from(tile.width) => Ok(roots),
            _ => Err("a tile below it is missing or has no root".to_owned()),
        })
    }

    /// The events of these leaves by id, each id with its leaf.
    fn wanted(&mut self, leaves: &Range<u64>) -> Result<Vec<(i64, u64)>> {
        let segment = leaves.start / SEGMENT;
        let loaded = self.load(segment)?;
        let mut wanted = Vec::new();
        for (tile, first) in loaded.tiles.iter().zip((segment * SEGMENT..).step_by(256)) {
            if let Ok(tile) = tile {
                let ids = tile.event_ids.iter().copied().zip(first..);
                wanted.extend(ids.filter(|(_, leaf)| leaves.contains(leaf)));
            }
        }
        wanted.sort_unstable();
        Ok(wanted)
    }
}

/// Ranges of ids, both ends included, that hold all of these and few others.
fn runs(wanted: &[(i64, u64)]) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (id, _) in wanted {
        match runs.last_mut() {
            Some(run) if id.saturating_sub(run.1) <= GAP => run.1 = *id,
            _ => runs.push((*id, *id)),
        }
    }
    runs
}

impl Reader for DbReader {
    fn open(&mut self, epoch: u32) -> Result<()> {
        self.epoch = epoch.cast_signed();
        self.loaded = None;
        let size = "SELECT coalesce(max(tree_size), 0) FROM audit.checkpoints WHERE epoch = $1";
        self.size = self
            .client
            .query_one(size, &[&self.epoch])?
            .get::<_, i64>(0)
            .cast_unsigned();
        Ok(())
    }

    fn announce(&mut self, _: Range<u64>) {}

    fn tile(&mut self, tile: Tile) -> Result<Result<Vec<Hash>, String>> {
        if tile.level > 0 {
            return self.upper(tile);
        }
        let loaded = self.load(tile.index / 256)?;
        Ok(match loaded.tiles.get(usize::try_from(tile.index % 256)?) {
            Some(Ok(leaves)) => Ok(leaves.hashes.clone()),
            Some(Err(why)) => Err(why.clone()),
            None => Err("it is missing".to_owned()),
        })
    }

    fn entries(&mut self, _: Tile) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn event_id(&self, leaf_index: u64) -> Option<i64> {
        let loaded = self.loaded.as_ref()?;
        let place = usize::try_from(leaf_index.checked_sub(loaded.segment * SEGMENT)?).ok()?;
        let tile = loaded.tiles.get(place / 256)?.as_ref().ok()?;
        tile.event_ids.get(place % 256).copied()
    }

    fn events(&mut self, leaves: Range<u64>, each: &mut dyn FnMut(Found<'_>)) -> Result<()> {
        self.events_where("true", leaves, each)
    }

    fn declaring(
        &mut self,
        epochs: &[(u32, u64)],
        _: usize,
        each: &mut EachDeclaring<'_>,
    ) -> Result<()> {
        let mut leaves: HashMap<i64, Option<(u32, u64)>> = HashMap::new();
        for row in self.client.query(DECLARING, &[&ACTIONS.as_slice()])? {
            let leaf: Option<(i32, i64)> = row.get::<_, Option<i32>>(1).zip(row.get(2));
            let leaf = leaf.map(|(epoch, index)| (epoch.cast_unsigned(), index.cast_unsigned()));
            let stands = |(epoch, index)| {
                epochs
                    .iter()
                    .any(|known| known.0 == epoch && index < known.1)
            };
            // One that should have a leaf and has none is found among the strangers.
            let counts = leaf.map_or_else(|| row.get::<_, bool>(3), stands);
            if counts {
                leaves.insert(row.get(0), leaf);
            }
        }
        let list = format!(
            "COPY (SELECT {} FROM audit.audit_events WHERE operation = 'system' AND action IN ('{}') ORDER BY event_id)
             TO STDOUT (FORMAT binary)",
            event_row::EVENT,
            ACTIONS.join("', '")
        );
        let mut rows = Rows::new(self.client.copy_out(&list)?)?;
        while let Some(row) = rows.next_packed()? {
            if let Some(leaf) = leaves.get(&row.i64(0)?)
                && let Ok(event) = event_row::read(row, &mut self.changed)
            {
                each(*leaf, &event)?;
            }
        }
        Ok(())
    }
}

impl DbReader {
    /// The events of these leaves for which a condition of SQL holds.
    pub fn events_where(
        &mut self,
        condition: &str,
        leaves: Range<u64>,
        each: &mut dyn FnMut(Found<'_>),
    ) -> Result<()> {
        let wanted = self.wanted(&leaves)?;
        for (from, to) in runs(&wanted) {
            let copy = format!(
                "COPY (SELECT {} FROM audit.audit_events WHERE event_id >= {from} AND event_id <= {to} AND {condition}) TO STDOUT (FORMAT binary)",
                event_row::EVENT
            );
            let mut rows = Rows::new(self.client.copy_out(&copy)?)?;
            // Most come in the order of their ids.
            let mut next = 0;
            while let Some(row) = rows.next_packed()? {
                let event_id = row.i64(0)?;
                if wanted.get(next).is_none_or(|(id, _)| *id != event_id) {
                    match wanted.binary_search_by_key(&event_id, |(id, _)| *id) {
                        Ok(at) => next = at,
                        Err(_) => continue,
                    }
                }
                let leaf_index = wanted[next].1;
                next += 1;
                match event_row::read(row, &mut self.changed) {
                    Ok(event) => each(Found::Event { leaf_index, event }),
                    Err(why) => each(Found::Broken {
                        event_id: Some(event_id),
                        leaf_index: Some(leaf_index),
                        why,
                    }),
                }
            }
        }
        Ok(())
    }
}

impl DbReader {
    /// The hashes of a tile of a smaller tree, which has grown since; or why there are none.
    pub fn grown_tile(&mut self, tile: Tile) -> Result<Result<Vec<Hash>, String>> {
        let grown = Tile::in_tree(tile.level, tile.index, self.size).unwrap_or(tile);
        let width = usize::from(tile.width);
        Ok(self.tile(grown)?.and_then(|mut hashes| {
            hashes.truncate(width);
            let whole = hashes.len() == width;
            whole
                .then_some(hashes)
                .ok_or_else(|| "it has fewer hashes than the tree".to_owned())
        }))
    }
}

/// The tiles as proofs are made of them; one that is not there is an error.
pub struct Tiles<'a>(pub &'a mut DbReader);

impl TileReader for Tiles<'_> {
    type Error = anyhow::Error;

    fn read(&mut self, tile: Tile) -> Result<Vec<Hash>> {
        match self.0.grown_tile(tile)? {
            Ok(hashes) => Ok(hashes),
            Err(_) => Err(Error::ShortTile { tile, found: 0 }.into()),
        }
    }
}
