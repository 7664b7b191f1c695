//! A row's image as JSONB, and its key as text.

use super::jsonb::{MAX_BYTES, ObjectBuilder, push_hex};
use crate::pg::datum::Varlena;
use crate::pg::fmgr::{Column, Value};
use crate::pg::jsonb_text;
use crate::pg::slot::Row;
use crate::table_plan::{PlannedColumn, TablePlan};
use sha2::{Digest, Sha256};

/// What a masked column shows where it is not NULL.
const MASK: &[u8] = b"***";

/// The longest row key that is kept whole. The history index holds the key, and a btree entry has to fit on a third of a
/// page (2,704 bytes); a longer key is cut and closed with its own SHA-256, so that it stays unique.
const MAX_KEY_BYTES: usize = 1000;

/// Builds images; keeps its buffers from row to row.
#[derive(Default)]
pub struct ImageBuilder {
    object: ObjectBuilder,
    substitute: ObjectBuilder,
    scratch: Vec<u8>,
    /// The full image's keys are in `object` already.
    has_all_keys: bool,
}

impl ImageBuilder {
    /// Bytes that its buffers take.
    pub fn capacity(&self) -> usize {
        self.object.capacity() + self.substitute.capacity() + self.scratch.capacity()
    }

    /// The image of the columns that `selected` picks by position in the plan, or of all of them.
    pub fn build(
        &mut self,
        plan: &TablePlan,
        row: Row<'_>,
        selected: Option<&[bool]>,
        out: &mut Varlena,
    ) {
        let picked = |position: usize| selected.is_none_or(|selected| selected[position]);
        if selected.is_none() && self.has_all_keys {
            self.object.clear_values();
        } else {
            self.object.clear();
            for (position, planned) in plan.columns.iter().enumerate() {
                if picked(position) {
                    self.object.key(planned.column.name());
                }
            }
            self.has_all_keys = selected.is_none();
        }
        for (position, planned) in plan.columns.iter().enumerate() {
            if picked(position) {
                self.value(planned, row);
                if self.object.value_bytes() > MAX_BYTES {
                    break;
                }
            }
        }
        let is_whole = self.object.value_bytes() <= MAX_BYTES
            && self.object.finish(out.buffer()).is_some()
            && prints(out.buffer());
        if !is_whole {
            self.build_with_substitutes(plan, row, &picked, out);
        }
    }

    fn value(&mut self, planned: &PlannedColumn, row: Row<'_>) {
        let Some(value) = planned.column.value(row) else {
            self.object.null();
            return;
        };
        if planned.masked {
            self.object.string(MASK);
            return;
        }
        if size_in_json(&value) > MAX_BYTES {
            self.substitute(&planned.column, own_bytes(&value));
            return;
        }
        match value {
            Value::Bool(value) => self.object.bool(value),
            Value::Int(value) => self.object.integer(value),
            Value::Numeric(digits) => self.object.numeric(digits),
            Value::Text(text) => self.object.string(text),
            Value::Bytea(bytes) => self.object.hex(bytes),
            Value::Jsonb(container) => self.object.jsonb(container),
            Value::Unrepresentable(bytes) => self.substitute(&planned.column, bytes),
        }
    }

    /// The marked substitute of a value that JSONB cannot hold: its type, length and SHA-256.
    fn substitute(&mut self, column: &Column, bytes: &[u8]) {
        self.scratch.clear();
        push_hex(&mut self.scratch, &Sha256::digest(bytes));
        let object = &mut self.substitute;
        object.clear();
        for key in [b"type".as_slice(), b"length", b"sha256", b"pg_attest"] {
            object.key(key);
        }
        object.string(column.type_name().as_bytes());
        object.integer(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        object.string(&self.scratch);
        object.string(b"substitute");
        if object.finish(&mut self.scratch).is_some() {
            self.object.jsonb(&self.scratch[crate::pg::datum::HEADER..]);
        } else {
            self.object.null();
        }
    }

    /// A row whose values fit one by one, but not together, or whose text would be too long: the largest are substituted until the
    /// rest fits.
    fn build_with_substitutes(
        &mut self,
        plan: &TablePlan,
        row: Row<'_>,
        picked: &dyn Fn(usize) -> bool,
        out: &mut Varlena,
    ) {
        /// More than any substitute or name takes, and than a small value's padding.
        const ALLOWANCE: usize = 512;
        let limits: [(SizeOf, usize); 2] = [
            (size_in_json, MAX_BYTES),
            (size_in_text, jsonb_text::LONGEST),
        ];
        let mut substituted = vec![false; plan.columns.len()];
        for (size_of, limit) in limits {
            let size = |position: usize| {
                let shown = !substituted[position] && !plan.columns[position].masked;
                let value = plan.columns[position].column.value(row);
                value.as_ref().filter(|_| shown).map_or(0, size_of)
            };
            let positions = (0..plan.columns.len()).filter(|position| picked(*position));
            let mut sizes: Vec<(usize, usize)> = positions.map(|at| (size(at), at)).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            let mut total: usize = sizes.iter().map(|(size, _)| size + ALLOWANCE).sum();
            for (size, position) in sizes {
                if total <= limit {
                    break;
                }
                substituted[position] = true;
                total -= size;
            }
        }
        self.object.clear_values();
        for (position, planned) in plan.columns.iter().enumerate() {
            if !picked(position) {
                continue;
            }
            match planned.column.value(row) {
                Some(value) if substituted[position] && !planned.masked => {
                    self.substitute(&planned.column, own_bytes(&value));
                }
                _ => self.value(planned, row),
            }
        }
        // 1,600 columns of at most ALLOWANCE bytes beside what was summed: it fits now.
        if self.object.finish(out.buffer()).is_none() {
            self.object.clear();
            self.has_all_keys = false;
            let _fits = self.object.finish(out.buffer());
        }
    }
}

/// How large a value is, in one way or another.
type SizeOf = fn(&Value<'_>) -> usize;

/// Whether the text of an image can be made: `1e131071` is stored in 12 bytes, and prints 131,072.
fn prints(image: &[u8]) -> bool {
    /// What is stored in less prints at most 9,300 times as much.
    const SMALL: usize = 32 << 10;
    image.len() < SMALL
        || jsonb_text::bound(&image[crate::pg::datum::HEADER..]) <= jsonb_text::LONGEST
}

/// How many bytes the value takes in an object's text, at most.
fn size_in_text(value: &Value<'_>) -> usize {
    match value {
        Value::Bool(_) | Value::Int(_) => 20,
        Value::Numeric(digits) => jsonb_text::bound_of_numeric(digits),
        Value::Text(text) => jsonb_text::bound_of_string(text),
        Value::Bytea(bytes) => bytes.len() * 2 + 5,
        Value::Jsonb(container) => jsonb_text::bound(container),
        Value::Unrepresentable(_) => 256,
    }
}

/// How many bytes the value takes in an object.
fn size_in_json(value: &Value<'_>) -> usize {
    match value {
        Value::Bool(_) => 0,
        Value::Int(_) => 20,
        Value::Bytea(bytes) => bytes.len() * 2 + 2,
        Value::Unrepresentable(_) => 256,
        Value::Numeric(bytes) | Value::Text(bytes) | Value::Jsonb(bytes) => bytes.len() + 8,
    }
}

/// The bytes that a substitute is the digest of.
fn own_bytes<'a>(value: &Value<'a>) -> &'a [u8] {
    match value {
        Value::Bool(_) | Value::Int(_) => b"",
        Value::Numeric(bytes)
        | Value::Text(bytes)
        | Value::Bytea(bytes)
        | Value::Jsonb(bytes)
        | Value::Unrepresentable(bytes) => bytes,
    }
}

/// Which recorded columns differ between the two rows, by position in the plan; whether any does.
pub fn changed(plan: &TablePlan, old: Row<'_>, new: Row<'_>, out: &mut Vec<bool>) -> bool {
    out.clear();
    out.extend(
        plan.columns
            .iter()
            .map(|planned| !planned.column.is_same(old, new)),
    );
    out.contains(&true)
}

/// The row's key as text: one column as it prints, several as a row literal. False when the row has no key.
pub fn row_key(plan: &TablePlan, row: Row<'_>, scratch: &mut Vec<u8>, out: &mut Varlena) -> bool {
    scratch.clear();
    match plan.key.as_slice() {
        [] => return false,
        [column] => match column.text(row) {
            Some(text) => scratch.extend_from_slice(text),
            None => return false,
        },
        columns => {
            for (position, column) in columns.iter().enumerate() {
                scratch.push(if position == 0 { b'(' } else { b',' });
                if let Some(text) = column.text(row) {
                    push_record_field(scratch, text);
                }
            }
            scratch.push(b')');
        }
    }
    if scratch.len() > MAX_KEY_BYTES {
        let digest = Sha256::digest(scratch.as_slice());
        let end = (0..=900)
            .rev()
            .find(|at| scratch[*at] & 0xC0 != 0x80)
            .unwrap_or(0);
        scratch.truncate(end);
        scratch.extend_from_slice("…sha256:".as_bytes());
        push_hex(scratch, &digest);
    }
    out.set_text(scratch);
    true
}

/// A field of a row literal, quoted as `record_out` does (`src/backend/utils/adt/rowtypes.c`).
fn push_record_field(out: &mut Vec<u8>, text: &[u8]) {
    let special = |byte: &u8| {
        matches!(
            byte,
            b'"' | b'\\' | b'(' | b')' | b',' | b' ' | b'\t'..=b'\r'
        )
    };
    if !text.is_empty() && !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'"');
}
