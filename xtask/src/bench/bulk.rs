//! (a), (b), (c): statements of many rows, what they cost and what the log takes; (a) also against
//! the storage floor, the same events COPYed into an empty copy of the same partition.
//!
//! A round of one system: a fresh copy of its template database, a small statement of each kind to
//! warm the session, then each statement in autocommit, timed at the client with its commit;
//! between them VACUUM ANALYZE of the table. The database is dropped, and with that comes a
//! checkpoint.

use super::floor;
use super::results::Unit;
use super::server::{LogSize, log_size};
use super::system::System;
use super::turns::Bench;
use crate::ui::Step;
use anyhow::{Context, Result};
use postgres::Client;
use std::time::Instant;

/// Rows of the statements that warm a session.
const WARM: u32 = 1000;

/// One workload: a table and the statements that are timed, in order.
pub struct Bulk {
    pub workload: &'static str,
    pub table: &'static str,
    schema: &'static str,
    pub rows: u32,
    /// Whether the storage floor is measured as well.
    with_floor: bool,
    warm: Vec<String>,
    statements: Vec<Statement>,
}

struct Statement {
    case: &'static str,
    /// Of the events that it makes.
    operation: &'static str,
    sql: String,
}

/// Fills a statement's `:first` and `:last` in.
pub fn between(sql: &str, first: u32, last: u32) -> String {
    sql.trim_end()
        .replace(":first", &first.to_string())
        .replace(":last", &last.to_string())
}

macro_rules! workload_sql {
    ($table:literal, $name:literal) => {
        include_str!(concat!(
            "../../../bench/workloads/",
            $table,
            "/",
            $name,
            ".sql"
        ))
    };
}
pub(super) use workload_sql;

impl Bulk {
    /// (a): 8 columns.
    pub fn orders(rows: u32) -> Self {
        Self::three(
            "a",
            "orders",
            rows,
            workload_sql!("orders", "table"),
            [
                workload_sql!("orders", "insert"),
                workload_sql!("orders", "update"),
                workload_sql!("orders", "delete"),
            ],
        )
    }

    /// (b): 40 columns.
    pub fn wide(rows: u32) -> Self {
        Self::three(
            "b",
            "wide",
            rows,
            workload_sql!("wide", "table"),
            [
                workload_sql!("wide", "insert"),
                workload_sql!("wide", "update"),
                workload_sql!("wide", "delete"),
            ],
        )
    }

    /// (c): COPY into the table of (a), from a file that the server reads.
    pub fn copy(rows: u32) -> Self {
        let mut bulk = Self::orders(rows);
        bulk.workload = "c";
        bulk.with_floor = false;
        bulk.statements = vec![Statement {
            case: "COPY",
            operation: "insert",
            sql: String::new(),
        }];
        bulk
    }

    fn three(
        workload: &'static str,
        table: &'static str,
        rows: u32,
        schema: &'static str,
        statements: [&str; 3],
    ) -> Self {
        let cases = [
            ("INSERT", "insert"),
            ("UPDATE", "update"),
            ("DELETE", "delete"),
        ];
        Self {
            workload,
            table,
            schema,
            rows,
            with_floor: workload == "a",
            warm: statements
                .map(|sql| between(sql, rows + 1, rows + WARM))
                .to_vec(),
            statements: cases
                .into_iter()
                .zip(statements)
                .map(|((case, operation), sql)| Statement {
                    case,
                    operation,
                    sql: between(sql, 1, rows),
                })
                .collect(),
        }
    }

    pub fn run(mut self, bench: &mut Bench, step: &mut Step) -> Result<()> {
        self.write_copy_file(bench, step)?;
        let qualified = format!("public.{}", self.table);
        bench.build_templates(step, self.schema, &[&qualified])?;
        bench.in_turn(step, |bench, system| {
            let mut client = bench.fresh(system)?;
            self.round(bench, system, &mut client)
        })?;
        bench.drop_templates()
    }

    fn round(&self, bench: &mut Bench, system: &System, client: &mut Client) -> Result<()> {
        for sql in &self.warm {
            client.batch_execute(sql)?;
        }
        let warm_until: std::time::SystemTime =
            client.query_one("SELECT clock_timestamp()", &[])?.get(0);
        let mut before = log_size(client, &[self.table])?;
        for statement in &self.statements {
            client.batch_execute(&format!("VACUUM ANALYZE {}", self.table))?;
            let started = Instant::now();
            client
                .batch_execute(&statement.sql)
                .with_context(|| format!("{} under {}", statement.case, system.name))?;
            let time = started.elapsed();
            let name = &system.name;
            let (workload, case) = (self.workload, statement.case);
            bench.results.add(
                workload,
                case,
                name,
                Unit::Milliseconds,
                time.as_secs_f64() * 1e3,
            );
            if system.is_audited() {
                let after = log_size(client, &[self.table])?;
                self.add_size(bench, case, name, before, after);
                before = after;
            }
        }
        if self.with_floor && system.is_ours() {
            for statement in &self.statements {
                let time = floor::measure(bench, client, statement.operation, warm_until)?;
                let name = floor::name(&system.name);
                bench.results.add(
                    self.workload,
                    statement.case,
                    &name,
                    Unit::Milliseconds,
                    time,
                );
            }
        }
        Ok(())
    }

    fn add_size(&self, bench: &mut Bench, case: &str, name: &str, before: LogSize, after: LogSize) {
        for (unit, before, after) in [
            (Unit::BytesPerEvent, before.total, after.total),
            (Unit::IndexBytesPerEvent, before.indexes, after.indexes),
        ] {
            #[allow(clippy::cast_precision_loss)] // far below 2^52 bytes
            let bytes = (after - before) as f64 / f64::from(self.rows);
            bench.results.add(self.workload, case, name, unit, bytes);
        }
    }

    /// COPY reads the rows that (a) inserts.
    fn write_copy_file(&mut self, bench: &mut Bench, step: &mut Step) -> Result<()> {
        let [statement] = self.statements.as_mut_slice() else {
            return Ok(());
        };
        step.progress("writing the file to be copied");
        let file = bench.server.cluster.home().join("orders.copy");
        let select = between(workload_sql!("orders", "insert"), 1, self.rows).replacen(
            "INSERT INTO orders",
            "",
            1,
        );
        let mut client = bench.server.session("postgres")?;
        client.batch_execute(&format!("COPY ({select}) TO '{}'", file.display()))?;
        statement.sql =
            workload_sql!("orders", "copy").replace(":file", &format!("'{}'", file.display()));
        Ok(())
    }
}
