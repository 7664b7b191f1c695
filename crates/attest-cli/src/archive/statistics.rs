//! What a file says of its values beside them: the least and the greatest of each row group, by which other programs pass over
//! rows that they need not read. It has to be true, for they believe it; and nothing else may be there that leads them past rows.

use anyhow::{Result, bail, ensure};
use parquet::data_type::ByteArray;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

/// Refuses indexes, filters, orders and notes that an archive's files do not have: nobody verifies them.
pub fn check_file(metadata: &ParquetMetaData) -> Result<()> {
    let notes = metadata.file_metadata().key_value_metadata();
    ensure!(
        notes.is_none_or(Vec::is_empty),
        "it has notes of its own, which an archive has not"
    );
    for group in metadata.row_groups() {
        ensure!(
            group.sorting_columns().is_none(),
            "it claims an order of rows, which an archive does not"
        );
        for column in group.columns() {
            ensure!(
                column.column_index_offset().is_none()
                    && column.offset_index_offset().is_none()
                    && column.bloom_filter_offset().is_none(),
                "it has an index of {}, which an archive has not",
                column.column_path()
            );
        }
    }
    Ok(())
}

/// What the values of a column of a row group are.
#[derive(Default)]
pub struct Seen {
    numbers: Option<(i64, i64)>,
    bytes: Option<(ByteArray, ByteArray)>,
    nulls: u64,
}

impl Seen {
    /// Some rows have these values, numbers or bytes; the other rows are NULL.
    pub fn add(&mut self, rows: usize, numbers: impl Iterator<Item = i64>, bytes: &[ByteArray]) {
        let mut values = bytes.len();
        for number in numbers {
            let (least, most) = self.numbers.get_or_insert((number, number));
            (*least, *most) = (number.min(*least), number.max(*most));
            values += 1;
        }
        for value in bytes {
            let (least, most) = self
                .bytes
                .get_or_insert_with(|| (value.clone(), value.clone()));
            if value.data() < least.data() {
                *least = value.clone();
            } else if value.data() > most.data() {
                *most = value.clone();
            }
        }
        self.nulls += rows.saturating_sub(values) as u64;
    }

    /// Refuses statistics by which a value would be passed over. Bounds may be wider than the values: those of long texts are cut.
    pub fn check(&self, said: &Statistics) -> Result<()> {
        ensure!(
            said.null_count_opt()
                .is_none_or(|nulls| nulls == self.nulls),
            "it has {} NULLs and says otherwise",
            self.nulls
        );
        // Of the old kind, whose order of texts nobody agreed on. Without bounds it counts as old, too.
        let is_old = said.is_min_max_deprecated()
            && (said.min_bytes_opt().is_some() || said.max_bytes_opt().is_some());
        ensure!(
            said.distinct_count_opt().is_none() && !is_old,
            "it says what an archive does not"
        );
        let fits = match said {
            Statistics::Int32(said) => self.numbers.is_none_or(|(least, most)| {
                said.min_opt().is_none_or(|min| i64::from(*min) <= least)
                    && said.max_opt().is_none_or(|max| i64::from(*max) >= most)
            }),
            Statistics::Int64(said) => self.numbers.is_none_or(|(least, most)| {
                said.min_opt().is_none_or(|min| *min <= least)
                    && said.max_opt().is_none_or(|max| *max >= most)
            }),
            Statistics::ByteArray(said) => self.bytes.as_ref().is_none_or(|(least, most)| {
                said.min_opt().is_none_or(|min| min.data() <= least.data())
                    && said.max_opt().is_none_or(|max| max.data() >= most.data())
            }),
            _ => bail!("it says what an archive does not"),
        };
        ensure!(
            fits,
            "it has values beyond those that it says are the least and the greatest"
        );
        Ok(())
    }
}
