//! The SQL of the README and of the pages under `docs/` gives the output that they show.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use live_tests::database::{Database, shared_cluster};

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
    let dir = database.cluster().dir();
    let (script_file, output_file) = (
        dir.join(format!("{}.sql", database.name())),
        dir.join(format!("{}.out", database.name())),
    );
    std::fs::write(&script_file, script)?;
    // One file for both streams keeps messages in their place.
    let file = std::fs::File::create(&output_file)?;
    let status = database
        .cluster()
        .tool("psql")
        .args(["-X", "-q", "-d", database.name(), "-f"])
        .arg(&script_file)
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    ensure!(status.success(), "psql failed with {status}");
    let output = std::fs::read_to_string(&output_file)?;
    // psql names the script and the line before each message.
    let prefix = format!("psql:{}:", script_file.display());
    let lines = output.lines().map(|line| {
        line.strip_prefix(&prefix)
            .and_then(|rest| rest.split_once(": "))
            .map_or(line, |(_, message)| message)
    });
    let text = lines.fold(String::new(), |text, line| text + line + "\n");
    Ok(text
        .split(&format!("{MARK}\n"))
        .map(ToOwned::to_owned)
        .collect())
}

/// Runs a page's examples in a new database and compares with what the page shows.
fn page_shows_what_its_sql_gives(name: &str, at_least: usize) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    let page = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let examples = examples(&page);
    ensure!(
        examples.len() >= at_least,
        "{name} has lost its examples: {} found",
        examples.len()
    );
    let database = Database::empty(shared_cluster()?)?;
    let output = output_of(&database, &examples)?;
    for ((sql, shown), got) in examples.iter().zip(&output) {
        ensure!(
            shown == got,
            "{sql}\n{name} shows:\n{shown}\npsql printed:\n{got}"
        );
    }
    Ok(())
}

#[test]
fn readme_shows_what_its_sql_gives() -> Result<()> {
    page_shows_what_its_sql_gives("README.md", 4)
}

#[test]
fn history_page_shows_what_its_sql_gives() -> Result<()> {
    page_shows_what_its_sql_gives("docs/history.md", 10)
}
