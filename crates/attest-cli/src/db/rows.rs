//! Rows of a binary COPY: PostgreSQL's documentation, "COPY", section "Binary Format".

use anyhow::{Context, Result, ensure};
use std::io::BufRead;
use std::ops::Range;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The rows, one at a time: memory is that of the largest.
pub struct Rows<R> {
    input: R,
    /// What was taken from the input; the server sends a row at a time.
    bytes: Vec<u8>,
    /// Where the last row ends.
    end: usize,
    fields: Vec<Option<Range<usize>>>,
    ended: bool,
}

impl<R: BufRead> Rows<R> {
    pub fn new(input: R) -> Result<Self> {
        let mut rows = Self {
            input,
            bytes: Vec::new(),
            end: 0,
            fields: Vec::new(),
            ended: false,
        };
        let header: [u8; 19] = rows.take()?;
        ensure!(
            header.starts_with(SIGNATURE),
            "the server sends no binary COPY"
        );
        ensure!(
            header[11..] == [0; 8],
            "the server's COPY has a header extension"
        );
        Ok(rows)
    }

    /// The next row.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        let next = self.advance()?;
        Ok(next.then_some(Row {
            bytes: &self.bytes,
            fields: &self.fields,
        }))
    }

    /// The row that is packed into the one field of the next row, as `audit.event_row` does.
    pub fn next_packed(&mut self) -> Result<Option<Row<'_>>> {
        if !self.advance()? {
            return Ok(None);
        }
        let packed = self.fields.first().cloned().flatten();
        let packed = packed.context("a row is missing")?;
        self.fields.clear();
        self.end = packed.start;
        let count = u16::from_be_bytes(self.within(packed.end)?);
        for _ in 0..count {
            let Ok(length) = u32::try_from(i32::from_be_bytes(self.within(packed.end)?)) else {
                self.fields.push(None);
                continue;
            };
            let start = self.end;
            self.end += length as usize;
            ensure!(self.end <= packed.end, "a row ends within a field");
            self.fields.push(Some(start..self.end));
        }
        ensure!(self.end == packed.end, "a row goes on behind its end");
        Ok(Some(Row {
            bytes: &self.bytes,
            fields: &self.fields,
        }))
    }

    /// The next bytes of a packed row.
    fn within<const N: usize>(&mut self, end: usize) -> Result<[u8; N]> {
        let bytes = self.bytes[..end].get(self.end..self.end + N);
        self.end += N;
        Ok(bytes.context("a row ends early")?.try_into()?)
    }

    /// Takes the next row; false at the end.
    fn advance(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.bytes.drain(..self.end);
        self.bytes.shrink_to(1 << 20);
        self.end = 0;
        self.fields.clear();
        let Ok(count) = u16::try_from(i16::from_be_bytes(self.take()?)) else {
            self.ended = true;
            // The trailer; what follows ends the statement.
            ensure!(
                self.end == self.bytes.len() && self.input.fill_buf()?.is_empty(),
                "the server's COPY goes on behind its end"
            );
            return Ok(false);
        };
        for _ in 0..count {
            let Ok(length) = u32::try_from(i32::from_be_bytes(self.take()?)) else {
                self.fields.push(None);
                continue;
            };
            let start = self.end;
            self.need(length as usize)?;
            self.fields.push(Some(start..self.end));
        }
        Ok(true)
    }

    /// The next bytes.
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let start = self.end;
        self.need(N)?;
        Ok(self.bytes[start..self.end].try_into()?)
    }

    /// Sees to it that so many more bytes are there.
    fn need(&mut self, count: usize) -> Result<()> {
        self.end += count;
        while self.bytes.len() < self.end {
            let next = self.input.fill_buf()?;
            ensure!(!next.is_empty(), "the server's COPY ends within a row");
            let taken = next.len();
            self.bytes.extend_from_slice(next);
            self.input.consume(taken);
        }
        Ok(())
    }
}

/// A row; columns count from 0.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    bytes: &'a [u8],
    fields: &'a [Option<Range<usize>>],
}

impl<'a> Row<'a> {
    /// A field's bytes; None is NULL.
    pub fn bytes(self, column: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.fields.get(column)?.clone()?)
    }

    /// A field of fixed width.
    pub fn array<const N: usize>(self, column: usize) -> Option<[u8; N]> {
        self.bytes(column)?.try_into().ok()
    }

    /// A bigint, or what is sent like one.
    pub fn i64(self, column: usize) -> Result<i64> {
        let bytes = self.array(column);
        bytes
            .map(i64::from_be_bytes)
            .with_context(|| format!("column {column} is no bigint"))
    }
}
