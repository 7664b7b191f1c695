//! The fold in order of statements: proves that `statement_id` tells what ran before what.

use std::collections::HashMap;

use anyhow::{Result, bail};
use postgres::Client;

use super::plan::Plan;
use super::report;
use crate::sql::Sql;

/// One event of the table, as text.
pub struct Event {
    pub statement: (String, String),
    pub operation: String,
    pub key: Option<String>,
    pub old_key: Option<String>,
    pub old: Option<String>,
    pub new: Option<String>,
}

impl Event {
    /// The key that the old image had.
    pub fn key_before(&self) -> Option<&String> {
        self.old_key.as_ref().or(self.key.as_ref())
    }
}

/// The table's row and truncate events in order of transaction, statement and event.
pub fn events(client: &mut Client, plan: &Plan) -> Result<Vec<Event>> {
    let rows = client.rows(&format!(
        "SELECT xact_id, statement_id, operation, row_key, old_row_key, old_values, new_values
         FROM audit.audit_events e
         WHERE {} AND operation::text IN ('insert', 'update', 'delete', 'truncate', 'snapshot')
         ORDER BY xact_id, statement_id, event_id",
        plan.events
    ))?;
    let event = |mut row: Vec<Option<String>>| {
        let mut next = || if row.is_empty() { None } else { row.remove(0) };
        Event {
            statement: (next().unwrap_or_default(), next().unwrap_or_default()),
            operation: next().unwrap_or_default(),
            key: next(),
            old_key: next(),
            old: next(),
            new: next(),
        }
    };
    Ok(rows.into_iter().map(event).collect())
}

pub fn check(client: &mut Client, plan: &Plan) -> Result<()> {
    let events = events(client, plan)?;
    // Count of each image, and of the live images of each key.
    let mut images: HashMap<&str, i64> = HashMap::new();
    let mut keys: HashMap<&str, i64> = HashMap::new();
    for group in events.chunk_by(|a, b| a.statement == b.statement) {
        for event in group {
            if event.operation == "truncate" {
                images.clear();
                keys.clear();
            }
            if let Some(old) = &event.old {
                *images.entry(old).or_default() -= 1;
                if let Some(key) = event.key_before() {
                    *keys.entry(key).or_default() -= 1;
                }
            }
            if let Some(new) = &event.new {
                *images.entry(new).or_default() += 1;
                if let Some(key) = &event.key {
                    *keys.entry(key).or_default() += 1;
                }
            }
        }
        let negative = images.iter().find(|(_, count)| **count < 0);
        let double = keys.iter().find(|(_, count)| !(0..=1).contains(*count));
        let complaint = match (negative, double) {
            (Some((image, count)), _) => {
                format!("image {} stands {count} times", report::cut(image))
            }
            (_, Some((key, count))) => format!("key {key} has {count} live images"),
            _ => {
                images.retain(|_, count| *count != 0);
                keys.retain(|_, count| *count != 0);
                continue;
            }
        };
        let (xact, statement) = &group[0].statement;
        let touched: Vec<String> = group
            .iter()
            .flat_map(|event| [event.key.clone(), event.old_key.clone()])
            .flatten()
            .collect();
        let shown = report::events(client, plan, &touched, &[])?;
        bail!("after transaction {xact} statement {statement}: {complaint}\n{shown}");
    }
    Ok(())
}
