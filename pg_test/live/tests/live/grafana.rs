//! Every query of the Grafana dashboard runs, as the role that it is made for, and has something to show.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, shared};
use postgres::Client;
use serde_json::Value as Json;

/// A query of a panel.
pub struct Query {
    pub title: String,
    /// With what Grafana's PostgreSQL data source makes of its macros, minutes as intervals.
    pub sql: String,
    is_series: bool,
}

/// All queries of the dashboard, for a period.
pub fn queries(from: &str, to: &str) -> Result<Vec<Query>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/grafana/pg_attest.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let dashboard: Json = serde_json::from_str(&text)?;
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let title = panel["title"].as_str().context("a panel without title")?;
        for target in panel["targets"].as_array().context("no targets")? {
            let sql = target["rawSql"].as_str().context("no SQL")?;
            let sql = sql
                .replace("$__timeFrom()", &format!("'{from}'"))
                .replace("$__timeTo()", &format!("'{to}'"))
                .replace("$__interval", "1m");
            ensure!(
                !sql.contains('$'),
                "{title}: a macro that the test does not know: {sql}"
            );
            queries.push(Query {
                title: title.to_owned(),
                sql,
                is_series: target["format"] == "time_series",
            });
        }
    }
    ensure!(queries.len() >= 15, "only {} queries", queries.len());
    Ok(queries)
}

/// Events of every kind that a panel shows.
fn fill(client: &mut Client) -> Result<()> {
    client.run("CREATE TABLE dose (id int PRIMARY KEY, mg int); SELECT audit.attach('dose')")?;
    client.run("INSERT INTO dose SELECT n, n FROM generate_series(1, 10) n")?;
    client
        .run("SELECT audit.log_request('/doses', 'GET', 200, n) FROM generate_series(1, 100) n")?;
    client.run(
        "SELECT audit.log_request('/predict', 'POST', 503, 900, provider => 'chem.example')",
    )?;
    client.run("SELECT audit.seal()")?;
    client.run("ALTER TABLE dose DISABLE TRIGGER audit_update")
}

#[test]
fn every_query_of_the_dashboard_shows_something() {
    shared(|db| {
        let mut admin = db.connect()?;
        fill(&mut admin)?;
        let reader = db.role("grafana")?;
        admin.run(&format!("SELECT audit.grant_access('{reader}', 'reader')"))?;
        let bounds = admin.rows(
            "SELECT to_char((now() + t) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')
             FROM unnest('{-1 hour,1 minute}'::interval[]) WITH ORDINALITY AS u (t, n) ORDER BY n",
        )?;
        let [from, to] = [0, 1].map(|row| bounds[row][0].clone().unwrap_or_default());
        let mut client = db.connect_as(&reader)?;
        for Query {
            title,
            sql,
            is_series,
        } in queries(&from, &to)?
        {
            let rows = client
                .query(&sql, &[])
                .with_context(|| format!("{title}: {sql}"))?;
            let first = rows
                .first()
                .with_context(|| format!("{title} shows nothing: {sql}"))?;
            if is_series {
                let time = &first.columns()[0];
                ensure!(
                    time.name() == "time" && time.type_().name() == "timestamptz",
                    "{title}: its first column is {time:?}"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn a_panel_adds_up_to_the_log() {
    shared(|db| {
        let mut client = db.connect()?;
        fill(&mut client)?;
        let queries = queries("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z")?;
        let panel = queries
            .iter()
            .find(|query| query.title == "Events by operation");
        let sql = &panel.context("no such panel")?.sql;
        let shown = client.table(&format!(
            "SELECT metric, sum(value) FROM ({sql}) AS shown GROUP BY 1 ORDER BY 1"
        ))?;
        let logged = client.table(
            "SELECT operation::text, count(*) FROM audit.audit_events GROUP BY 1 ORDER BY 1",
        )?;
        ensure!(
            shown == logged,
            "the panel shows {shown:?}, the log has {logged:?}"
        );
        Ok(())
    });
}
