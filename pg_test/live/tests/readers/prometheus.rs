//! Prometheus' own parser takes the text, and postgres_exporter runs the queries of docs/prometheus/queries.yaml.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use live_tests::cluster::PORT;
use live_tests::env::{environment, run};
use live_tests::{Sql, scratch, shared, wait_until};
use serde_json::{Value as Json, json};

use crate::process::{Server, free_port, get, left_out, program};

/// Reads OpenMetrics text from a file and prints its samples: name, labels, value, type, unit.
const PARSE: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open(sys.argv[1], encoding='utf-8', newline='').read()):
    for sample in family.samples:
        print(json.dumps([sample.name, sample.labels, sample.value, family.type, family.unit, family.documentation]))
";

#[test]
fn the_parser_of_openmetrics_reads_the_state() {
    shared(|db| {
        let mut client = db.connect()?;
        client.run("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.attach('t'); INSERT INTO t VALUES (1), (2)")?;
        client.run("SELECT audit.seal()")?;
        client.run("INSERT INTO t VALUES (3)")?;
        let file = scratch::new_dir()?.join("metrics");
        std::fs::write(&file, client.one("SELECT audit.openmetrics()")?)?;
        let python = std::env::var("PG_ATTEST_PYTHON")
            .context("PG_ATTEST_PYTHON is not set: give a Python with the packages of pg_test/live/python/readers.txt")?;
        let output = run(Command::new(python).args(["-c", PARSE]).arg(&file))?;
        let samples = String::from_utf8(output.stdout)?;
        let samples: Vec<Json> = samples
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let of = |name: &str, labels: Json| {
            let found = samples
                .iter()
                .find(|sample| sample[0] == name && sample[1] == labels);
            found.with_context(|| format!("no {name} {labels} in {samples:#?}"))
        };
        let gauges = client.number("SELECT count(*) FROM audit.gauges()")?;
        ensure!(
            samples.len() == usize::try_from(gauges)?,
            "{} samples of {gauges}",
            samples.len()
        );
        for (name, labels, value, kind, unit) in [
            ("pg_attest_attached_tables", json!({}), 1, "gauge", ""),
            ("pg_attest_unsealed_events", json!({}), 1, "gauge", ""),
            ("pg_attest_sealed_events_total", json!({}), 3, "counter", ""),
            (
                "pg_attest_sealer",
                json!({"pg_attest_sealer": "by hand"}),
                1,
                "stateset",
                "",
            ),
            (
                "pg_attest_sealer",
                json!({"pg_attest_sealer": "running"}),
                0,
                "stateset",
                "",
            ),
            (
                "pg_attest_info",
                json!({"version": env!("CARGO_PKG_VERSION")}),
                1,
                "info",
                "",
            ),
        ] {
            let sample = of(name, labels)?;
            ensure!(
                sample[2].as_f64() == Some(f64::from(value))
                    && sample[3] == kind
                    && sample[4] == unit,
                "{name}: {sample}"
            );
        }
        let bytes = of("pg_attest_log_bytes", json!({"part": "events"}))?;
        ensure!(
            bytes[2].as_f64() > Some(8192.0) && bytes[4] == "bytes",
            "{bytes}"
        );
        Ok(())
    });
}

#[test]
fn postgres_exporter_runs_the_queries() {
    if left_out("prometheus") {
        return;
    }
    shared(|db| {
        let mut client = db.connect()?;
        let reader = db.role("exporter")?;
        client.run(&format!("SELECT audit.grant_access('{reader}', 'reader')"))?;
        client.run("CREATE TABLE \"Zoë's \"\"t\"\"\" (id int PRIMARY KEY); SELECT audit.attach('\"Zoë''s \"\"t\"\"\"')")?;
        client.run("INSERT INTO \"Zoë's \"\"t\"\"\" VALUES (1), (2)")?;
        client.run("SELECT audit.seal()")?;
        client
            .run("SELECT audit.log_request('/', 'GET', 500, n) FROM generate_series(1, 100) n")?;
        let dir = scratch::new_dir()?;
        let queries = dir.join("queries.yaml");
        let shipped =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/prometheus/queries.yaml");
        std::fs::copy(&shipped, &queries).with_context(|| shipped.display().to_string())?;
        scratch::give(&queries)?;
        let port = free_port()?;
        let exporter = program(
            "PG_ATTEST_EXPORTER",
            "/usr/bin/prometheus-postgres-exporter",
        );
        let mut command = environment().command(&exporter, &dir);
        command
            .env(
                "DATA_SOURCE_NAME",
                format!(
                    "user={reader} host={} port={PORT} dbname={} sslmode=disable",
                    db.cluster().dir().display(),
                    db.name()
                ),
            )
            .arg("--extend.query-path")
            .arg(&queries)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--disable-default-metrics", "--disable-settings-metrics"]);
        let _server = Server::start(&mut command, &dir)?;
        let text = wait_until("postgres_exporter", || {
            Ok(get(&format!("http://127.0.0.1:{port}/metrics"))
                .ok()
                .filter(|text| text.contains("pg_up 1")))
        })
        .with_context(|| std::fs::read_to_string(dir.join("log")).unwrap_or_default())?;
        // The exporter adds a label of its own, in between.
        let sample = |name: &str, labels: &[&str]| {
            let is = |line: &&str| {
                line.starts_with(name) && labels.iter().all(|label| line.contains(label))
            };
            let line = text.lines().find(is);
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .with_context(|| format!("no {name} {labels:?} in\n{text}"))
        };
        let table = [
            "metric=\"events\"",
            "operation=\"insert\"",
            "schema=\"public\"",
            "table=\"Zoë's \\\"t\\\"\"",
        ];
        for (name, labels, value) in [
            ("pg_attest_tables_attached", &[][..], 1.0),
            ("pg_attest_tables_broken", &[], 0.0),
            ("pg_attest_seal_unsealed_events", &[], 100.0),
            ("pg_attest_seal_events_total", &[], 3.0),
            ("pg_attest_recent_count", &table, 2.0),
            ("pg_attest_recent_count", &["metric=\"requests\""], 100.0),
            ("pg_attest_recent_errors", &["metric=\"requests\""], 100.0),
            ("pg_attest_recent_p95_ms", &["metric=\"requests\""], 95.05),
        ] {
            let found = sample(name, labels)?;
            ensure!(
                (found - value).abs() < 1e-9,
                "{name} is {found}, not {value}:\n{text}"
            );
        }
        let failed = sample("pg_exporter_user_queries_load_error", &[])?
            + sample("pg_exporter_last_scrape_error", &[])?;
        ensure!(failed == 0.0, "a query failed:\n{text}");
        Ok(())
    });
}
