//! `cargo xtask demo`: from a bare machine to an audited workload, in a private cluster that stays
//! for the user to look at. Each run begins with a new cluster.
//!
//! The story ends with its lineage graph and blame; the tamper drill is the last act, for after it the log is spoiled.

mod table;
mod tamper;
mod workload;

use crate::cluster::Cluster;
use crate::layout::Layout;
use crate::setup::{self, MAJORS, Purpose, Workshop};
use crate::{run, ui};
use anyhow::{Context, Result, ensure};

const NAME: &str = "demo";
const DATABASE: &str = "demo";
/// fsync and synchronous_commit stay on: what is measured is what one would run.
/// No checkpoint falls into one measured run and not into the other.
const SETTINGS: &str =
    "shared_buffers = '512MB'\nmax_wal_size = '8GB'\ncheckpoint_timeout = '1h'\n";

/// Builds, starts, shows, and leaves the cluster running.
pub fn run(major: Option<u16>) -> Result<()> {
    let major = major.unwrap_or_else(setup::packaged_major);
    let workshop = Workshop::prepare(major, Purpose::Demo)?;
    let layout = &workshop.layout;
    // A running demo must not lose its library; a new one begins anyway.
    if let Some(old) = find(layout) {
        old.stop()?;
    }
    let mut install = workshop.install_command()?;
    install.arg("--release");
    run::logged(
        "Building the extension in release mode (about 4 minutes the first time)",
        &layout.log("demo-install"),
        &mut install,
    )?;

    let step = ui::Step::start("Starting a private cluster");
    let mut cluster = Cluster::create(layout, &workshop.bindir, NAME, SETTINGS)?;
    // Until all has worked, an error or an interrupt takes the cluster away.
    cluster.temporary = true;
    cluster.start()?;
    let mut client = cluster.connect("postgres")?;
    client.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
    let mut client = cluster.connect(DATABASE)?;
    client
        .batch_execute("CREATE EXTENSION pg_attest")
        .context("CREATE EXTENSION pg_attest")?;
    step.done();

    workload::run(&cluster, layout, &mut client)?;
    story(&cluster, layout, &mut client)?;
    tamper::run(&workshop, &cluster, &mut client)?;

    cluster.temporary = false;
    println!("\nLook around (the cluster stays up until `cargo xtask demo --stop`):\n");
    println!("    {}\n", cluster.psql_line(DATABASE));
    Ok(())
}

/// `--stop`: stops the cluster and keeps its data.
pub fn stop() -> Result<()> {
    match find(&Layout::find()?) {
        Some(cluster) if cluster.is_running() => {
            cluster.stop()?;
            println!("the demo's cluster is stopped");
        }
        _ => println!("no demo is running"),
    }
    Ok(())
}

/// `--clean`: removes the cluster and the demo's PostgreSQL. Cargo's build stays for the next run.
pub fn clean() -> Result<()> {
    let layout = Layout::find()?;
    if let Some(cluster) = find(&layout) {
        cluster.stop()?;
    }
    let names = MAJORS.map(|major| setup::postgres_name(major, Purpose::Demo));
    let servers = names.iter().map(|name| layout.postgres(name));
    let homes = names.iter().map(|name| layout.pgrx_home(name));
    for folder in servers.chain(homes).chain([layout.scratch.join(NAME)]) {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
            println!("removed {}", folder.display());
        }
    }
    Ok(())
}

/// The cluster of an earlier run.
fn find(layout: &Layout) -> Option<Cluster> {
    let version =
        std::fs::read_to_string(layout.scratch.join(NAME).join("data/PG_VERSION")).ok()?;
    let bindir = setup::installed(layout, version.trim().parse().ok()?, Purpose::Demo)?;
    Cluster::open(layout, &bindir, NAME)
}

fn story(cluster: &Cluster, layout: &Layout, client: &mut postgres::Client) -> Result<()> {
    // psql sends one statement after the other, so that each transaction has its own time.
    let mut psql = cluster.client_program("psql", DATABASE);
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file"]);
    psql.arg(layout.root.join("xtask/src/demo/story.sql"));
    run::logged(
        "Playing a drug request",
        &layout.log("demo-story"),
        &mut psql,
    )?;
    for table in ["drug_requests", "category_results", "source_references"] {
        ensure!(
            workload::rebuilds(client, table)?,
            "the trail does not rebuild {table}"
        );
    }

    println!("\nThe history of drug request 1, which one request and its processes made:\n");
    let headers = ["when", "who", "request, processes", "why", "what"];
    let versions = texts(client, include_str!("history.sql"))?;
    println!(
        "{}",
        table::render(&headers, &[12, 18, 26, 26, 50], &versions)
    );

    let row = client.query_one(
        "SELECT count(*), count(*) FILTER (WHERE table_name = 'source_references')
         FROM audit.audit_events
         WHERE operation::text = 'delete' AND reason = 'duplicate of result 11'",
        &[],
    )?;
    let (deletes, cascaded): (i64, i64) = (row.get(0), row.get(1));
    println!(
        "Deleting one duplicate result recorded {deletes} deletes: {cascaded} of them source \
         references that the foreign key took along,\nwith the same request, process and reason."
    );

    let graph: String = client
        .query_one("SELECT audit.lineage_graph('REQ-2041')", &[])?
        .get(0);
    println!("\nAll that the request caused, as a Mermaid flowchart (audit.lineage_graph):\n");
    for line in graph.lines() {
        println!("    {line}");
    }
    println!("\nWho set what the drug request holds now (audit.blame):\n");
    let headers = ["column", "value", "who", "process", "why"];
    let blame = texts(client, include_str!("blame.sql"))?;
    ensure!(
        !blame.is_empty(),
        "audit.blame() knows nothing of the drug request"
    );
    println!("{}", table::render(&headers, &[12, 30, 18, 12, 40], &blame));
    Ok(())
}

/// Rows of texts.
fn texts(client: &mut postgres::Client, query: &str) -> Result<Vec<Vec<String>>> {
    let found = client.query(query, &[])?;
    Ok(found
        .iter()
        .map(|row| {
            (0..row.len())
                .map(|i| row.get::<_, Option<String>>(i).unwrap_or_default())
                .collect()
        })
        .collect())
}
