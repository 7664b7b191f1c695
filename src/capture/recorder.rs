//! Rows into events: the recorder of one statement.

use super::context::Context;
use super::event::{Event, EventKind};
use super::image;
use super::row_ids::RowIds;
use super::statement::{self, Cascade, Closed, Departures};
use super::workspace::Workspace;
use super::writer::Writer;
use crate::error::Result;
use crate::pg::datum::Varlena;
use crate::pg::memory;
use crate::pg::pinned::Pinned;
use crate::pg::slot::Row;
use crate::table_plan::{CaptureMode, TablePlan};
use std::collections::VecDeque;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

/// Values are detoasted and printed into a context that is emptied after this many rows, or bytes of images.
const SCRATCH_ROWS: usize = 256;
const SCRATCH_BYTES: usize = 256 * 1024;

/// Records the rows of one statement on one table.
pub struct Recorder<'a> {
    plan: &'a TablePlan,
    statement: i32,
    context: &'a Context,
    event_context: Option<&'a Varlena>,
    writer: Option<Writer<'a>>,
    work: Box<Workspace>,
    scratch: memory::Context,
    scratch_rows: usize,
    scratch_bytes: usize,
    ids: RowIds<'a>,
    /// What nested statements took away while this one was open.
    departures: Departures,
    /// The parts of the statement whose rows are still to come, with their order; empty when it has one part.
    upcoming: VecDeque<Cascade>,
    /// This statement is nested in one that may still bring rows to the table.
    is_nested: bool,
    _pinned: Pinned,
}

impl<'a> Recorder<'a> {
    pub fn new(plan: &'a TablePlan, statement: i32, context: &'a Context) -> Self {
        Self {
            plan,
            statement,
            context,
            event_context: None,
            writer: None,
            work: Workspace::take(plan),
            scratch: memory::Context::short_lived(c"pg_attest rows"),
            scratch_rows: 0,
            scratch_bytes: 0,
            ids: RowIds::new(plan, context),
            departures: Departures::default(),
            upcoming: VecDeque::new(),
            is_nested: statement::awaits_rows(plan.identity.oid),
            _pinned: Pinned::new(plan.pin_names),
        }
    }

    /// Events carry this instead of the statement's own context.
    pub fn with_context(mut self, context: Option<&'a Varlena>) -> Self {
        self.event_context = context;
        self
    }

    /// Orders the rows of a statement that brought so many: those of foreign-key actions come last and have the order of
    /// their own queries; and what nested statements took away before a row arrived comes before it.
    pub fn of_statement(mut self, closed: Closed, rows: i64) -> Self {
        let cascaded: u64 = closed.cascades.iter().map(|cascade| cascade.rows).sum();
        if let Some(own) = rows.unsigned_abs().checked_sub(cascaded)
            && cascaded > 0
        {
            self.upcoming.push_back(Cascade {
                statement: closed.statement,
                rows: own,
            });
            self.upcoming.extend(closed.cascades);
        }
        self.departures = closed.departures;
        self
    }

    /// The next row of the statement is looked at.
    fn next_row(&mut self) {
        while let Some(part) = self.upcoming.front_mut() {
            if part.rows > 0 {
                part.rows -= 1;
                self.statement = part.statement;
                return;
            }
            self.upcoming.pop_front();
        }
    }

    /// The statement that a row which arrives is ordered with: this one, unless a nested one made room for it first.
    fn order_of_arrival(&mut self, new: Row<'_>) -> i32 {
        if self.departures.is_empty() {
            return self.statement;
        }
        let image = self.full_image_hash(new);
        self.departures
            .preceding(self.work.row_key.bytes(), image)
            .unwrap_or(self.statement)
    }

    /// Tells the outer statements of this one that the row was taken away. Its key is in `key`.
    fn note_departure(&mut self, old: Row<'_>, key: fn(&Workspace) -> &Varlena) {
        if self.is_nested {
            let image = self.full_image_hash(old);
            statement::note_departure(
                self.plan.identity.oid,
                key(&self.work).bytes(),
                image,
                self.statement,
            );
        }
    }

    /// Of all recorded columns, whatever the capture mode keeps.
    fn full_image_hash(&mut self, row: Row<'_>) -> u64 {
        let _entered = self.scratch.enter();
        let mut image = Varlena::default();
        self.work.images.build(self.plan, row, None, &mut image);
        let mut hasher = DefaultHasher::new();
        image.bytes().hash(&mut hasher);
        hasher.finish()
    }

    /// An `insert` or `snapshot` event.
    pub fn appeared(&mut self, kind: EventKind, new: Row<'_>) -> Result<()> {
        self.next_row();
        let entered = self.scratch.enter();
        let work = &mut *self.work;
        work.images
            .build(self.plan, new, None, &mut work.new_values);
        let has_key = image::row_key(self.plan, new, &mut work.key_scratch, &mut work.row_key);
        self.ids.read(new);
        drop(entered);
        let order = if has_key {
            self.order_of_arrival(new)
        } else {
            self.statement
        };
        let event = Event {
            table: Some(&self.work.table),
            row_key: has_key.then_some(&self.work.row_key),
            new_values: Some(&self.work.new_values),
            request_id: self.ids.request.get(),
            process_id: self.ids.process.get(),
            context: self.event_context,
            ..Event::new(kind, order)
        };
        append(&mut self.writer, self.context, &event)?;
        self.row_done();
        Ok(())
    }

    /// A `delete` event.
    pub fn vanished(&mut self, old: Row<'_>) -> Result<()> {
        self.next_row();
        let entered = self.scratch.enter();
        let work = &mut *self.work;
        work.images
            .build(self.plan, old, None, &mut work.old_values);
        let has_key = image::row_key(self.plan, old, &mut work.key_scratch, &mut work.row_key);
        self.ids.read(old);
        drop(entered);
        if has_key {
            self.note_departure(old, |work| &work.row_key);
        }
        let event = Event {
            table: Some(&self.work.table),
            row_key: has_key.then_some(&self.work.row_key),
            old_values: Some(&self.work.old_values),
            request_id: self.ids.request.get(),
            process_id: self.ids.process.get(),
            context: self.event_context,
            ..Event::new(EventKind::Delete, self.statement)
        };
        append(&mut self.writer, self.context, &event)?;
        self.row_done();
        Ok(())
    }

    /// An `update` event, unless nothing recorded changed and that is to be skipped.
    pub fn changed(&mut self, old: Row<'_>, new: Row<'_>) -> Result<()> {
        self.next_row();
        let plan = self.plan;
        let entered = self.scratch.enter();
        let work = &mut *self.work;
        let any = image::changed(plan, old, new, &mut work.changed);
        if !any && plan.settings.skip_unchanged {
            drop(entered);
            self.row_done();
            return Ok(());
        }
        let selected =
            (plan.settings.capture == CaptureMode::Diff).then_some(work.changed.as_slice());
        work.images.build(plan, old, selected, &mut work.old_values);
        work.images.build(plan, new, selected, &mut work.new_values);
        let has_key = image::row_key(plan, new, &mut work.key_scratch, &mut work.row_key);
        self.ids.read(new);
        let old_has_key = image::row_key(plan, old, &mut work.key_scratch, &mut work.old_row_key);
        if work.named != work.changed {
            work.named.clone_from(&work.changed);
            let names = plan
                .table_order
                .iter()
                .filter(|position| work.named[**position]);
            work.changed_names
                .set_text_array(names.map(|position| plan.columns[*position].column.name()));
        }
        drop(entered);
        let moved = old_has_key && (!has_key || self.work.row_key != self.work.old_row_key);
        if old_has_key {
            self.note_departure(old, |work| &work.old_row_key);
        }
        let order = if moved && has_key {
            self.order_of_arrival(new)
        } else {
            self.statement
        };
        let event = Event {
            table: Some(&self.work.table),
            row_key: has_key.then_some(&self.work.row_key),
            old_row_key: moved.then_some(&self.work.old_row_key),
            old_values: Some(&self.work.old_values),
            new_values: Some(&self.work.new_values),
            changed_columns: any.then_some(&self.work.changed_names),
            request_id: self.ids.request.get(),
            process_id: self.ids.process.get(),
            context: self.event_context,
            ..Event::new(EventKind::Update, order)
        };
        append(&mut self.writer, self.context, &event)?;
        self.row_done();
        Ok(())
    }

    /// After each row: values are printed into memory that has to be emptied.
    pub fn row_done(&mut self) {
        self.scratch_rows += 1;
        self.scratch_bytes +=
            self.work.old_values.bytes().len() + self.work.new_values.bytes().len();
        if self.scratch_rows >= SCRATCH_ROWS || self.scratch_bytes >= SCRATCH_BYTES {
            self.scratch.reset();
            self.scratch_rows = 0;
            self.scratch_bytes = 0;
            pgrx::check_for_interrupts!();
        }
    }

    /// Writes what is waiting; returns how many events it was.
    pub fn finish(self) -> u64 {
        self.work.give_back(self.plan);
        self.writer.map_or(0, Writer::finish)
    }

    /// Whether rows have a key.
    pub fn has_key(&self) -> bool {
        !self.plan.key.is_empty()
    }

    /// The rows do not come in the order of the statement's parts.
    pub fn forget_parts(&mut self) {
        self.upcoming.clear();
    }

    /// Of the key columns that a move between partitions leaves alone.
    pub fn key_hash(&mut self, hasher: &RandomState, row: Row<'_>) -> u64 {
        let _entered = self.scratch.enter();
        let key = &self.plan.key;
        hasher.hash_one(
            self.plan
                .steady_key
                .iter()
                .map(|position| key[*position].text(row))
                .collect::<Vec<_>>(),
        )
    }
}

fn append<'a>(
    writer: &mut Option<Writer<'a>>,
    context: &'a Context,
    event: &Event<'_>,
) -> Result<()> {
    let writer = match writer {
        Some(writer) => writer,
        None => writer.insert(Writer::open(context)?),
    };
    writer.append(event).map(drop)
}
