//! A real InfluxDB takes the lines over HTTP, and gives back what was in the log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use live_tests::env::environment;
use live_tests::sql::literal;
use live_tests::{Sql, scratch, shared, wait_until};
use postgres::Client;
use serde_json::Value as Json;

use crate::process::{Server, free_port, get, left_out, post, program};

/// An InfluxDB 1.x on the loopback interface, with an empty database `audit`.
struct Influx {
    url: String,
    dir: PathBuf,
    _server: Server,
}

impl Influx {
    fn start() -> Result<Self> {
        let dir = scratch::new_dir()?;
        let (http, rpc) = (free_port()?, free_port()?);
        std::fs::write(
            dir.join("conf"),
            format!(
                "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
                 [meta]\ndir = \"{dir}/meta\"\n[data]\ndir = \"{dir}/data\"\nwal-dir = \"{dir}/wal\"\n\
                 [http]\nbind-address = \"127.0.0.1:{http}\"\nlog-enabled = false\n\
                 [monitor]\nstore-enabled = false\n",
                dir = dir.display()
            ),
        )?;
        let influxd = program("PG_ATTEST_INFLUXD", "/usr/bin/influxd");
        let mut command = environment().command(&influxd, &dir);
        let server = Server::start(command.arg("-config").arg(dir.join("conf")), &dir)?;
        let influx = Self {
            url: format!("http://127.0.0.1:{http}"),
            dir,
            _server: server,
        };
        wait_until("InfluxDB", || Ok(get(&format!("{}/ping", influx.url)).ok()))
            .with_context(|| std::fs::read_to_string(influx.dir.join("log")).unwrap_or_default())?;
        post(
            &format!("{}/query?q=CREATE%20DATABASE%20audit", influx.url),
            "",
        )?;
        Ok(influx)
    }

    fn write(&self, lines: &[String]) -> Result<()> {
        let url = format!("{}/write?db=audit&precision=ns", self.url);
        post(&url, &lines.join("\n")).map(drop)
    }

    /// All points of a measurement: column by name, tags among them; the time in nanoseconds.
    fn points(&self, measurement: &str) -> Result<Vec<BTreeMap<String, Json>>> {
        let name = measurement
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let query = format!("SELECT * FROM \"{name}\"");
        let query = query
            .bytes()
            .fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
        let answer: Json = serde_json::from_str(&get(&format!(
            "{}/query?db=audit&epoch=ns&q={query}",
            self.url
        ))?)?;
        let Some(series) = answer["results"][0]["series"].as_array() else {
            ensure!(answer["results"][0]["error"].is_null(), "{answer}");
            return Ok(Vec::new());
        };
        let series = series.first().context("no series")?;
        let columns = series["columns"].as_array().context("no columns")?;
        let rows = series["values"].as_array().context("no rows")?;
        Ok(rows
            .iter()
            .filter_map(Json::as_array)
            .map(|row| {
                let named = columns
                    .iter()
                    .zip(row)
                    .filter(|(_, value)| !value.is_null());
                named
                    .map(|(name, value)| {
                        (name.as_str().unwrap_or_default().to_owned(), value.clone())
                    })
                    .collect()
            })
            .collect())
    }
}

/// What becomes of a name that the protocol cannot carry as it is.
const CARRIED: &str = r"CREATE FUNCTION pg_temp.carried(name text) RETURNS text LANGUAGE sql AS
    $$ SELECT regexp_replace(translate(name, E'\n\r\t', '␊␍␉'), '\\(?=[, =\\]|$)', '＼', 'g') $$";

fn lines(client: &mut Client, sql: &str) -> Result<Vec<String>> {
    Ok(client.rows(sql)?.into_iter().flatten().flatten().collect())
}

/// Names that somebody chose to break a parser with.
const HOSTILE: [&str; 14] = [
    "we\"ird, =table",
    "a\\,b\\ c\\=d",
    "\\\\",
    "ends in \\",
    "line\nend,x=1 1",
    "tab\tand\rreturn",
    "Zoë 🜁 语",
    "#no comment",
    "'; DROP DATABASE audit; --",
    "=",
    ",",
    "\"",
    "x field=1i 0\npoint,of=another value=1",
    "  spaces  ",
];

#[test]
fn influxdb_reads_back_the_metrics_of_the_log() {
    if left_out("influxdb") {
        return;
    }
    shared(|db| {
        let influx = Influx::start()?;
        let mut client = db.connect()?;
        for name in HOSTILE {
            let table = format!("\"{}\"", name.replace('"', "\"\""));
            client.run(&format!("CREATE TABLE {table} (id int PRIMARY KEY)"))?;
            client.run(&format!(
                "SELECT audit.attach({}::regclass)",
                literal(&table)
            ))?;
            client.run(&format!("INSERT INTO {table} VALUES (1), (2)"))?;
            client.run(&format!(
                "SELECT audit.log_request('/', 'POST', 200, 12.5, provider => {provider},
                     metadata => jsonb_build_object('usage', jsonb_build_object({provider}, 2.5)))",
                provider = literal(name)
            ))?;
        }
        client
            .run("SELECT audit.log_request('/', 'GET', 500, n) FROM generate_series(1, 100) n")?;
        client.run("SELECT audit.seal()")?;

        let written = lines(
            &mut client,
            "SELECT audit.metrics_line_protocol('-infinity', 'infinity', '1 second')",
        )?;
        influx.write(&written)?;
        // Again: the points are replaced, not doubled.
        influx.write(&written)?;

        client.run(CARRIED)?;
        let expected = client.table(
            "SELECT (extract(epoch FROM at) * 1000000000)::bigint, metric, tag, pg_temp.carried(field), value::float8
             FROM audit.metrics('1 second', '-infinity', 'infinity'),
                  LATERAL (SELECT jsonb_object_agg(key, pg_temp.carried(t.value)) AS tag
                           FROM jsonb_each_text(tags || jsonb_build_object('database', current_database())) t) t
             ORDER BY 1, 2, 3, 4",
        )?;
        let mut found = Vec::new();
        for metric in ["events", "requests", "api", "seal"] {
            for point in influx.points(&format!("pg_attest_{metric}"))? {
                let (tags, fields): (BTreeMap<_, _>, BTreeMap<_, _>) = point
                    .iter()
                    .filter(|(name, _)| *name != "time")
                    .partition(|(_, value)| value.is_string());
                for (field, value) in fields {
                    found.push(format!(
                        "({}, {}, {}, {}, {}::float8)",
                        point["time"],
                        literal(metric),
                        literal(&serde_json::to_string(&tags)?),
                        literal(field),
                        value
                    ));
                }
            }
        }
        ensure!(found.len() > 100, "only {} values came back", found.len());
        let found = client.table(&format!(
            "SELECT at, metric, tags::jsonb, field, value FROM (VALUES {}) v (at, metric, tags, field, value) ORDER BY 1, 2, 3, 4",
            found.join(",")
        ))?;
        for (found, expected) in found.iter().zip(&expected) {
            ensure!(
                found == expected,
                "InfluxDB has\n{found}\nthe log has\n{expected}"
            );
        }
        ensure!(
            found.len() == expected.len(),
            "InfluxDB has {} values, the log {}",
            found.len(),
            expected.len()
        );
        Ok(())
    });
}

#[test]
fn influxdb_reads_back_every_kind_of_field_and_name() {
    if left_out("influxdb") {
        return;
    }
    shared(|db| {
        let influx = Influx::start()?;
        let mut client = db.connect()?;
        for (place, name) in HOSTILE.iter().enumerate() {
            let name = literal(name);
            let sql = format!(
                "SELECT audit.line_protocol('m ' || {name}, jsonb_build_object({name}, {name}),
                     jsonb_build_object('i', {place}, 'f', {place} + 0.5, 'b', true, 's', {name}, 'field ' || {name}, 1),
                     '2026-01-31 12:00:00.123456+00')"
            );
            influx.write(&lines(&mut client, &sql)?)?;
        }
        client.run(CARRIED)?;
        for (place, name) in HOSTILE.iter().enumerate() {
            let plain = client.one(&format!("SELECT pg_temp.carried({})", literal(name)))?;
            let points = influx.points(&format!("m {plain}"))?;
            let [point] = points.as_slice() else {
                anyhow::bail!("{} points of {name:?}: {points:?}", points.len());
            };
            let wanted = serde_json::json!({
                "time": 1_769_860_800_123_456_000_i64, plain.clone(): plain, "i": place, "f": f64::from(u8::try_from(place)?) + 0.5, "b": true,
                "s": name, format!("field {plain}"): 1
            });
            ensure!(
                serde_json::to_value(point)? == wanted,
                "InfluxDB has {point:?}, not {wanted}"
            );
        }
        Ok(())
    });
}
