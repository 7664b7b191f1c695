//! Events out of an archive's Parquet file, a batch of rows at a time.

use super::columns::{COLUMNS, EPOCH, Kind, LEAF_INDEX};
use super::schema;
use super::statistics::{self, Seen};
use anyhow::{Context, Result, anyhow, ensure};
use attest_log::encoding::{EventRecord, TextListBuf};
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Rows of a batch at most, and the bytes that a batch has on average at most.
const ROWS: usize = 4096;
const BYTES: usize = 8 << 20;

/// An event and its leaf, as the file says.
pub struct Archived<'a> {
    pub event: EventRecord<'a>,
    pub epoch: i32,
    pub leaf_index: i64,
}

/// Calls `each` with every event of the file. The error is why it cannot be read (to its end).
///
/// Broken files make the reader panic here and there: that is an error too.
pub fn read(file: File, each: &mut dyn FnMut(&Archived<'_>) -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| read_file(file, each))).unwrap_or_else(|_| {
        Err(anyhow!(
            "it is broken in a way that its reader does not take"
        ))
    })
}

fn read_file(file: File, each: &mut dyn FnMut(&Archived<'_>) -> Result<()>) -> Result<()> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    ensure!(
        schema.root_schema().get_fields() == schema::schema()?.get_fields(),
        "it has other columns than an archive"
    );
    statistics::check_file(reader.metadata())?;
    let mut batch = Batch::default();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        let (rows, bytes) = (
            group.metadata().num_rows(),
            group.metadata().total_byte_size(),
        );
        let rows = usize::try_from(rows).context("a row group has less than no rows")?;
        let each_row = usize::try_from(bytes).unwrap_or(0) / rows.max(1);
        let step = (BYTES / each_row.max(1)).clamp(1, ROWS);
        let mut readers = Readers::open(group.as_ref())?;
        // Of each column what the file says, if it says anything, and what there is.
        let columns = group.metadata().columns().iter();
        let mut claims: Vec<_> = columns
            .map(|column| Some((column.statistics()?, Seen::default())))
            .collect();
        let mut left = rows;
        while left > 0 {
            let taken = left.min(step);
            readers.read(taken, &mut batch)?;
            for (claim, cells) in claims.iter_mut().zip(&batch.columns) {
                if let Some((_, seen)) = claim {
                    let ints = cells.ints.iter().map(|int| i64::from(*int));
                    let numbers = ints.chain(cells.longs.iter().copied());
                    seen.add(taken, numbers, &cells.bytes);
                }
            }
            for _ in 0..taken {
                each(&batch.next()?)?;
            }
            left -= taken;
        }
        for (claim, column) in claims.iter().zip(&COLUMNS) {
            if let Some((said, seen)) = claim {
                seen.check(said)
                    .with_context(|| format!("its column {}", column.name))?;
            }
        }
    }
    Ok(())
}

struct Readers(Vec<ColumnReader>);

impl Readers {
    fn open(group: &dyn RowGroupReader) -> Result<Self> {
        let readers = (0..COLUMNS.len()).map(|column| group.get_column_reader(column));
        Ok(Self(readers.collect::<Result<_, _>>()?))
    }

    fn read(&mut self, rows: usize, batch: &mut Batch) -> Result<()> {
        batch.columns.resize_with(COLUMNS.len(), Cells::default);
        for (reader, cells) in self.0.iter_mut().zip(&mut batch.columns) {
            cells.clear();
            let Cells {
                ints,
                longs,
                bytes,
                levels,
                repeats,
                ..
            } = cells;
            let (read, _, _) = match reader {
                ColumnReader::Int32ColumnReader(reader) => {
                    reader.read_records(rows, Some(levels), Some(repeats), ints)?
                }
                ColumnReader::Int64ColumnReader(reader) => {
                    reader.read_records(rows, Some(levels), Some(repeats), longs)?
                }
                ColumnReader::ByteArrayColumnReader(reader) => {
                    reader.read_records(rows, Some(levels), Some(repeats), bytes)?
                }
                _ => return Err(anyhow!("it has other columns than an archive")),
            };
            ensure!(read == rows, "a column ends before the others");
        }
        Ok(())
    }
}

/// A column of a batch: levels say which rows have a value, the values come in order.
#[derive(Default)]
struct Cells {
    ints: Vec<i32>,
    longs: Vec<i64>,
    bytes: Vec<ByteArray>,
    levels: Vec<i16>,
    repeats: Vec<i16>,
    /// The next level, and the next value.
    level: usize,
    value: usize,
}

impl Cells {
    fn clear(&mut self) {
        self.ints.clear();
        self.longs.clear();
        self.bytes.clear();
        self.levels.clear();
        self.repeats.clear();
        (self.level, self.value) = (0, 0);
    }

    /// Whether the next row has a value; a column without levels always has.
    fn step(&mut self) -> Option<usize> {
        let there = self.levels.get(self.level).is_none_or(|level| *level > 0);
        self.level += 1;
        self.value += usize::from(there);
        there.then(|| self.value - 1)
    }
}

/// Rows that were read.
#[derive(Default)]
struct Batch {
    columns: Vec<Cells>,
    changed: TextListBuf,
}

impl Batch {
    fn next(&mut self) -> Result<Archived<'_>> {
        let mut places = [None; COLUMNS.len()];
        let mut has_list = false;
        for ((place, cells), column) in places.iter_mut().zip(&mut self.columns).zip(&COLUMNS) {
            if column.kind == Kind::List {
                has_list = list(cells, &mut self.changed)?;
            } else {
                *place = cells.step();
            }
        }
        let (columns, changed) = (&self.columns, &self.changed);
        let long = |column: usize| -> Result<Option<i64>> {
            places[column]
                .map(|place| columns[column].longs.get(place).copied())
                .map(|value| value.context("a column ends before the others"))
                .transpose()
        };
        let needed = |column: usize| -> Result<i64> {
            long(column)?.with_context(|| format!("{} is missing", COLUMNS[column].name))
        };
        let int = |column: usize| -> Result<i32> {
            let value = places[column].and_then(|place| columns[column].ints.get(place));
            value
                .copied()
                .with_context(|| format!("{} is missing", COLUMNS[column].name))
        };
        let bytes = |column: usize| -> Option<&[u8]> {
            columns[column]
                .bytes
                .get(places[column]?)
                .map(ByteArray::data)
        };
        let salt = bytes(8).map(<[u8; 16]>::try_from).transpose();
        let payload_hash = bytes(34).map(<[u8; 32]>::try_from).transpose();
        let event = EventRecord {
            event_id: needed(0)?,
            occurred_at: needed(1)?,
            captured_at: needed(2)?,
            xact_id: needed(3)?.cast_unsigned(),
            statement_id: int(4)?,
            backend_pid: int(5)?,
            table_oid: long(6)?.map(u32::try_from).transpose()?,
            operation: bytes(7).unwrap_or_default(),
            salt: salt.context("a salt is not 16 bytes long")?,
            schema_name: bytes(9),
            table_name: bytes(10),
            row_key: bytes(11),
            old_row_key: bytes(12),
            old_values: bytes(13),
            new_values: bytes(14),
            changed_columns: has_list.then(|| changed.as_list()),
            session_user_name: bytes(16).unwrap_or_default(),
            effective_role: bytes(17).unwrap_or_default(),
            app_user_id: bytes(18),
            request_id: bytes(19),
            process_id: bytes(20),
            session_id: bytes(21),
            tenant_id: bytes(22),
            reason: bytes(23),
            application_name: bytes(24),
            client_addr: bytes(25),
            action: bytes(26),
            category: bytes(27),
            severity: bytes(28),
            entity_type: bytes(29),
            entity_id: bytes(30),
            entity_name: bytes(31),
            description: bytes(32),
            context: bytes(33),
            payload_hash: payload_hash.context("a payload_hash is not 32 bytes long")?,
        };
        Ok(Archived {
            event,
            epoch: int(EPOCH)?,
            leaf_index: needed(LEAF_INDEX)?,
        })
    }
}

/// The next row's list; false is NULL. Levels: 0 no list, 1 an empty one, 2 a NULL in it, 3 a text.
fn list(cells: &mut Cells, into: &mut TextListBuf) -> Result<bool> {
    into.clear();
    let first = cells.level;
    let level = |at: usize| cells.levels.get(at).copied();
    let there = level(first).context("a column ends before the others")? > 0;
    let mut at = first;
    while at == first || cells.repeats.get(at) == Some(&1) {
        match level(at) {
            Some(2) => into.push(None)?,
            Some(3) => {
                let text = cells.bytes.get(cells.value);
                into.push(Some(text.context("a list ends early")?.data()))?;
                cells.value += 1;
            }
            _ => {}
        }
        at += 1;
    }
    cells.level = at;
    Ok(there)
}
