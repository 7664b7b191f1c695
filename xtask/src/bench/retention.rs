//! (t): how fast a prune is, and what writers notice of it.
//!
//! One month is over and due as a whole: it is emptied and dropped. Of another month half is due: that is deleted in batches. A
//! prune first looks through what is due, for it declares the leaves of all that goes, and readers go on; then it drops the
//! month, behind a lock that shuts it. Both times are told. Two things are tried before: a session that does nothing but compute, and a
//! plain table of the month's size that is dropped. What processors and file system do to writers that way is none of the prune's doing.

use super::bulk::{between, workload_sql};
use super::growth::told;
use super::restored::{LEAVE_IDS, Restored};
use super::results::Unit;
use super::server::Server;
use super::system::{FULL, System};
use super::turns::Bench;
use super::writers::Writers;
use crate::interrupt;
use crate::stats::quantile;
use crate::ui::Step;
use anyhow::{Result, ensure};
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const DROP: &str = "dropping the month";
pub const WHOLE: &str = "pruning the month";
pub const DELETE: &str = "deleting in batches";
pub const BEFORE: &str = "writers' p99 before";
pub const DURING: &str = "writers' p99 while the month goes";
const BESIDE_ANY: &str = "writers' p99 beside a session that only computes";
const IN_BATCHES: &str = "writers' p99 while batches go";
const LONGEST_BEFORE: &str = "writers' longest statement before";
const LONGEST_BESIDE_ANY: &str = "writers' longest statement beside a session that only computes";
const LONGEST_DURING: &str = "writers' longest statement while the month goes";
const LONGEST_AT_DROP: &str = "writers' longest statement while DROP TABLE frees as much";
const LONGEST_IN_BATCHES: &str = "writers' longest statement while batches go";
/// For writers, as far as it was seen.
const LOG_SHUT: &str = "the log shut";
const DATABASE: &str = "retention";
/// Rows of a turn, each of which makes two events.
const ROWS: u32 = 50_000;
const WRITERS: u32 = 4;
const WRITTEN: i32 = 100_000;
/// How long the writers write alone, and as long beside a session that only computes.
const ALONE: Duration = Duration::from_secs(30);
/// The month that goes as a whole, and the one that half goes; in months ago.
const DUE: u32 = 3;
const HALF_DUE: u32 = 2;

/// Once: a month goes once.
pub fn run(bench: &mut Bench, step: &mut Step, events: u32) -> Result<()> {
    let Some(system) = bench.full("t") else {
        return Ok(());
    };
    let (mut client, due, filled) = prepare(bench, step, &system, events)?;
    step.progress("writing");
    let update = "UPDATE written SET value = value + 1 WHERE id = $1";
    let writers = Writers::start(&bench.server, DATABASE, WRITERS, update, WRITTEN)?;
    // From the beginning: to look takes processor time, too.
    let watch = Watch::start(
        &bench.server,
        [(&due, FOR_READERS), ("audit.audit_events", FOR_WRITERS)],
    )?;
    let alone = Instant::now();
    std::thread::sleep(ALONE);
    let computing = Instant::now();
    client.batch_execute(&format!(
        "DO $$
         DECLARE ends timestamptz := clock_timestamp() + '{} s';
         BEGIN
             LOOP EXIT WHEN clock_timestamp() > ends; END LOOP;
         END $$",
        ALONE.as_secs()
    ))?;
    let dropping = Instant::now();
    client.batch_execute("DROP TABLE plain")?;
    bench.server.calm()?;
    let (mut batches, mut deleted) = (Duration::ZERO, 0);
    let begun = Instant::now();
    let mut ended = begun;
    // When the month was at its turn: it is emptied in one step, and dropped in another.
    let mut of_month = Vec::new();
    loop {
        interrupt::check()?;
        let started = Instant::now();
        let row = client.query_one("SELECT * FROM audit.prune_batch()", &[])?;
        let (partition, pruned, finished): (Option<String>, i64, bool) =
            (row.get(0), row.get(1), row.get(2));
        if finished {
            break;
        }
        ended = Instant::now();
        let (time, pruned) = (ended - started, u64::try_from(pruned)?);
        let partition = partition.unwrap_or_default();
        step.progress(&format!("pruning {partition}"));
        if due == format!("audit.{partition}") {
            // What was emptied is dropped by the next step.
            ensure!(
                !of_month.is_empty() || pruned >= filled,
                "the month was not pruned at once"
            );
            of_month.push(started..ended);
        } else {
            batches += time;
            deleted += pruned;
        }
    }
    let [shut, log_shut] = watch.end()?;
    ensure!(shut > Duration::ZERO, "nobody saw the month shut");
    let is_there: bool = client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&due])?
        .get(0);
    ensure!(!is_there, "{due} was emptied and not dropped");
    let statements = writers.end()?;
    ensure!(!of_month.is_empty(), "the month was not pruned");
    let whole = of_month.iter().map(|turn| turn.end - turn.start).sum();
    ensure!(deleted > 0, "nothing was deleted in batches");

    let case = told(filled);
    let mut add = |what: &str, unit, value| {
        let case = format!("{what}, {case}");
        bench.results.add("t", &case, FULL, unit, value);
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    add(DROP, Unit::Milliseconds, ms(shut));
    add(WHOLE, Unit::Milliseconds, ms(whole));
    let deleted = f64::from(u32::try_from(deleted)?);
    add(DELETE, Unit::MicrosPerEvent, ms(batches) * 1e3 / deleted);
    add(LOG_SHUT, Unit::Milliseconds, ms(log_shut));
    let is_of_month = |at: &Instant| of_month.iter().any(|turn| turn.contains(at));
    for (p99, longest, span, with_month) in [
        (Some(BEFORE), LONGEST_BEFORE, alone..computing, false),
        (
            Some(BESIDE_ANY),
            LONGEST_BESIDE_ANY,
            computing..dropping,
            false,
        ),
        (None, LONGEST_AT_DROP, dropping..begun, false),
        (Some(DURING), LONGEST_DURING, begun..ended, true),
        (Some(IN_BATCHES), LONGEST_IN_BATCHES, begun..ended, false),
    ] {
        let within = |at: &Instant| span.contains(at) && is_of_month(at) == with_month;
        let within = statements.iter().filter(|(at, _)| within(at));
        let times: Vec<f64> = within.map(|(_, ms)| *ms).collect();
        ensure!(times.len() >= 100, "the writers wrote too little");
        if let Some(p99) = p99 {
            add(p99, Unit::Milliseconds, quantile(&times, 0.99));
        }
        add(longest, Unit::Milliseconds, quantile(&times, 1.0));
    }
    drop(client);
    bench.server.drop(DATABASE)
}

/// Makes the database with both months, and the plain table; gives a session, the month that goes as a whole, and how many events it has.
fn prepare(
    bench: &mut Bench,
    step: &mut Step,
    system: &System,
    events: u32,
) -> Result<(Client, String, u64)> {
    bench.server.copy("template0", DATABASE)?;
    let mut client = bench.server.session(DATABASE)?;
    client.batch_execute(workload_sql!("orders", "table"))?;
    client.batch_execute(&format!(
        "CREATE TABLE kept (LIKE orders INCLUDING ALL);
         CREATE TABLE written AS SELECT id, 0 AS value FROM generate_series(1, {WRITTEN}) AS id;
         ALTER TABLE written ADD PRIMARY KEY (id)"
    ))?;
    let tables = ["public.orders", "public.kept", "public.written"];
    bench.server.attach(DATABASE, system, &tables)?;
    let filled = fill(step, &mut client, events)?;
    drop(client);
    step.progress("sealing");
    let mut client = bench.server.sealed(DATABASE)?;
    client.batch_execute("SELECT audit.set_retention('1 month', target => 'orders')")?;
    let due = month(&mut client, DUE)?;
    client.batch_execute(&format!("CREATE TABLE plain AS SELECT * FROM {due}"))?;
    bench.server.checkpoint()?;
    step.progress("waiting for a calm disk");
    bench.server.calm()?;
    Ok((client, due, filled))
}

/// Fills both months; gives how many events each has.
fn fill(step: &mut Step, client: &mut Client, events: u32) -> Result<u64> {
    client.batch_execute(LEAVE_IDS)?;
    for table in ["orders", "kept"] {
        for statement in [
            workload_sql!("orders", "insert"),
            workload_sql!("orders", "update"),
        ] {
            let statement =
                between(statement, 1, ROWS).replace("INTO orders", &format!("INTO {table}"));
            let statement = statement.replace("UPDATE orders", &format!("UPDATE {table}"));
            client.batch_execute(&statement)?;
        }
    }
    let of =
        |table| format!("operation IN ('insert', 'update') AND table_oid = '{table}'::regclass");
    let turns = events.div_ceil(ROWS * 2);
    let mut filled = 0;
    for (table, months, copies) in [
        ("orders", [DUE, HALF_DUE].as_slice(), 1..=turns),
        ("kept", &[HALF_DUE], turns + 1..=turns * 2),
    ] {
        let restored = Restored::new(client, &of(table), months)?;
        for number in copies {
            for month in months {
                interrupt::check()?;
                step.progress(&format!("filling: {table}, turn {number} of {turns}"));
                let count = restored.put(client, number, *month)?;
                if *month == DUE {
                    filled += count;
                }
            }
        }
    }
    step.progress("vacuuming");
    client.batch_execute("VACUUM ANALYZE")?;
    Ok(filled)
}

/// The partition of a month.
fn month(client: &mut Client, ago: u32) -> Result<String> {
    let name = format!(
        "SELECT 'audit.audit_events_' || to_char((now() - interval '{ago} months') AT TIME ZONE 'UTC', 'YYYY_MM')"
    );
    Ok(client.query_one(&name, &[])?.get(0))
}

/// Locks that shut a table for readers.
const FOR_READERS: &[&str] = &["AccessExclusiveLock"];
/// And for writers.
const FOR_WRITERS: &[&str] = &[
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

/// Looks for how long tables are shut.
struct Watch {
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<Result<[Duration; 2]>>,
}

impl Watch {
    /// Each table with the locks that shut it. One sampler looks at both, now and then: it takes processor time from the writers.
    fn start(server: &Server, tables: [(&str, &'static [&'static str]); 2]) -> Result<Self> {
        const REST: Duration = Duration::from_millis(2);
        let mut client = server.session(DATABASE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let names = tables.map(|(table, _)| table.to_owned());
        let [(_, first), (_, second)] = tables;
        let oids: Vec<u32> = client
            .query_one("SELECT $1::text[]::regclass[]::oid[]", &[&names.as_slice()])?
            .get(0);
        let sampler = std::thread::spawn(move || {
            let looking = client.prepare(
                "SELECT coalesce(bool_or(relation = $1 AND mode = ANY ($3)), false), coalesce(bool_or(relation = $2 AND mode = ANY ($4)), false)
                 FROM pg_locks WHERE locktype = 'relation' AND granted",
            )?;
            let mut shut = [None; 2];
            let mut free = [Instant::now(); 2];
            let mut longest = [Duration::ZERO; 2];
            while !stopped.load(Ordering::Relaxed) {
                let row = client.query_one(&looking, &[&oids[0], &oids[1], &first, &second])?;
                for table in 0..2 {
                    if row.get(table) {
                        // At the latest since it was last seen free, until now at least.
                        let since: Instant = *shut[table].get_or_insert(free[table]);
                        longest[table] = longest[table].max(since.elapsed());
                    } else {
                        shut[table] = None;
                        free[table] = Instant::now();
                    }
                }
                std::thread::sleep(REST);
            }
            Ok(longest)
        });
        Ok(Self { stop, sampler })
    }

    /// The longest time for which each was, to a few milliseconds.
    fn end(self) -> Result<[Duration; 2]> {
        self.stop.store(true, Ordering::Relaxed);
        self.sampler
            .join()
            .map_err(|_| anyhow::anyhow!("the sampler panicked"))?
    }
}
