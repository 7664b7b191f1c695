//! Events gathered by column until they are a row group, which is then written in the order of their leaves.

use super::columns::{self, COLUMNS, EPOCH, Kind, LEAF_INDEX, Value};
use anyhow::{Context, Result};
use attest_log::encoding::{EventRecord, TextList};
use bytes::Bytes;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use std::io::Write;

/// Rows of a row group at most.
pub const ROWS: usize = 131_072;
/// Bytes of values beyond which a row group is written with fewer rows: what memory has to hold.
pub const BYTES: usize = 20 << 20;

/// Events to be written.
pub struct RowGroup {
    columns: Vec<Values>,
    rows: usize,
    bytes: usize,
}

/// A column's values by row.
enum Values {
    Longs(Vec<i64>),
    Ints(Vec<i32>),
    /// Of a column that can be NULL.
    SomeLongs(Vec<Option<i64>>),
    Bytes(Spans),
}

/// Where values are in their column's bytes. Columns that are NULL in all rows take no memory.
#[derive(Default)]
struct Spans {
    bytes: Vec<u8>,
    /// Start and length; rows behind the last are NULL.
    spans: Vec<(u32, u32)>,
}

const NULL: (u32, u32) = (u32::MAX, 0);

impl Spans {
    fn set(&mut self, row: usize, value: &[u8]) -> Result<()> {
        let start = u32::try_from(self.bytes.len());
        let length = u32::try_from(value.len());
        let span = (
            start.context("the values of a column are too many")?,
            length.context("a value is too long")?,
        );
        self.spans.resize(row, NULL);
        self.spans.push(span);
        self.bytes.extend_from_slice(value);
        Ok(())
    }
}

impl RowGroup {
    pub fn new() -> Self {
        let values = |index: usize| match (COLUMNS[index].kind, COLUMNS[index].required) {
            (Kind::Long | Kind::Time | Kind::Oid, true) => Values::Longs(Vec::new()),
            (Kind::Long | Kind::Time | Kind::Oid, false) => Values::SomeLongs(Vec::new()),
            (Kind::Int, _) => Values::Ints(Vec::new()),
            (Kind::Text | Kind::Address | Kind::Json | Kind::Bytes | Kind::List, _) => {
                Values::Bytes(Spans::default())
            }
        };
        Self {
            columns: (0..COLUMNS.len()).map(values).collect(),
            rows: 0,
            bytes: 0,
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether it is time to write it.
    pub fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }

    /// Takes an event.
    pub fn push(&mut self, event: &EventRecord<'_>, epoch: u32, leaf_index: u64) -> Result<()> {
        let values = columns::values(event, epoch.cast_signed(), leaf_index.cast_signed());
        for (column, value) in self.columns.iter_mut().zip(values) {
            match (column, value) {
                (Values::Longs(longs), Some(Value::Long(value))) => longs.push(value),
                (Values::Ints(ints), Some(Value::Int(value))) => ints.push(value),
                (Values::SomeLongs(longs), Some(Value::Long(value))) => longs.push(Some(value)),
                (Values::SomeLongs(longs), _) => longs.push(None),
                (Values::Bytes(spans), Some(Value::Bytes(value))) => {
                    self.bytes += value.len();
                    spans.set(self.rows, value)?;
                }
                _ => {}
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Writes all rows as one row group.
    pub fn write<W: Write + Send>(&mut self, file: &mut SerializedFileWriter<W>) -> Result<()> {
        let order = self.order();
        let mut group = file.next_row_group()?;
        for values in &mut self.columns {
            let mut column = group
                .next_column()?
                .context("the file has fewer columns than an event")?;
            values.write(&order, &mut column)?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// The rows in the order of their leaves.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.rows).collect();
        if let (Values::Ints(epochs), Values::Longs(leaves)) =
            (&self.columns[EPOCH], &self.columns[LEAF_INDEX])
        {
            order.sort_unstable_by_key(|row| (epochs[*row], leaves[*row]));
        }
        order
    }
}

impl Values {
    fn write(&mut self, order: &[usize], column: &mut SerializedColumnWriter<'_>) -> Result<()> {
        match self {
            Self::Longs(values) => {
                let sorted: Vec<_> = order.iter().map(|row| values[*row]).collect();
                column
                    .typed::<Int64Type>()
                    .write_batch(&sorted, None, None)?;
            }
            Self::Ints(values) => {
                let sorted: Vec<_> = order.iter().map(|row| values[*row]).collect();
                column
                    .typed::<Int32Type>()
                    .write_batch(&sorted, None, None)?;
            }
            Self::SomeLongs(values) => {
                let sorted: Vec<_> = order.iter().filter_map(|row| values[*row]).collect();
                let levels: Vec<_> = order
                    .iter()
                    .map(|row| i16::from(values[*row].is_some()))
                    .collect();
                column
                    .typed::<Int64Type>()
                    .write_batch(&sorted, Some(&levels), None)?;
            }
            Self::Bytes(spans) => spans.write(order, column)?,
        }
        Ok(())
    }
}

impl Spans {
    fn write(&mut self, order: &[usize], column: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let column = column.typed::<ByteArrayType>();
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let spans = std::mem::take(&mut self.spans);
        let found = order.iter().map(|row| {
            let (start, length) = *spans.get(*row).filter(|span| **span != NULL)?;
            let start = start as usize;
            Some(bytes.slice(start..start + length as usize))
        });
        let descriptor = column.get_descriptor();
        if descriptor.max_rep_level() > 0 {
            let (mut values, mut levels, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
            for list in found {
                elements(list.as_ref(), &mut values, &mut levels, &mut repeats)?;
            }
            column.write_batch(&values, Some(&levels), Some(&repeats))?;
        } else if descriptor.max_def_level() == 0 {
            let values: Vec<_> = found
                .map(|value| value.unwrap_or_default().into())
                .collect();
            column.write_batch(&values, None, None)?;
        } else {
            let (mut values, mut levels) = (Vec::new(), Vec::with_capacity(order.len()));
            for value in found {
                levels.push(i16::from(value.is_some()));
                values.extend(value.map(ByteArray::from));
            }
            column.write_batch(&values, Some(&levels), None)?;
        }
        Ok(())
    }
}

/// One list: 0 is no list, 1 an empty one, 2 a NULL in it, 3 a text.
fn elements(
    list: Option<&Bytes>,
    values: &mut Vec<ByteArray>,
    levels: &mut Vec<i16>,
    repeats: &mut Vec<i16>,
) -> Result<()> {
    let Some(list) = list else {
        levels.push(0);
        repeats.push(0);
        return Ok(());
    };
    let first = levels.len();
    for element in TextList::parse(list)?.iter() {
        repeats.push(i16::from(levels.len() > first));
        levels.push(if element.is_some() { 3 } else { 2 });
        values.extend(element.map(|element| ByteArray::from(list.slice_ref(element))));
    }
    if levels.len() == first {
        levels.push(1);
        repeats.push(0);
    }
    Ok(())
}
