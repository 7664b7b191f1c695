//! The documentation's SQL gives the output that the documentation shows.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use live_tests::database::{Database, shared_cluster};
use live_tests::scratch;

/// The SQL blocks of a page that are followed by a block of output, with that output.
fn examples(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
        .windows(2)
        .filter(|pair| pair[0].0 == "sql" && pair[1].0 == "text")
        .map(|pair| (pair[0].1.clone(), pair[1].1.clone()))
        .collect()
}

/// Runs all examples in one psql session, which shows errors and notices in their place.
fn output_of(database: &Database, examples: &[(String, String)]) -> Result<Vec<String>> {
    const MARK: &str = "-- next example --";
    let mut script = String::new();
    for (sql, _) in examples {
        writeln!(script, "{sql}\\echo '{MARK}'")?;
    }
    let file = scratch::new_dir()?.join("page.sql");
    std::fs::write(&file, script)?;
    let text = psql(database, &file, &["-q"])?;
    Ok(text
        .split(&format!("{MARK}\n"))
        .map(ToOwned::to_owned)
        .collect())
}

/// What psql prints of a script, with errors and notices in their place.
pub fn psql(database: &Database, script: &Path, options: &[&str]) -> Result<String> {
    let output_file = scratch::new_dir()?.join("output");
    // One file for both streams keeps messages in their place.
    let file = std::fs::File::create(&output_file)?;
    let status = database
        .cluster()
        .tool("psql")
        .args(["-X", "-d", database.name()])
        .args(options)
        .arg("-f")
        .arg(script)
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    ensure!(status.success(), "psql failed with {status}");
    let output = std::fs::read_to_string(&output_file)?;
    // psql names the script and the line before each message.
    let prefix = format!("psql:{}:", script.display());
    let lines = output.lines().map(|line| {
        line.strip_prefix(&prefix)
            .and_then(|rest| rest.split_once(": "))
            .map_or(line, |(_, message)| message)
    });
    Ok(lines.fold(String::new(), |text, line| text + line + "\n"))
}

pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A page's SQL gives the output that the page shows.
fn shows_what_its_sql_gives(page: &str, least: usize) -> Result<()> {
    let path = root().join(page);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let examples = examples(&text);
    ensure!(
        examples.len() >= least,
        "{page} has lost its examples: {} found",
        examples.len()
    );
    // A page that does not begin with it takes it for granted.
    let begins = text.contains("CREATE EXTENSION pg_attest;");
    let cluster = shared_cluster()?;
    let database = if begins {
        Database::empty(cluster)?
    } else {
        Database::new(cluster)?
    };
    let output = output_of(&database, &examples)?;
    for ((sql, shown), got) in examples.iter().zip(&output) {
        ensure!(
            shown == got,
            "{sql}\n{page} shows:\n{shown}\npsql printed:\n{got}"
        );
    }
    Ok(())
}

#[test]
fn readme_shows_what_its_sql_gives() -> Result<()> {
    shows_what_its_sql_gives("README.md", 4)
}

#[test]
fn history_shows_what_its_sql_gives() -> Result<()> {
    shows_what_its_sql_gives("docs/history.md", 11)
}

#[test]
fn retention_shows_what_its_sql_gives() -> Result<()> {
    shows_what_its_sql_gives("docs/retention.md", 5)
}

#[test]
fn metrics_show_what_their_sql_gives() -> Result<()> {
    shows_what_its_sql_gives("docs/metrics.md", 3)
}

/// Each file of `docs/examples` prints what stands beside it; `PG_ATTEST_BLESS=1` takes what it prints now.
#[test]
fn examples_print_what_stands_beside_them() -> Result<()> {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("docs/examples"))? {
        let script = entry?.path();
        if script
            .extension()
            .is_none_or(|extension| extension != "sql")
        {
            continue;
        }
        seen += 1;
        let database = Database::new(shared_cluster()?)?;
        // Where the server's user can read it.
        let copy = scratch::new_dir()?.join("example.sql");
        std::fs::copy(&script, &copy)?;
        let printed = psql(&database, &copy, &["-a"])?;
        let beside = script.with_extension("out");
        if std::env::var("PG_ATTEST_BLESS").is_ok_and(|value| value == "1") {
            std::fs::write(&beside, &printed)?;
        }
        let shown = std::fs::read_to_string(&beside)
            .with_context(|| format!("cannot read {}", beside.display()))?;
        let differs = shown.lines().zip(printed.lines()).find(|(a, b)| a != b);
        ensure!(
            shown == printed,
            "{} printed something else, first {differs:?}:\n{printed}",
            script.display()
        );
    }
    ensure!(seen >= 5, "only {seen} examples");
    Ok(())
}

#[test]
fn activity_shows_what_its_sql_gives() -> Result<()> {
    shows_what_its_sql_gives("docs/activity.md", 8)
}

#[test]
fn reports_show_what_their_sql_gives() -> Result<()> {
    shows_what_its_sql_gives("docs/reports.md", 6)
}
