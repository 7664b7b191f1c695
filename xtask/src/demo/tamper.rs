//! The last act: the log is sealed and exported, a superuser rewrites an event, and both verifiers name it.

use super::{DATABASE, table};
use crate::cluster::Cluster;
use crate::run;
use crate::setup::Workshop;
use anyhow::{Context, Result, ensure};
use postgres::Client;

/// `attest` says so when it has findings.
const FINDINGS: i32 = 1;
/// The rest comes from the environment, as with libpq.
const URL: &str = "postgresql:///demo";
const IMPOSTOR: &str = "nobody.special";

pub fn run(workshop: &Workshop, cluster: &Cluster, client: &mut Client) -> Result<()> {
    let attest = Attest::build(workshop, cluster)?;
    let sealed: i64 = client.query_one("SELECT audit.seal()", &[])?.get(0);
    println!(
        "\n{sealed} events are sealed into the log's tree. An auditor takes a copy and verifies it without the server:\n"
    );
    let folder = cluster.home().join("export");
    let folder = folder.to_string_lossy();
    attest.show(&["export", "--db", URL, &folder], 0)?;
    attest.show(&["verify", &folder], 0)?;

    let approved_by: String = client
        .query_one(
            "SELECT new_values ->> 'approved_by' FROM audit.audit_events
             WHERE table_name = 'drug_requests' AND new_values ->> 'approved_by' IS NOT NULL LIMIT 1",
            &[],
        )?
        .get(0);
    rewrite(client, IMPOSTOR)?;
    println!(
        "\nA superuser now makes the log say that {IMPOSTOR} approved the request, not {approved_by}. The server's own verification:\n"
    );
    let findings = client.query(
        "SELECT check_name, event_id::text, leaf_index::text, detail FROM audit.verify() WHERE NOT ok AND event_id IS NOT NULL",
        &[],
    )?;
    ensure!(!findings.is_empty(), "audit.verify() found nothing");
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|row| {
            (0..4)
                .map(|i| row.get::<_, Option<String>>(i).unwrap_or_default())
                .collect()
        })
        .collect();
    println!(
        "{}",
        table::render(
            &["finding", "event", "leaf", "detail"],
            &[18, 10, 10, 70],
            &rows
        )
    );
    println!("And from outside, with no trust in the server:\n");
    attest.show(&["verify", "--db", URL], FINDINGS)?;

    rewrite(client, &approved_by)?;
    let wrong: i64 = client
        .query_one("SELECT count(*) FROM audit.verify() WHERE NOT ok", &[])?
        .get(0);
    ensure!(
        wrong == 0,
        "the log does not verify although all is as it was"
    );
    println!("\nWith the event as it was, everything verifies again.");
    Ok(())
}

fn rewrite(client: &mut Client, approved_by: &str) -> Result<()> {
    client.execute(
        "SELECT set_config('demo.approved_by', $1, false)",
        &[&approved_by],
    )?;
    client
        .batch_execute(include_str!("tamper.sql"))
        .context("cannot rewrite the event")
}

/// The command `attest`, with its connection.
struct Attest<'a> {
    cluster: &'a Cluster,
    program: String,
}

impl<'a> Attest<'a> {
    fn build(workshop: &Workshop, cluster: &'a Cluster) -> Result<Self> {
        let mut build = workshop.cargo()?;
        build.args(["build", "--profile", "tool", "--package", "attest-cli"]);
        run::logged(
            "Building the command attest (about 2 minutes the first time)",
            &workshop.layout.log("demo-attest"),
            &mut build,
        )?;
        let program = workshop.layout.target.join("tool/attest");
        Ok(Self {
            cluster,
            program: program.to_string_lossy().into_owned(),
        })
    }

    /// Runs it, shows the command and its output, and demands this exit status.
    fn show(&self, arguments: &[&str], status: i32) -> Result<()> {
        // An absolute path: the folder of PostgreSQL's programs does not matter.
        let mut command = self.cluster.client_program(&self.program, DATABASE);
        let output = command.args(arguments).output()?;
        println!("$ attest {}", arguments.join(" "));
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.code() == Some(status),
            "attest ended with {}",
            output.status
        );
        Ok(())
    }
}
