//! pgbench's TPC-B with and without audit, and the replay oracle over its tables.
//!
//! Two databases of one cluster, one of them audited, run in turn: what else the machine does
//! meanwhile falls on both.

use super::DATABASE;
use crate::cluster::Cluster;
use crate::layout::Layout;
use crate::stats::median;
use crate::{pgbench, run, ui};
use anyhow::{Result, ensure};
use postgres::Client;

const TABLES: [&str; 4] = [
    "pgbench_accounts",
    "pgbench_branches",
    "pgbench_tellers",
    "pgbench_history",
];
/// The database without audit; gone when the workload is done.
const PLAIN: &str = "demo_plain";
const SCALE: &str = "10";
const CLIENTS: &str = "4";
/// Odd, so that a run is the median. In all 10 s and more with audit.
const PAIRS: usize = 3;
const SECONDS: &str = "4";

pub fn run(cluster: &Cluster, layout: &Layout, client: &mut Client) -> Result<()> {
    client.batch_execute(&format!("CREATE DATABASE {PLAIN}"))?;
    for database in [PLAIN, DATABASE] {
        let mut init = cluster.client_program("pgbench", database);
        init.args(["--initialize", "--quiet", "--scale", SCALE]);
        let title = "Filling pgbench's tables (a million accounts)";
        run::logged(
            title,
            &layout.log(&format!("pgbench-init-{database}")),
            &mut init,
        )?;
    }
    let step = ui::Step::start("Attaching the four tables, with a baseline of every row");
    for table in TABLES {
        client.execute(
            "SELECT audit.attach($1::text::regclass, baseline => true)",
            &[&table],
        )?;
    }
    let baseline = events(client)?;
    client.batch_execute("VACUUM ANALYZE")?;
    client.batch_execute("CHECKPOINT")?;
    step.done();

    // The first touch of a page after a checkpoint writes all of it: none of that is measured.
    let mut transactions = 0;
    for database in [PLAIN, DATABASE] {
        let warm = tpcb(cluster, layout, database, "3", "Warming up")?;
        if database == DATABASE {
            transactions += warm.transactions;
        }
    }
    let (mut plain, mut audited) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        plain.push(tpcb(cluster, layout, PLAIN, SECONDS, "TPC-B without audit")?.tps);
        let run = tpcb(cluster, layout, DATABASE, SECONDS, "TPC-B with audit")?;
        transactions += run.transactions;
        audited.push(run.tps);
    }
    client.batch_execute(&format!("DROP DATABASE {PLAIN}"))?;

    let recorded = events(client)? - baseline;
    let step = ui::Step::start("Rebuilding the four tables from the trail");
    for table in TABLES {
        ensure!(
            rebuilds(client, table)?,
            "the trail does not rebuild {table}"
        );
    }
    step.done();
    // One update in 10,000 adds nothing to a balance and is no change.
    ensure!(
        recorded <= 4 * transactions && recorded >= 4 * transactions - transactions / 100 - 4,
        "{recorded} events for {transactions} transactions of 4 changes each"
    );

    println!(
        "\nTPC-B by pgbench, {CLIENTS} clients, fsync on; medians of {PAIRS} runs of {SECONDS} s each way, in turn:\n"
    );
    println!(
        "    without audit   {:>9.0} tps   ({})",
        median(&plain),
        list(&plain)
    );
    println!(
        "    with audit      {:>9.0} tps   ({})",
        median(&audited),
        list(&audited)
    );
    println!(
        "    ratio           {:>9.2}",
        median(&audited) / median(&plain)
    );
    println!(
        "    events          {recorded:>9}       {transactions} transactions of 4 changes each"
    );
    println!("    baseline        {baseline:>9}       1 event for each row that was there");
    println!("\nThe trail rebuilds all four tables exactly:\n");
    for table in TABLES {
        let rows: i64 = client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])?
            .get(0);
        println!("    {table:<17} {rows:>8} rows   equal");
    }
    Ok(())
}

/// Runs TPC-B. No vacuum: pgbench would truncate its history with it.
fn tpcb(
    cluster: &Cluster,
    layout: &Layout,
    database: &str,
    seconds: &str,
    what: &str,
) -> Result<pgbench::Report> {
    let log = layout.log(&format!("pgbench-{database}"));
    let mut bench = cluster.client_program("pgbench", database);
    bench.args([
        "--no-vacuum",
        "--client",
        CLIENTS,
        "--jobs",
        "2",
        "--time",
        seconds,
    ]);
    run::logged(&format!("{what}, {seconds} s"), &log, &mut bench)?;
    pgbench::report(&std::fs::read_to_string(&log)?)
}

fn list(values: &[f64]) -> String {
    values
        .iter()
        .map(|tps| format!("{tps:.0}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn events(client: &mut Client) -> Result<i64> {
    Ok(client
        .query_one("SELECT count(*) FROM audit.audit_events", &[])?
        .get(0))
}

/// The replay oracle: whether a table's events fold to exactly its present rows.
pub fn rebuilds(client: &mut Client, table: &str) -> Result<bool> {
    client.batch_execute(include_str!("oracle_settings.sql"))?;
    let query = include_str!("oracle.sql").replace(":table", table);
    let differing: i64 = client.query_one(&query, &[])?.get(0);
    Ok(differing == 0)
}
