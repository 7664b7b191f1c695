//! (r): how fast the log is read at ten million events: a row's history, pages of events under each filter, a request's lineage, a
//! table as it was; and an application event inside a transaction.
//!
//! The log is sealed and summarised before it is read. Each figure is the client's time with all rows fetched, the median of calls
//! after one that is not counted.

use super::reading_log::{self, REQUEST, TABLES};
use super::results::Unit;
use super::system::FULL;
use super::turns::Bench;
use crate::interrupt;
use crate::stats::median;
use crate::ui::Step;
use anyhow::{Result, ensure};
use postgres::Client;
use std::time::Instant;

pub const HISTORY: &str = "history";
pub const LINEAGE: &str = "lineage";
pub const AS_OF: &str = "as_of";
pub const LOG_EVENT: &str = "log_event";
pub const FIRST_PAGE: &str = "first page";
pub const FAR_PAGE: &str = "1,000th page";
const DATABASE: &str = "reading";
const CALLS: u32 = 11;
const LOGGED: u32 = 10_000;
const PAGE: i32 = 50;
/// What the background worker does within a second: pages are measured as they are in operation, with no more than the last 2,048
/// events not summarised.
const SUMMARIZE: [&str; 3] = [
    "SELECT audit.seal()",
    "SELECT audit.maintain()",
    "VACUUM ANALYZE audit.event_ranges, audit.range_values",
];

/// Arguments of `audit.events`: each filter by a value that newest events have, then by one of which all events are early ones.
/// What is early lies in the current month and in the ten before it. One request, with its processes and its session,
/// has `REQUEST` events, others those of a chapter.
const FILTERS: [&str; 36] = [
    "",
    "category => '{view}'",
    "category => '{early}'",
    "severity => '{info}'",
    "severity => '{critical}'",
    "action => '{order shown}'",
    "action => '{early}'",
    "operation => '{update}'",
    "operation => '{event}'",
    "operation => '{ddl,system}'",
    "app_user_id => 'user 1'",
    "app_user_id => 'early'",
    "session_user_name => 'postgres'",
    "session_user_name => 'early'",
    "entity_type => 'order'",
    "entity_type => 'early'",
    "entity_id => 'order 1'",
    "entity_id => 'early 1'",
    "target => 'busy_1'",
    "target => 'orders'",
    "target => 'early'",
    "target => 'busy_1', row_key => '1'",
    "request_id => 'lineage'",
    "process_id => 'lineage 2'",
    "request_id => 'request 50'",
    "process_id => 'process 50'",
    "tenant_id => 'tenant 1'",
    "tenant_id => 'early'",
    "session_id => 'importing'",
    "session_id => 'session 1'",
    "changed_column => 'quantity'",
    "changed_column => 'note'",
    "search => 'shown'",
    "search => 'early'",
    "since => now() - interval '1 day'",
    "until => date_trunc('month', now()) - interval '1 month'",
];

/// `rows`: of a table, a hundredth of the log.
pub fn run(bench: &mut Bench, step: &mut Step, rows: u32) -> Result<()> {
    let Some(system) = bench.full("r") else {
        return Ok(());
    };
    bench.server.copy("template0", DATABASE)?;
    let mut client = bench.server.session(DATABASE)?;
    reading_log::schema(&mut client)?;
    let tables = TABLES.map(|table| format!("public.{table}"));
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    bench.server.attach(DATABASE, &system, &tables)?;
    reading_log::fill(&mut client, step, rows)?;
    drop(client);
    bench.server.checkpoint()?;
    let mut client = bench.server.session(DATABASE)?;
    step.progress("sealing and summarising");
    for statement in SUMMARIZE {
        client.batch_execute(statement)?;
    }
    for round in 1..=bench.rounds {
        let mut told = |what: &str| {
            step.progress(&format!("round {round} of {}: {what}", bench.rounds));
            interrupt::check()
        };
        let mut add = |case: &str, unit, value| bench.results.add("r", case, FULL, unit, value);
        told(HISTORY)?;
        add(HISTORY, Unit::Milliseconds, history(&mut client, rows)?);
        told(LINEAGE)?;
        add(LINEAGE, Unit::Milliseconds, lineage(&mut client)?);
        told(AS_OF)?;
        add(AS_OF, Unit::Milliseconds, as_of(&mut client, rows)?);
        for filter in FILTERS {
            told(filter)?;
            let before = far(&mut client, filter)?;
            let mut add = |case, ms| {
                let row = row(filter);
                bench.results.add("r", case, &row, Unit::Milliseconds, ms);
            };
            add(FIRST_PAGE, page(&mut client, filter, None)?);
            if before.is_some() {
                add(FAR_PAGE, page(&mut client, filter, before)?);
            }
        }
    }
    // Last: what it writes would lie before the pages.
    for _ in 0..bench.rounds {
        step.progress(LOG_EVENT);
        let micros = log_event(&mut client)?;
        bench
            .results
            .add("r", LOG_EVENT, FULL, Unit::MicrosPerEvent, micros);
    }
    drop(client);
    bench.server.drop(DATABASE)
}

/// The row of the results that stands for a filter, in the place of a system.
fn row(filter: &str) -> String {
    if filter.is_empty() {
        "all events".into()
    } else {
        filter.into()
    }
}

/// Milliseconds of a call: the median of some, after one that warms the session. `call` gives the rows that it fetched.
fn timed(
    calls: u32,
    mut call: impl FnMut(u32) -> Result<usize>,
    rows: std::ops::RangeInclusive<usize>,
) -> Result<f64> {
    let mut times = Vec::new();
    for n in 0..=calls {
        let started = Instant::now();
        let found = call(n)?;
        let time = started.elapsed().as_secs_f64() * 1e3;
        ensure!(
            rows.contains(&found),
            "{found} rows were found instead of {rows:?}"
        );
        if n > 0 {
            times.push(time);
        }
    }
    Ok(median(&times))
}

/// Rows from everywhere in a table that is busy.
fn history(client: &mut Client, rows: u32) -> Result<f64> {
    let statement = client.prepare("SELECT * FROM audit.history('busy_2', $1)")?;
    timed(
        CALLS * 3,
        |n| {
            let key = u64::from(n) * 7_919_993 % u64::from(rows) + 1;
            Ok(client.query(&statement, &[&key.to_string()])?.len())
        },
        5..=100,
    )
}

fn lineage(client: &mut Client) -> Result<f64> {
    let statement = client.prepare("SELECT * FROM audit.lineage('lineage')")?;
    let rows = REQUEST as usize;
    timed(
        CALLS,
        |_| Ok(client.query(&statement, &[])?.len()),
        rows..=rows,
    )
}

/// The table of which the log has an insert and two updates of each row, between the two.
fn as_of(client: &mut Client, rows: u32) -> Result<f64> {
    let between = "SELECT max(captured_at)::text FROM audit.audit_events WHERE table_oid = 'orders'::regclass AND operation = 'update'
                   AND xact_id::text::bigint < (SELECT max(xact_id::text::bigint) FROM audit.audit_events WHERE table_oid = 'orders'::regclass AND operation = 'update')";
    let at: String = client.query_one(between, &[])?.get(0);
    let statement = format!("SELECT * FROM audit.as_of(NULL::orders, '{at}')");
    let rows = rows as usize;
    timed(2, |_| Ok(client.query(&statement, &[])?.len()), rows..=rows)
}

/// Microseconds of an event among many in a transaction.
fn log_event(client: &mut Client) -> Result<f64> {
    let statement = format!(
        "SELECT audit.log_event('order paid', 'Order ' || g || ' was paid', 'order', 'order ' || g, 'Number ' || g, 'payment', 'info',
             '{{\"amount\": 12.5}}') FROM generate_series(1, {LOGGED}) AS g"
    );
    let rows = LOGGED as usize;
    let time = timed(3, |_| Ok(client.query(&statement, &[])?.len()), rows..=rows)?;
    Ok(time * 1e3 / f64::from(LOGGED))
}

/// Where the 1,000th page begins; none where the filter has not so many events.
fn far(client: &mut Client, filter: &str) -> Result<Option<i64>> {
    let mut before = i64::MAX;
    for n in 1..=50 {
        interrupt::check()?;
        let size = if n == 50 { 1000 - PAGE } else { 1000 };
        let ids = client.query(&pages(filter, &size.to_string()), &[&before])?;
        match ids.last() {
            Some(last) if ids.len() == usize::try_from(size)? => before = last.get(0),
            _ => return Ok(None),
        }
    }
    Ok(Some(before))
}

fn page(client: &mut Client, filter: &str, before: Option<i64>) -> Result<f64> {
    let statement = client.prepare(&pages(filter, &PAGE.to_string()))?;
    let before = before.unwrap_or(i64::MAX);
    timed(
        CALLS,
        |_| Ok(client.query(&statement, &[&before])?.len()),
        1..=50,
    )
}

fn pages(filter: &str, size: &str) -> String {
    let filter = if filter.is_empty() {
        String::new()
    } else {
        format!("{filter}, ")
    };
    format!("SELECT * FROM audit.events({filter}before_id => $1, page_size => {size})")
}
