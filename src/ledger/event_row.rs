//! `audit.event_row`: an event's columns in one value, for programs that read many events.
//!
//! It is what a binary COPY of the columns would be (documentation of `COPY`, "Binary Format": a number of fields, then each one's
//! length and bytes), made for less than half: no output function is called for each column, and JSON is printed by code of our own.
//! The columns are arguments: who asks for an event needs the right to read it.

use super::leaf::{COLUMNS, Labels, at};
use crate::pg::call_row::CallRow;
use crate::pg::cell::Backend;
use crate::pg::columns::{Columns, Fields, LastInet};
use crate::pg::time::statement_start;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::RefCell;

/// The version that binary JSON begins with; another one stands for a value that has no text.
const JSON: u8 = 1;
const UNPRINTABLE: u8 = 0;

const COUNT: u16 = 35;
const _: () = assert!(COUNT as usize == COLUMNS.len());

static PACKER: Backend<RefCell<Option<Packer>>> = Backend::refcell(None);

/// `audit.event_row(event_id, …)`
#[pg_extern(sql = false)]
#[allow(clippy::needless_pass_by_value)] // as pgrx hands arguments over
fn event_row(columns: CallRow) -> Vec<u8> {
    let mut packer = PACKER.borrow_mut();
    let now = statement_start();
    if packer.as_ref().is_none_or(|packer| packer.of != now) {
        *packer = Some(Packer::new(now));
    }
    let mut bytes = Vec::with_capacity(1024);
    if let Some(packer) = packer.as_mut() {
        packer.pack(&columns, &mut bytes);
    }
    bytes
}

/// What is kept from one row of a statement to the next.
struct Packer {
    /// When the statement began.
    of: i64,
    columns: Columns,
    json: Vec<u8>,
    address: LastInet,
    labels: Labels,
}

impl Packer {
    fn new(of: i64) -> Self {
        Self {
            of,
            columns: Columns::of_arguments(&COLUMNS),
            json: Vec::new(),
            address: LastInet::default(),
            labels: Labels::default(),
        }
    }

    fn pack(&mut self, columns: &CallRow, into: &mut Vec<u8>) {
        let row = self.columns.read(columns.row());
        into.extend_from_slice(&COUNT.to_be_bytes());
        for (number, column) in COLUMNS.iter().enumerate() {
            match column.type_oid {
                pg_sys::INT8OID | pg_sys::TIMESTAMPTZOID | pg_sys::XID8OID => {
                    put(into, row.int8(number).map(i64::to_be_bytes));
                }
                pg_sys::INT4OID => put(into, row.int4(number).map(i32::to_be_bytes)),
                pg_sys::OIDOID => {
                    put(into, row.oid(number).map(|oid| oid.to_u32().to_be_bytes()));
                }
                pg_sys::UUIDOID => put(into, row.uuid(number)),
                pg_sys::INETOID => put(into, row.inet_text(number, &mut self.address)),
                pg_sys::TEXTARRAYOID => list(into, &row, number),
                pg_sys::JSONBOID => match row.json_text(number, &mut self.json) {
                    None => put(into, None::<&[u8]>),
                    Some(printed) => {
                        put_length(into, self.json.len() + 1);
                        into.push(if printed { JSON } else { UNPRINTABLE });
                        into.extend_from_slice(&self.json);
                    }
                },
                _ if number == at::OPERATION => {
                    let operation = row.oid(number).unwrap_or_default();
                    put(into, self.labels.of(operation));
                }
                _ => put(into, row.bytes(number)),
            }
        }
    }
}

fn put(into: &mut Vec<u8>, value: Option<impl AsRef<[u8]>>) {
    let Some(value) = value else {
        into.extend_from_slice(&(-1_i32).to_be_bytes());
        return;
    };
    put_length(into, value.as_ref().len());
    into.extend_from_slice(value.as_ref());
}

/// No value is longer than 1 GB.
fn bytes_of(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn put_length(into: &mut Vec<u8>, length: usize) {
    into.extend_from_slice(&bytes_of(length));
}

/// An array as `array_send` has it: dimensions, whether there are NULLs, element type; of one dimension its length and lower bound; the elements.
/// One that is not plain gets two dimensions, and nothing else: it is no list that `pg_attest` wrote.
fn list(into: &mut Vec<u8>, row: &Fields<'_>, number: usize) {
    let start = into.len();
    put_length(into, 0);
    let header = |dimensions: u32, nulls: bool| {
        [dimensions, nulls.into(), pg_sys::TEXTOID.to_u32()].map(u32::to_be_bytes)
    };
    into.extend_from_slice(header(1, false).as_flattened());
    let bounds = into.len();
    into.extend_from_slice([0, 1_u32].map(u32::to_be_bytes).as_flattened());
    let (mut count, mut nulls) = (0_u32, false);
    let read = row.texts(number, |text| {
        count += 1;
        nulls |= text.is_none();
        put(into, text);
    });
    let dimensions = match read {
        None => {
            into.truncate(start);
            return put(into, None::<&[u8]>);
        }
        Some(true) => u32::from(count > 0),
        Some(false) => 2,
    };
    into[start + 4..bounds].copy_from_slice(header(dimensions, nulls).as_flattened());
    if dimensions == 1 {
        into[bounds..bounds + 4].copy_from_slice(&count.to_be_bytes());
    } else {
        into.truncate(bounds);
    }
    let length = bytes_of(into.len() - start - 4);
    into[start..start + 4].copy_from_slice(&length);
}
