//! Renders the transactions of a case. Statements may fail; failing right is part of the test.

use crate::ddl::Shape;
use crate::model::{Case, Conflict, End, Filter, Row, Set, Simple, Statement, Target};
use crate::script::Script;

/// Session settings that must leave no trace in images, and some that steer the executor.
const SETTINGS: &[(&str, &[&str])] = &[
    (
        "timezone",
        &[
            "America/New_York",
            "Asia/Kolkata",
            "Pacific/Apia",
            "<+03:30>-03:30",
        ],
    ),
    ("datestyle", &["German", "SQL, MDY", "Postgres, DMY"]),
    (
        "intervalstyle",
        &["iso_8601", "sql_standard", "postgres_verbose"],
    ),
    ("bytea_output", &["escape"]),
    ("extra_float_digits", &["-15", "0", "3"]),
    (
        "search_path",
        &["", "w", "evil, w, pg_catalog", "pg_temp, evil"],
    ),
    ("work_mem", &["64kB"]),
    ("quote_all_identifiers", &["on"]),
    ("xmloption", &["document"]),
    (
        "default_transaction_isolation",
        &["repeatable read", "serializable"],
    ),
    ("enable_seqscan", &["off"]),
    ("plan_cache_mode", &["force_generic_plan"]),
    ("audit.request_id", &["r1", "quote ' \" \\"]),
    ("session_replication_role", &["replica"]),
];

/// The copy of a table after a transaction.
pub fn copy_of(transaction: usize, table: usize) -> String {
    format!("moment.m{transaction}_t{table}")
}

impl Case {
    pub fn workload(&self, shapes: &[Shape], script: &mut Script) {
        script.audit(
            "CREATE SCHEMA moment; CREATE TABLE moment.moments (number int, at timestamptz)",
        );
        for (number, transaction) in self.transactions.iter().enumerate() {
            let block = transaction.end != End::Autocommit;
            if block {
                script.control("BEGIN");
                script.guard(transaction.guarded);
            }
            for statement in &transaction.statements {
                self.statement(statement, shapes, block, script);
            }
            if block {
                script.guard(false);
            }
            match transaction.end {
                End::Commit => script.control("COMMIT"),
                End::Rollback => script.control("ROLLBACK"),
                End::Autocommit => {}
                End::Prepare => {
                    script.control("PREPARE TRANSACTION 'live'");
                    script.control("COMMIT PREPARED 'live'");
                }
            }
            // What the tables have now, for audit.as_of to tell later.
            for (place, shape) in shapes.iter().enumerate() {
                let copy = copy_of(number, place);
                script.audit(&format!("CREATE TABLE {copy} AS TABLE {}", shape.name));
            }
            script.audit(&format!(
                "INSERT INTO moment.moments VALUES ({number}, clock_timestamp())"
            ));
        }
    }

    fn statement(&self, statement: &Statement, shapes: &[Shape], block: bool, script: &mut Script) {
        match statement {
            Statement::Simple(simple) => script.sql(&self.simple(simple, shapes)),
            Statement::Copy { table, rows } => {
                let shape = &shapes[usize::from(*table) % shapes.len()];
                let columns: Vec<String> = (0..shape.columns.len())
                    .map(|i| format!(", c{i}"))
                    .collect();
                let line = |row: &Row| {
                    let mut line = format!("{}\t{}\t{}", row.id, row.part, row.parent);
                    for (column, value) in shape.columns.iter().zip(&row.values) {
                        line.push('\t');
                        line.push_str(&column.copy(*value));
                    }
                    line.push('\n');
                    line
                };
                let data: String = rows.iter().map(line).collect();
                // A program's output instead of STDIN: one statement, and the same code beneath.
                script.sql(&format!(
                    "COPY {} (id, part, n{}) FROM PROGRAM $live$cat <<'END'\n{data}END\n$live$",
                    shape.name,
                    columns.concat()
                ));
            }
            Statement::Savepoint { rollback, body } => {
                if block {
                    script.control("SAVEPOINT own");
                }
                for simple in body {
                    script.sql(&self.simple(simple, shapes));
                }
                if block {
                    script.control(if *rollback {
                        "ROLLBACK TO own"
                    } else {
                        "RELEASE own"
                    });
                }
            }
            Statement::Do {
                first,
                fails,
                handler,
            } => {
                let lines = |body: &[Simple], indent: &str| -> String {
                    let line = |one| format!("{indent}{};\n", self.simple(one, shapes));
                    body.iter().map(line).collect::<Vec<_>>().concat()
                };
                let fail = if *fails {
                    "        PERFORM 1 / 0;\n"
                } else {
                    ""
                };
                script.sql(&format!(
                    "DO $live$ BEGIN\n    BEGIN\n{}{fail}    EXCEPTION WHEN OTHERS THEN\n{}    END;\nEND $live$",
                    lines(first, "        "),
                    lines(handler, "        ")
                ));
            }
            Statement::Set { setting, value } => {
                let (name, values) = SETTINGS[usize::from(*setting) % SETTINGS.len()];
                // In replica mode the shadow's triggers would sleep.
                if !(self.shadow && name == "session_replication_role") {
                    let value = values[usize::from(*value) % values.len()];
                    let value = if name == "search_path" && !value.is_empty() {
                        value.to_owned()
                    } else {
                        format!("'{}'", value.replace('\'', "''"))
                    };
                    script.sql(&format!("SET {name} = {value}"));
                }
            }
        }
    }

    fn simple(&self, simple: &Simple, shapes: &[Shape]) -> String {
        let shape = |number: u8| &shapes[usize::from(number) % shapes.len()];
        match simple {
            Simple::Insert { at, rows, conflict } => {
                let table = shape(at.table);
                let conflict = match (conflict, table.key) {
                    (Some(Conflict::Update), Some(key)) => {
                        let first = if table.columns.is_empty() {
                            ""
                        } else {
                            ", c0 = excluded.c0"
                        };
                        format!(" ON CONFLICT ({key}) DO UPDATE SET n = excluded.n + 1{first}")
                    }
                    (Some(_), _) => " ON CONFLICT DO NOTHING".into(),
                    (None, _) => String::new(),
                };
                format!(
                    "INSERT INTO {} {}{conflict}",
                    place(at, shapes),
                    values(table, rows)
                )
            }
            Simple::Bulk { table, count } => format!(
                "INSERT INTO {} (id, part, n) SELECT i + 100, i % 4, i FROM generate_series(1, {}) i{}",
                shape(*table).name,
                u32::from(*count) % 100 * 3,
                if shape(*table).key.is_some() {
                    " ON CONFLICT DO NOTHING"
                } else {
                    ""
                }
            ),
            Simple::Update { at, filter, set } => format!(
                "UPDATE {} SET {} WHERE {}",
                place(at, shapes),
                sets(shape(at.table), set, ""),
                condition(*filter, "")
            ),
            Simple::Delete { at, filter } => {
                format!(
                    "DELETE FROM {} WHERE {}",
                    place(at, shapes),
                    condition(*filter, "")
                )
            }
            // Row triggers do not see TRUNCATE: with the shadow it becomes a DELETE.
            Simple::Truncate { at, .. } if self.shadow => {
                format!("DELETE FROM {}", place(at, shapes))
            }
            Simple::Truncate { at, cascade } => {
                format!(
                    "TRUNCATE {}{}",
                    place(at, shapes),
                    if *cascade { " CASCADE" } else { "" }
                )
            }
            _ => several_ways(simple, shapes),
        }
    }
}

/// Statements that change rows in more than one way.
fn several_ways(simple: &Simple, shapes: &[Shape]) -> String {
    let shape = |number: u8| &shapes[usize::from(number) % shapes.len()];
    match simple {
        Simple::Merge {
            table,
            rows,
            filter,
            deletes,
        } => {
            let pairs: Vec<String> = rows
                .iter()
                .map(|r| format!("({}, {})", r.id, r.part))
                .collect();
            let first = if *deletes {
                "DELETE"
            } else {
                "UPDATE SET n = t.n + 7"
            };
            format!(
                "MERGE INTO {} t USING (VALUES {}) s (id, part) ON t.id = s.id
    WHEN MATCHED AND {} THEN {first}
    WHEN MATCHED THEN UPDATE SET part = s.part, n = t.n + 1
    WHEN NOT MATCHED THEN INSERT (id, part) VALUES (s.id, s.part)",
                shape(*table).name,
                pairs.join(", "),
                condition(*filter, "t.")
            )
        }
        Simple::Move {
            from,
            to,
            filter,
            shift,
        } => format!(
            "WITH d AS (DELETE FROM {} WHERE {} RETURNING id, part, n)
    INSERT INTO {} (id, part, n) SELECT id + {shift}, part, n FROM d",
            shape(*from).name,
            condition(*filter, ""),
            shape(*to).name
        ),
        Simple::Several {
            table,
            update,
            delete,
            row,
        } => {
            let table = shape(*table);
            format!(
                "WITH u AS (UPDATE {name} SET n = n + 1 WHERE {} RETURNING id),
         d AS (DELETE FROM {name} WHERE {} RETURNING id)
    INSERT INTO {name} {}",
                condition(*update, ""),
                condition(*delete, ""),
                values(table, std::slice::from_ref(row)),
                name = table.name
            )
        }
        Simple::UpdateFrom { table, other, set } => format!(
            "UPDATE {} t SET {} FROM {} o WHERE o.id = t.id",
            shape(*table).name,
            sets(shape(*table), set, "t."),
            shape(*other).name
        ),
        Simple::DeleteUsing { table, other } => format!(
            "DELETE FROM {} t USING {} o WHERE o.id = t.id + 1",
            shape(*table).name,
            shape(*other).name
        ),
        // The plain ones are rendered by the caller.
        _ => String::new(),
    }
}

/// The table, or one of its leaves.
fn place(at: &Target, shapes: &[Shape]) -> String {
    let shape = &shapes[usize::from(at.table) % shapes.len()];
    match at.leaf {
        Some(leaf) if !shape.leaves.is_empty() => {
            shape.leaves[usize::from(leaf) % shape.leaves.len()].clone()
        }
        _ => shape.name.clone(),
    }
}

fn values(shape: &Shape, rows: &[Row]) -> String {
    let mut columns = String::from("id, part, n");
    if shape.has_parent {
        columns.push_str(", ref");
    }
    for i in 0..shape.columns.len() {
        columns += ", c";
        columns += &i.to_string();
    }
    let row = |row: &Row| {
        // One id in fourteen is left to the identity column.
        let id = if shape.identity && row.id == 13 {
            "DEFAULT".into()
        } else {
            row.id.to_string()
        };
        let mut cells = vec![id, row.part.to_string(), (row.id % 3).to_string()];
        if shape.has_parent {
            cells.push(if row.parent == 0 {
                "NULL".into()
            } else {
                row.parent.to_string()
            });
        }
        for (column, value) in shape.columns.iter().zip(&row.values) {
            cells.push(column.sql(*value));
        }
        format!("({})", cells.join(", "))
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("({columns}) VALUES {}", rows.join(", "))
}

fn condition(filter: Filter, alias: &str) -> String {
    match filter {
        Filter::Id(id) => format!("{alias}id = {id}"),
        Filter::Below(id) => format!("{alias}id < {id}"),
        Filter::Part(part) => format!("{alias}part = {part}"),
        Filter::Odd => format!("{alias}id % 2 = 1"),
        Filter::All => "true".into(),
    }
}

/// Assignments; the first to a column wins, for a column may be assigned once.
fn sets(shape: &Shape, sets: &[Set], alias: &str) -> String {
    let mut assignments: Vec<(String, String)> = Vec::new();
    for set in sets {
        let (column, value) = match *set {
            Set::Bump => ("n".into(), format!("{alias}n + 1")),
            Set::Part(part) => ("part".into(), part.to_string()),
            Set::ShiftId(by) => ("id".into(), format!("{alias}id + {by}")),
            Set::MirrorId => ("id".into(), format!("14 - {alias}id")),
            Set::Parent(0) if shape.has_parent => ("ref".into(), "NULL".into()),
            Set::Parent(id) if shape.has_parent => ("ref".into(), id.to_string()),
            Set::Value { column, value } if !shape.columns.is_empty() => {
                let column = usize::from(column) % shape.columns.len();
                (format!("c{column}"), shape.columns[column].sql(value))
            }
            Set::Value { .. } | Set::Parent(_) | Set::Nothing => ("n".into(), format!("{alias}n")),
        };
        if assignments.iter().all(|(taken, _)| *taken != column) {
            assignments.push((column, value));
        }
    }
    let assignments: Vec<String> = assignments
        .into_iter()
        .map(|(c, v)| format!("{c} = {v}"))
        .collect();
    assignments.join(", ")
}
