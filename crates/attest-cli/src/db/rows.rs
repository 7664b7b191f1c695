//! Rows of a binary COPY: PostgreSQL's documentation, "COPY", section "Binary Format".

use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::ops::Range;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The rows, one at a time: memory is that of the largest.
pub struct Rows<R> {
    input: R,
    bytes: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
    ended: bool,
}

impl<R: Read> Rows<R> {
    pub fn new(mut input: R) -> Result<Self> {
        let mut header = [0; 19];
        input.read_exact(&mut header)?;
        ensure!(
            header.starts_with(SIGNATURE),
            "the server sends no binary COPY"
        );
        ensure!(
            header[11..] == [0; 8],
            "the server's COPY has a header extension"
        );
        Ok(Self {
            input,
            bytes: Vec::new(),
            fields: Vec::new(),
            ended: false,
        })
    }

    /// The next row.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        if self.ended {
            return Ok(None);
        }
        let mut count = [0; 2];
        self.input.read_exact(&mut count)?;
        let Ok(count) = u16::try_from(i16::from_be_bytes(count)) else {
            self.ended = true;
            // The trailer; what follows ends the statement.
            ensure!(
                self.input.read(&mut [0])? == 0,
                "the server's COPY goes on behind its end"
            );
            return Ok(None);
        };
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.fields.clear();
        for _ in 0..count {
            let mut length = [0; 4];
            self.input.read_exact(&mut length)?;
            let Ok(length) = u32::try_from(i32::from_be_bytes(length)) else {
                self.fields.push(None);
                continue;
            };
            let start = self.bytes.len();
            let read = self
                .input
                .by_ref()
                .take(u64::from(length))
                .read_to_end(&mut self.bytes)?;
            ensure!(
                read == length as usize,
                "the server's COPY ends within a field"
            );
            self.fields.push(Some(start..start + read));
        }
        Ok(Some(Row {
            bytes: &self.bytes,
            fields: &self.fields,
        }))
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
