//! How random cases come about: proptest strategies for the model, simplest choices first.

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;

use crate::model::*;

pub fn case() -> impl Strategy<Value = Case> {
    (
        vec(table(), 1..=3),
        any::<bool>(),
        vec(transaction(), 1..=6),
    )
        .prop_map(|(tables, shadow, transactions)| Case {
            tables,
            shadow,
            transactions,
        })
}

fn table() -> impl Strategy<Value = Table> {
    let key = prop_oneof![
        5 => Just(Key::Plain), 2 => Just(Key::Identity), 2 => Just(Key::Composite), 1 => Just(Key::None)
    ];
    let partitions = prop_oneof![
        5 => Just(Partitions::None), 1 => Just(Partitions::Range), 1 => Just(Partitions::List),
        1 => Just(Partitions::Hash), 1 => Just(Partitions::TwoLevel), 1 => Just(Partitions::Attached)
    ];
    let parent = weighted(
        0.4,
        prop_oneof![
            3 => Just(Reference::Cascade), 1 => Just(Reference::SetNull),
            1 => Just(Reference::SetDefault), 1 => Just(Reference::Deferred)
        ],
    );
    (
        (
            vec(any::<u8>(), 0..=5),
            key,
            partitions,
            parent,
            attach(),
            vec(trigger(), 0..=2),
        ),
        (
            weighted(0.3, Just(())),
            weighted(0.3, any::<(u8, u8)>()),
            weighted(0.3, Just(())),
            0..6_u8,
        ),
    )
        .prop_map(
            |((columns, key, partitions, parent, attach, triggers), rest)| Table {
                columns,
                key,
                partitions,
                parent,
                attach,
                triggers,
                dropped_column: rest.0.is_some(),
                fast_default: rest.1,
                generated: rest.2.is_some(),
                rows: rest.3,
            },
        )
}

fn attach() -> impl Strategy<Value = Attach> {
    let rarely = || weighted(0.15, Just(())).prop_map(|some| some.is_some());
    (rarely(), rarely(), rarely(), rarely(), rarely()).prop_map(
        |(diff, keep_unchanged, exclude, mask, rows_on_truncate)| Attach {
            diff,
            keep_unchanged,
            exclude,
            mask,
            rows_on_truncate,
        },
    )
}

fn trigger() -> impl Strategy<Value = Trigger> {
    use TriggerKind::*;
    let kind = prop::sample::select(vec![
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
    ]);
    (kind, 0..3_u8, 0..3_u8).prop_map(|(kind, other, place)| Trigger { kind, other, place })
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let end = prop_oneof![
        4 => Just(End::Commit), 3 => Just(End::Autocommit), 1 => Just(End::Rollback), 1 => Just(End::Prepare)
    ];
    (end, weighted(0.7, Just(())), vec(statement(), 1..=8)).prop_map(
        |(end, guarded, statements)| Transaction {
            end,
            guarded: guarded.is_some(),
            statements,
        },
    )
}

fn statement() -> impl Strategy<Value = Statement> {
    let some = || vec(simple(), 1..=3);
    prop_oneof![
        12 => simple().prop_map(Statement::Simple),
        2 => (0..3_u8, vec(row(), 1..4)).prop_map(|(table, rows)| Statement::Copy { table, rows }),
        2 => (any::<bool>(), some()).prop_map(|(rollback, body)| Statement::Savepoint { rollback, body }),
        2 => (some(), any::<bool>(), some())
            .prop_map(|(first, fails, handler)| Statement::Do { first, fails, handler }),
        3 => any::<(u8, u8)>().prop_map(|(setting, value)| Statement::Set { setting, value }),
    ]
}

fn simple() -> impl Strategy<Value = Simple> {
    let sets = || vec(set(), 1..=3);
    let conflict = || of(prop_oneof![Just(Conflict::Update), Just(Conflict::Nothing)]);
    prop_oneof![
        6 => (target(), vec(row(), 1..=4), conflict())
            .prop_map(|(at, rows, conflict)| Simple::Insert { at, rows, conflict }),
        1 => (0..3_u8, any::<u8>()).prop_map(|(table, count)| Simple::Bulk { table, count }),
        6 => (target(), filter(), sets()).prop_map(|(at, filter, set)| Simple::Update { at, filter, set }),
        3 => (target(), filter()).prop_map(|(at, filter)| Simple::Delete { at, filter }),
        1 => (target(), any::<bool>()).prop_map(|(at, cascade)| Simple::Truncate { at, cascade }),
        2 => (0..3_u8, vec(row(), 1..=3), filter(), any::<bool>())
            .prop_map(|(table, rows, filter, deletes)| Simple::Merge { table, rows, filter, deletes }),
        1 => (0..3_u8, 0..3_u8, filter(), 0..30_u8)
            .prop_map(|(from, to, filter, shift)| Simple::Move { from, to, filter, shift }),
        1 => (0..3_u8, filter(), filter(), row())
            .prop_map(|(table, update, delete, row)| Simple::Several { table, update, delete, row }),
        1 => (0..3_u8, 0..3_u8, sets())
            .prop_map(|(table, other, set)| Simple::UpdateFrom { table, other, set }),
        1 => (0..3_u8, 0..3_u8).prop_map(|(table, other)| Simple::DeleteUsing { table, other }),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    (0..3_u8, weighted(0.25, 0..4_u8)).prop_map(|(table, leaf)| Target { table, leaf })
}

fn row() -> impl Strategy<Value = Row> {
    (1..14_u8, 0..6_u8, 0..14_u8, vec(any::<u8>(), 5..=5)).prop_map(|(id, part, parent, values)| {
        Row {
            id,
            part,
            parent,
            values,
        }
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        (1..14_u8).prop_map(Filter::Id),
        (1..14_u8).prop_map(Filter::Below),
        (0..6_u8).prop_map(Filter::Part),
        Just(Filter::Odd),
        Just(Filter::All),
    ]
}

fn set() -> impl Strategy<Value = Set> {
    prop_oneof![
        2 => Just(Set::Bump),
        4 => any::<(u8, u8)>().prop_map(|(column, value)| Set::Value { column, value }),
        3 => (0..6_u8).prop_map(Set::Part),
        2 => (1..30_u8).prop_map(Set::ShiftId),
        1 => Just(Set::MirrorId),
        1 => (0..14_u8).prop_map(Set::Parent),
        1 => Just(Set::Nothing),
    ]
}
