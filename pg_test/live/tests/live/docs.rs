//! The SQL of the pages gives the output that they show.

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
    let name = database.name();
    let (script_file, output_file) = (
        dir.join(format!("{name}.sql")),
        dir.join(format!("{name}.out")),
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

/// Runs a page's examples, of which there are so many at least, and compares.
fn check(database: &Database, page: &str, least: usize) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(page);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let examples = examples(&text);
    ensure!(
        examples.len() >= least,
        "{page} has lost its examples: {} found",
        examples.len()
    );
    let output = output_of(database, &examples)?;
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
    check(&Database::empty(shared_cluster()?)?, "README.md", 4)
}

#[test]
fn the_page_on_retention_shows_what_its_sql_gives() -> Result<()> {
    check(&Database::new(shared_cluster()?)?, "docs/retention.md", 5)
}
