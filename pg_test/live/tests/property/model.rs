//! What a random case is made of: numbers and lists, so that it shrinks well.
//!
//! Nothing here is SQL; `ddl` and `dml` render a case. Any combination renders to something the
//! server can be asked: what makes no sense (a foreign key to a partitioned table without a usable
//! key) is rendered as the nearest thing that does.

#[derive(Debug, Clone)]
pub struct Case {
    pub tables: Vec<Table>,
    /// Independent row triggers record the same changes.
    pub shadow: bool,
    pub transactions: Vec<Transaction>,
}

#[derive(Debug, Clone)]
pub struct Table {
    /// Numbers of types.
    pub columns: Vec<u8>,
    pub key: Key,
    pub partitions: Partitions,
    /// A foreign key to the first table.
    pub parent: Option<Reference>,
    pub attach: Attach,
    pub triggers: Vec<Trigger>,
    /// A column that was dropped before the attach.
    pub dropped_column: bool,
    /// A column added to existing rows, with a default of this type and value.
    pub fast_default: Option<(u8, u8)>,
    pub generated: bool,
    /// Rows that are there before the attach.
    pub rows: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Plain,
    Identity,
    Composite,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    None,
    Range,
    List,
    Hash,
    TwoLevel,
    /// As `List`, one leaf attached later, with its columns in another order.
    Attached,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    Cascade,
    SetNull,
    SetDefault,
    Deferred,
}

#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "the options of audit.attach")]
pub struct Attach {
    pub diff: bool,
    pub keep_unchanged: bool,
    pub exclude: bool,
    pub mask: bool,
    pub rows_on_truncate: bool,
}

#[derive(Debug, Clone)]
pub struct Trigger {
    pub kind: TriggerKind,
    /// The table that the trigger writes to.
    pub other: u8,
    /// Where its name sorts beside the audit triggers: before, between, after.
    pub place: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerKind {
    BeforeRowChanges,
    BeforeRowSuppresses,
    LeafSuppresses,
    AfterRowUpdatesOther,
    AfterRowDeletesOther,
    AfterRowLogs,
    AfterRowRaises,
    AfterStatementWritesSelf,
    AfterStatementWritesOther,
    BeforeStatementWritesOther,
    BeforeRowWritesOther,
}

#[derive(Debug, Clone)]
pub struct Transaction {
    pub end: End,
    /// Each statement in a savepoint of its own, so that an error does not end the transaction.
    pub guarded: bool,
    pub statements: Vec<Statement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Commit,
    /// No transaction block: each statement commits by itself.
    Autocommit,
    Rollback,
    Prepare,
}

#[derive(Debug, Clone)]
pub enum Statement {
    Simple(Simple),
    /// COPY … FROM.
    Copy {
        table: u8,
        rows: Vec<Row>,
    },
    /// SAVEPOINT … ROLLBACK TO or RELEASE.
    Savepoint {
        rollback: bool,
        body: Vec<Simple>,
    },
    /// A DO block whose inner block may fail and be caught.
    Do {
        first: Vec<Simple>,
        fails: bool,
        handler: Vec<Simple>,
    },
    Set {
        setting: u8,
        value: u8,
    },
}

#[derive(Debug, Clone)]
pub enum Simple {
    Insert {
        at: Target,
        rows: Vec<Row>,
        conflict: Option<Conflict>,
    },
    Bulk {
        table: u8,
        count: u8,
    },
    Update {
        at: Target,
        filter: Filter,
        set: Vec<Set>,
    },
    Delete {
        at: Target,
        filter: Filter,
    },
    Truncate {
        at: Target,
        cascade: bool,
    },
    Merge {
        table: u8,
        rows: Vec<Row>,
        filter: Filter,
        deletes: bool,
    },
    /// DELETE … RETURNING feeding an INSERT, into the same or another table.
    Move {
        from: u8,
        to: u8,
        filter: Filter,
        shift: u8,
    },
    /// UPDATE and DELETE of one table, and an INSERT, in one statement.
    Several {
        table: u8,
        update: Filter,
        delete: Filter,
        row: Row,
    },
    UpdateFrom {
        table: u8,
        other: u8,
        set: Vec<Set>,
    },
    DeleteUsing {
        table: u8,
        other: u8,
    },
}

/// A table, or one of its leaf partitions by name.
#[derive(Debug, Clone)]
pub struct Target {
    pub table: u8,
    pub leaf: Option<u8>,
}

#[derive(Debug, Clone)]
pub struct Row {
    pub id: u8,
    pub part: u8,
    pub parent: u8,
    pub values: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub enum Conflict {
    Nothing,
    Update,
}

#[derive(Debug, Clone, Copy)]
pub enum Filter {
    Id(u8),
    Below(u8),
    Part(u8),
    Odd,
    All,
}

#[derive(Debug, Clone, Copy)]
pub enum Set {
    Bump,
    Value { column: u8, value: u8 },
    Part(u8),
    ShiftId(u8),
    MirrorId,
    Parent(u8),
    Nothing,
}
