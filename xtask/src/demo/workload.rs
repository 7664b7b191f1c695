//! pgbench's TPC-B, first without and then with audit, and the replay oracle over its tables.

use super::client_program;
use crate::cluster::Cluster;
use crate::layout::Layout;
use crate::{run, ui};
use anyhow::{Context, Result, ensure};
use postgres::Client;

const TABLES: [&str; 4] = [
    "pgbench_accounts",
    "pgbench_branches",
    "pgbench_tellers",
    "pgbench_history",
];
const SCALE: &str = "10";
const CLIENTS: &str = "4";
const SECONDS: &str = "10";

/// What one run of pgbench says about itself.
struct Tpcb {
    transactions: i64,
    tps: f64,
}

pub fn run(cluster: &Cluster, layout: &Layout, client: &mut Client) -> Result<()> {
    let mut init = client_program(cluster, "pgbench");
    init.args(["--initialize", "--quiet", "--scale", SCALE]);
    run::logged(
        "Filling pgbench's tables (a million accounts)",
        &layout.log("pgbench-init"),
        &mut init,
    )?;

    let plain = tpcb(cluster, layout, client, "without audit")?;

    let step = ui::Step::start("Attaching the four tables, with a baseline of every row");
    for table in TABLES {
        client.execute(
            "SELECT audit.attach($1::text::regclass, baseline => true)",
            &[&table],
        )?;
    }
    let baseline = events(client)?;
    step.done();

    let audited = tpcb(cluster, layout, client, "with audit")?;
    let recorded = events(client)? - baseline;

    let step = ui::Step::start("Rebuilding the four tables from the trail");
    for table in TABLES {
        ensure!(
            rebuilds(client, table)?,
            "the trail does not rebuild {table}"
        );
    }
    step.done();
    ensure!(
        recorded >= 4 * audited.transactions,
        "{recorded} events for {} transactions of four changes each",
        audited.transactions
    );

    let count = |table: &str, client: &mut Client| -> Result<i64> {
        Ok(client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])?
            .get(0))
    };
    println!(
        "\nTPC-B by pgbench, {CLIENTS} clients, {SECONDS} s each way, fsync on, one run each:\n"
    );
    println!("    without audit   {:>9.0} tps", plain.tps);
    println!(
        "    with audit      {:>9.0} tps   ratio {:.2}",
        audited.tps,
        audited.tps / plain.tps
    );
    println!(
        "    events          {recorded:>9}       {} transactions, 4 changes each; {baseline} more for the baseline",
        audited.transactions
    );
    println!("\nThe trail rebuilds all four tables exactly:\n");
    for table in TABLES {
        println!("    {table:<17} {:>8} rows   equal", count(table, client)?);
    }
    Ok(())
}

/// Runs TPC-B. No vacuum: pgbench would truncate its history with it.
fn tpcb(cluster: &Cluster, layout: &Layout, client: &mut Client, how: &str) -> Result<Tpcb> {
    client.batch_execute("VACUUM ANALYZE")?;
    client.batch_execute("CHECKPOINT")?;
    let log = layout.log(&format!("pgbench-{}", how.replace(' ', "-")));
    let mut bench = client_program(cluster, "pgbench");
    bench.args([
        "--no-vacuum",
        "--client",
        CLIENTS,
        "--jobs",
        "2",
        "--time",
        SECONDS,
    ]);
    run::logged(
        &format!("Running TPC-B {how}, {SECONDS} s"),
        &log,
        &mut bench,
    )?;
    let text = std::fs::read_to_string(&log)?;
    parse(&text).with_context(|| format!("cannot read pgbench's result in {}", log.display()))
}

fn parse(text: &str) -> Option<Tpcb> {
    let after = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let first = |rest: &str| {
        rest.split([' ', '/'])
            .find(|word| !word.is_empty())
            .map(str::to_owned)
    };
    Some(Tpcb {
        transactions: first(after("number of transactions actually processed:")?)?
            .parse()
            .ok()?,
        tps: first(after("tps =")?)?.parse().ok()?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_output_is_read() -> Result<()> {
        let text = "number of transactions actually processed: 10203\n\
                    latency average = 3.9 ms\n\
                    tps = 1020.55 (without initial connection time)\n";
        let result = parse(text).context("not read")?;
        assert_eq!(result.transactions, 10_203);
        assert!((result.tps - 1020.55).abs() < 0.001);
        Ok(())
    }
}
