//! (f): whether capture and the look-up of a row's history stay as fast as the log grows.
//!
//! The log grows by UPDATEs of a whole table. At each size a tenth of its rows, from everywhere in it,
//! is updated in turn without audit and with it: the difference is the cost of capture, with the row-history
//! index touched all over. Then histories of single rows are looked up. Before, the tables are
//! vacuumed, a checkpoint is made and one statement is not counted, so that it and not the
//! others writes whole pages to the WAL.

use super::bulk::{between, workload_sql};
use super::results::Unit;
use super::system::{FULL, System, UNAUDITED};
use super::turns::Bench;
use crate::interrupt;
use crate::stats::{median, range};
use crate::ui::{self, Step};
use anyhow::{Result, ensure};
use postgres::Client;
use std::time::Instant;

pub const LOOK_UP: &str = "look-up";
const SLOWEST: &str = "slowest look-up";
const LOOK_UPS: u32 = 100;

/// The rows of the table, and the sizes of the log at which is measured, in events.
pub struct Growth {
    pub rows: u32,
    pub sizes: Vec<u64>,
}

impl Growth {
    pub fn run(&self, bench: &mut Bench, step: &mut Step) -> Result<()> {
        let named = |name| {
            bench
                .systems
                .iter()
                .find(|system| system.name == name)
                .cloned()
        };
        let (Some(unaudited), Some(full)) = (named(UNAUDITED), named(FULL)) else {
            ui::note("(f) is about pg_attest-full, which is not among the systems");
            return Ok(());
        };
        let mut clients = [
            self.fill(bench, step, &unaudited)?,
            self.fill(bench, step, &full)?,
        ];
        let mut events = 0;
        for size in &self.sizes {
            self.grow(step, &mut clients, &mut events, *size)?;
            bench.server.checkpoint()?;
            self.measure(bench, step, &mut clients, &mut events, *size)?;
            self.look_up(bench, &mut clients[1], *size)?;
        }
        drop(clients);
        bench.server.drop(&database(&unaudited))?;
        bench.server.drop(&database(&full))
    }

    /// A database with the full table, whose audit begins after that.
    fn fill(&self, bench: &mut Bench, step: &mut Step, system: &System) -> Result<Client> {
        step.progress(&format!("setting up {}", system.name));
        let name = database(system);
        bench.server.copy("template0", &name)?;
        let mut client = bench.server.session(&name)?;
        client.batch_execute(workload_sql!("orders", "table"))?;
        client.batch_execute(&between(workload_sql!("orders", "insert"), 1, self.rows))?;
        client.batch_execute("VACUUM ANALYZE orders")?;
        bench.server.attach(&name, system, &["public.orders"])?;
        Ok(client)
    }

    /// Updates the whole table until the log has this many events.
    fn grow(
        &self,
        step: &mut Step,
        clients: &mut [Client; 2],
        events: &mut u64,
        size: u64,
    ) -> Result<()> {
        // Once leaves the table without audit as loose as many times leave the other one.
        update_all(&mut clients[0])?;
        while *events < size {
            interrupt::check()?;
            step.progress(&format!("growing: {events} of {size} events"));
            update_all(&mut clients[1])?;
            *events += u64::from(self.rows);
        }
        // What autovacuum would have done.
        clients[1].batch_execute("VACUUM ANALYZE audit.audit_events")?;
        let counted: i64 = clients[1]
            .query_one(
                "SELECT count(*) FROM audit.audit_events WHERE operation = 'update'",
                &[],
            )?
            .get(0);
        ensure!(
            u64::try_from(counted)? == *events,
            "the log has {counted} events instead of {events}"
        );
        Ok(())
    }

    fn measure(
        &self,
        bench: &mut Bench,
        step: &mut Step,
        clients: &mut [Client; 2],
        events: &mut u64,
        size: u64,
    ) -> Result<()> {
        let case = told(size);
        for round in 0..=bench.rounds {
            interrupt::check()?;
            step.progress(&format!("{case}: round {round} of {}", bench.rounds));
            let update = format!(
                "UPDATE orders SET quantity = quantity + 1 WHERE id % 10 = {}",
                round % 10
            );
            let mut micros = [0.0; 2];
            for (client, micros) in clients.iter_mut().zip(&mut micros) {
                client.batch_execute("VACUUM orders")?;
                let started = Instant::now();
                client.batch_execute(&update)?;
                *micros = started.elapsed().as_secs_f64() * 1e6;
            }
            *events += u64::from(self.rows) / 10;
            if round > 0 {
                let cost = (micros[1] - micros[0]) / (f64::from(self.rows) / 10.0);
                bench
                    .results
                    .add("f", &case, FULL, Unit::MicrosPerEvent, cost);
            }
        }
        Ok(())
    }

    /// Histories of rows from everywhere in the table, a prepared statement for each round.
    fn look_up(&self, bench: &mut Bench, client: &mut Client, size: u64) -> Result<()> {
        let statement = client.prepare(
            "SELECT * FROM audit.audit_events WHERE table_oid = 'orders'::regclass AND row_key = $1
             ORDER BY xact_id, statement_id, event_id",
        )?;
        // A prime larger than the table's tenth visits rows far from each other.
        let mut row: u64 = 0;
        for _ in 0..bench.rounds {
            let mut times = Vec::new();
            for _ in 0..LOOK_UPS {
                row = (row + 7_919_993) % u64::from(self.rows);
                let key = (row + 1).to_string();
                let started = Instant::now();
                let found = client.query(&statement, &[&key])?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
                ensure!(!found.is_empty(), "row {key} has no history");
            }
            for (case, time) in [(LOOK_UP, median(&times)), (SLOWEST, range(&times).1)] {
                let case = format!("{case}, {}", told(size));
                bench
                    .results
                    .add("f", &case, FULL, Unit::Milliseconds, time);
            }
        }
        Ok(())
    }
}

fn update_all(client: &mut Client) -> Result<()> {
    client.batch_execute("UPDATE orders SET quantity = quantity + 1")?;
    Ok(client.batch_execute("VACUUM orders")?)
}

/// `10 M events`
pub fn told(size: u64) -> String {
    if size.is_multiple_of(1_000_000) {
        format!("{} M events", size / 1_000_000)
    } else {
        format!("{} k events", size / 1000)
    }
}

fn database(system: &System) -> String {
    format!("growth {}", system.name)
}
