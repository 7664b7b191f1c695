//! (e): what audit adds to a statement that touches one row.
//!
//! A procedure runs the statements in a loop inside the server, so that neither the client nor the
//! protocol is measured; once with a COMMIT after each, once all in one transaction.
//! synchronous_commit is off: the disk is not measured either.

use super::bulk::workload_sql;
use super::results::Unit;
use super::system::System;
use super::turns::Bench;
use crate::ui::Step;
use anyhow::{Context, Result};
use postgres::Client;
use std::time::Instant;

const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];
/// Statements that warm a session, their plans included.
const WARM: u32 = 200;

pub fn run(bench: &mut Bench, step: &mut Step, statements: u32) -> Result<()> {
    let schema = [
        workload_sql!("orders", "table"),
        include_str!("../../../bench/workloads/single.sql"),
    ]
    .concat();
    bench.build_templates(step, &schema, &["public.orders"])?;
    bench.in_turn(step, |bench, system| {
        for commit_each in [true, false] {
            let mut client = bench.fresh(system)?;
            client.batch_execute("SET synchronous_commit = off")?;
            round(bench, system, &mut client, statements, commit_each)?;
        }
        Ok(())
    })?;
    bench.drop_templates()
}

/// Inserts, updates and deletes the same rows.
fn round(
    bench: &mut Bench,
    system: &System,
    client: &mut Client,
    statements: u32,
    commit_each: bool,
) -> Result<()> {
    let call = |operation: &str, first: u32, last: u32| {
        format!("CALL {operation}_singly({first}, {last}, {commit_each})")
    };
    for operation in OPERATIONS {
        client.batch_execute(&call(operation, statements + 1, statements + WARM))?;
    }
    for operation in OPERATIONS {
        client.batch_execute("VACUUM ANALYZE orders")?;
        let started = Instant::now();
        client
            .batch_execute(&call(operation, 1, statements))
            .with_context(|| format!("{operation} under {}", system.name))?;
        let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(statements);
        let operation = operation.to_uppercase();
        let case = if commit_each {
            format!("{operation}; COMMIT")
        } else {
            operation
        };
        bench
            .results
            .add("e", &case, &system.name, Unit::MicrosPerStatement, micros);
    }
    Ok(())
}
