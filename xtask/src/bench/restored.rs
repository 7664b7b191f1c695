//! Events of months that are over: copies of captured ones under other ids and with other salts, put into the log as a dump is
//! restored.

use anyhow::Result;
use postgres::Client;

/// Sets the log's ids so that those of copies are free. Before anything is captured.
pub const LEAVE_IDS: &str = "SELECT setval('audit.audit_events_event_id_seq', 64 * 20000000 + 1)";

/// What is copied stands in a temporary table of the session.
pub struct Restored {
    columns: String,
}

impl Restored {
    /// Takes the events that meet a condition, whose ids lie less than 500,000 apart, and makes the months that they are copied to.
    pub fn new(client: &mut Client, condition: &str, months: &[u32]) -> Result<Self> {
        let columns = "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = 'audit.audit_events'::regclass AND attnum > 3 AND attname <> 'salt'";
        let columns = client.query_one(columns, &[])?.get(0);
        client.batch_execute(&format!(
            "CREATE TEMPORARY TABLE copied AS SELECT * FROM audit.audit_events WHERE {condition}"
        ))?;
        let restored = Self { columns };
        // An event brings its month about.
        for month in months {
            restored.put_some(
                client,
                0,
                *month,
                "event_id = (SELECT max(event_id) FROM copied)",
            )?;
        }
        client.batch_execute("SELECT audit.maintain()")?;
        Ok(restored)
    }

    /// Copies all for the `number`th time, from 1, into the month so many months ago; gives how many events they are.
    pub fn put(&self, client: &mut Client, number: u32, month: u32) -> Result<u64> {
        self.put_some(client, number, month, "true")
    }

    fn put_some(&self, client: &mut Client, number: u32, month: u32, which: &str) -> Result<u64> {
        let columns = &self.columns;
        client.batch_execute("SET audit.restore = on")?;
        let count = client.execute(
            &format!(
                "INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, salt, {columns})
                 SELECT event_id - ({number} * 20 + {month}) * 500000, occurred_at - interval '{month} months',
                        captured_at - interval '{month} months', gen_random_uuid(), {columns}
                 FROM copied WHERE {which} ORDER BY event_id"
            ),
            &[],
        )?;
        client.batch_execute("RESET audit.restore")?;
        Ok(count)
    }

    /// Gives the template's room back.
    #[allow(clippy::unused_self)] // nothing can be put after it
    pub fn end(self, client: &mut Client) -> Result<()> {
        Ok(client.batch_execute("DROP TABLE copied")?)
    }
}
