//! The log that (r) reads: eight tables, application events, and the months before, all written once.
//!
//! A chapter is a statement about every row of a table, under its own user, request, process, tenant and session. What is called
//! "early" stands in the first chapters alone: a page of it lies behind all that came later. The months before have copies of
//! early events, put there as a dump is restored.

use super::bulk::{between, workload_sql};
use super::restored::{LEAVE_IDS, Restored};
use crate::interrupt;
use crate::ui::Step;
use anyhow::Result;
use postgres::Client;

/// The tables of which each has as many rows as a chapter has events.
pub const TABLES: [&str; 8] = [
    "early", "orders", "busy_1", "busy_2", "busy_3", "busy_4", "busy_5", "busy_6",
];
/// So many chapters fill the log.
pub const CHAPTERS: u32 = 100;
/// The events of the request whose lineage is told.
pub const REQUEST: u32 = 1000;
/// Half a chapter in each.
const MONTHS_BEFORE: u32 = 10;

/// Makes the tables, before they are attached.
pub fn schema(client: &mut Client) -> Result<()> {
    client.batch_execute(workload_sql!("orders", "table"))?;
    for table in TABLES.iter().filter(|table| **table != "orders") {
        client.batch_execute(&format!("CREATE TABLE {table} (LIKE orders INCLUDING ALL)"))?;
    }
    Ok(client.batch_execute("CREATE ROLE early; GRANT SELECT, UPDATE ON early TO early")?)
}

/// Fills the log with about `rows` × `CHAPTERS` events.
pub fn fill(client: &mut Client, step: &mut Step, rows: u32) -> Result<()> {
    client.batch_execute(LEAVE_IDS)?;
    let mut log = Chapters {
        client,
        step,
        rows,
        done: 0,
    };
    for table in TABLES {
        let insert = between(workload_sql!("orders", "insert"), 1, rows);
        log.add(&insert.replace("INTO orders", &format!("INTO {table}")))?;
    }
    log.early()?;
    log.request()?;
    for _ in 0..2 {
        log.add("UPDATE orders SET status = 'paid', quantity = quantity + 1")?;
    }
    let before = MONTHS_BEFORE.div_ceil(2);
    while log.done < CHAPTERS - before {
        match log.done % 10 {
            3 => log.add(&log.told("order shown", "view", "info", "order"))?,
            7 => log.add(&format!(
                "DELETE FROM busy_6 WHERE id % 2 = {}",
                log.done / 10 % 2
            ))?,
            8 => log.add("INSERT INTO busy_6 SELECT * FROM orders ON CONFLICT DO NOTHING")?,
            n => log.add(&format!(
                "UPDATE busy_{} SET status = 'shipped', quantity = quantity + 1",
                1 + n % 6
            ))?,
        }
    }
    log.months_before()?;
    log.step.progress("vacuuming");
    Ok(client.batch_execute("VACUUM ANALYZE")?)
}

struct Chapters<'a> {
    client: &'a mut Client,
    step: &'a mut Step,
    rows: u32,
    done: u32,
}

impl Chapters<'_> {
    /// A statement under a context of its own.
    fn add(&mut self, statement: &str) -> Result<()> {
        let n = self.done;
        self.add_as(
            statement,
            [
                format!("user {}", n % 10),
                format!("request {n}"),
                format!("process {n}"),
                format!("tenant {}", n % 4),
                format!("session {}", n % 20),
            ],
        )
    }

    fn add_as(&mut self, statement: &str, context: [String; 5]) -> Result<()> {
        interrupt::check()?;
        self.step
            .progress(&format!("filling: chapter {} of {CHAPTERS}", self.done + 1));
        let names = [
            "app_user_id",
            "request_id",
            "process_id",
            "tenant_id",
            "session_id",
        ];
        for (name, value) in names.iter().zip(context) {
            self.client
                .batch_execute(&format!("SET audit.{name} = '{value}'"))?;
        }
        self.client.batch_execute(statement)?;
        self.done += 1;
        Ok(())
    }

    /// Application events, one for each row.
    fn told(&self, action: &str, category: &str, severity: &str, entity: &str) -> String {
        format!(
            "SELECT count(audit.log_event('{action}', '{action} number ' || g, '{entity}', '{entity} ' || g % 2, 'Number ' || g,
                 '{category}', '{severity}', '{{\"number\": 1}}'))
             FROM generate_series(1, {}) AS g",
            self.rows
        )
    }

    /// What stands in these chapters alone, in every dimension.
    fn early(&mut self) -> Result<()> {
        let context = || ["early"; 5].map(str::to_owned);
        self.client
            .batch_execute("SET SESSION AUTHORIZATION early")?;
        self.add_as("UPDATE early SET note = note || '!'", context())?;
        self.client.batch_execute("RESET SESSION AUTHORIZATION")?;
        let told = self.told("early", "early", "critical", "early");
        self.add_as(&told, context())?;
        self.add_as("UPDATE early SET note = note || '?'", context())
    }

    /// A request of two processes, one of which the other started.
    fn request(&mut self) -> Result<()> {
        let half = (REQUEST - 2) / 2;
        self.client.batch_execute(&format!(
            "SET audit.app_user_id = 'importer'; RESET audit.tenant_id; SET audit.session_id = 'importing';
             SELECT audit.begin_process('import', 'lineage', '', process_id => 'lineage 1', is_local => false);
             UPDATE orders SET quantity = quantity + 1 WHERE id <= {half};
             SELECT audit.begin_process('booking', process_id => 'lineage 2', is_local => false);
             UPDATE busy_1 SET quantity = quantity + 1 WHERE id <= {half}"
        ))?;
        Ok(())
    }

    fn months_before(&mut self) -> Result<()> {
        let months: Vec<u32> = (1..=MONTHS_BEFORE).collect();
        let condition = format!(
            "app_user_id = 'early' AND operation = 'update' AND row_key::integer <= {}",
            self.rows / 4
        );
        let restored = Restored::new(self.client, &condition, &months)?;
        for month in months {
            interrupt::check()?;
            self.step
                .progress(&format!("filling: month {month} of {MONTHS_BEFORE} before"));
            restored.put(self.client, 1, month)?;
        }
        restored.end(self.client)
    }
}
