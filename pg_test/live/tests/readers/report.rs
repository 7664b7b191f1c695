//! The page of `attest report` in a real browser: what it shows is what is in the log, it loads nothing, runs nothing, and prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use live_tests::cluster::{PORT, SUPERUSER};
use live_tests::database::Database;
use live_tests::env::{attest, run};
use live_tests::sql::literal;
use live_tests::{Sql, scratch, shared};
use postgres::Client;
use serde_json::{Value as Json, json};

use crate::browser::Browser;
use crate::process::left_out;

/// Names and values that would do harm in a page that did not escape them.
const HOSTILE: [&str; 6] = [
    "<script>document.title = 'taken'; fetch('http://127.0.0.1:9/x')</script>",
    "\"><img src=http://127.0.0.1:9/x onerror=\"document.title='taken'\">",
    "</style><style>body { display: none }</style>",
    "<!-- ' & &lt; &amp; {{ 7 * 7 }}",
    "javascript:alert(1)",
    "Zoë\u{202e}\u{0007} 语\n<b>",
];

/// Runs `attest report` of the last 45 days, and demands this exit status.
pub fn report(db: &Database, status: i32, arguments: &[&str]) -> Result<Output> {
    let days = db
        .connect()?
        .rows("SELECT (now() AT TIME ZONE 'UTC')::date - 44, (now() AT TIME ZONE 'UTC')::date")?;
    let [from, to] = [0, 1].map(|column| days[0][column].clone().unwrap_or_default());
    let output = Command::new(attest()?)
        .args(["report", "--db", &format!("postgresql:///{}", db.name())])
        .args(["--from", &from, "--to", &to])
        .args(arguments)
        .env("PGHOST", db.cluster().dir())
        .env("PGPORT", PORT.to_string())
        .env("PGUSER", SUPERUSER)
        .output()?;
    ensure!(
        output.status.code() == Some(status),
        "exit status is not {status}: {output:?}"
    );
    // The page is its maker's alone; the browser runs as the server's user.
    if status < 2 {
        scratch::give(Path::new(arguments.last().context("no page")?))?;
    }
    Ok(output)
}

fn page(folder: &Path) -> Result<(PathBuf, String)> {
    let path = folder.join("report.html");
    let text = path.to_str().context("not UTF-8")?.to_owned();
    Ok((path, text))
}

/// What a page must not do: speak on the console, fail, ask for anything but itself.
fn check_quiet(events: &[Json], file: &Path) -> Result<()> {
    let own = format!("file://{}", file.display());
    for event in events {
        let method = event["method"].as_str().unwrap_or_default();
        ensure!(
            ![
                "Runtime.consoleAPICalled",
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Page.javascriptDialogOpening"
            ]
            .contains(&method),
            "the page says {event}"
        );
        if method == "Network.requestWillBeSent" {
            ensure!(
                event["params"]["request"]["url"] == own.as_str(),
                "the page asks for {}",
                event["params"]["request"]["url"]
            );
        }
    }
    let asked = events
        .iter()
        .filter(|event| event["method"] == "Network.requestWillBeSent");
    ensure!(asked.count() == 1, "the browser's requests were not seen");
    Ok(())
}

/// Tables, users and reasons with hostile names, and a review.
fn fill(client: &mut Client) -> Result<()> {
    for (place, name) in HOSTILE.iter().enumerate() {
        let table: String = name.chars().take(30).collect();
        let table = format!("\"{}\"", table.replace('"', "\"\""));
        client.run(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, v text)"
        ))?;
        client.run(&format!(
            "SELECT audit.attach({}::regclass)",
            literal(&table)
        ))?;
        let reason = literal(if place == 0 { "" } else { name });
        let name = literal(name);
        for change in [
            format!(
                "INSERT INTO {table} SELECT n, {name} FROM generate_series(1, {}) n",
                10 + place
            ),
            format!("UPDATE {table} SET v = 'x' WHERE id = 1"),
            format!("DELETE FROM {table} WHERE id = 2"),
        ] {
            client.run(&format!(
                "BEGIN; SELECT audit.set_context(app_user_id => {name}, reason => {reason}); {change}; COMMIT"
            ))?;
        }
    }
    client.run(&format!(
        "SELECT audit.sign_off(now() - interval '30 days', now(), 'approved', reviewer => 'rita', remarks => {})",
        literal(HOSTILE[0])
    ))?;
    client.run("SELECT audit.seal()")
}

#[test]
fn a_browser_shows_what_is_in_the_log() {
    if left_out("chromium") {
        return;
    }
    shared(|db| {
        let folder = scratch::new_dir()?;
        let (path, out) = page(&folder)?;
        let mut client = db.connect()?;
        fill(&mut client)?;
        report(db, 0, &[&out])?;
        let mut browser = Browser::start()?;
        check_quiet(&browser.open(&path)?, &path)?;
        check_facts(&mut browser, &mut client)?;
        print(&mut browser, &folder)
    });
}

/// What the page shows is what SQL says.
fn check_facts(browser: &mut Browser, client: &mut Client) -> Result<()> {
    let is = |found: Json, wanted: Json, what: &str| {
        ensure!(
            found == wanted,
            "{what}: the page shows {found:#}, the log has {wanted:#}"
        );
        Ok(())
    };
    let title = browser.evaluate("document.title.slice(0, 16)")?;
    is(title, json!("Audit report of "), "title")?;
    let active = "document.scripts.length + document.images.length + document.querySelectorAll('[onerror], a, td b').length";
    is(browser.evaluate(active)?, json!(0), "active content")?;
    let verdict = "document.querySelector('#verification').className + ': ' + document.querySelector('#verification h2').textContent";
    is(
        browser.evaluate(verdict)?,
        json!("good: Verified"),
        "verdict",
    )?;
    let users = client.table(
        "SELECT app_user_id, count(*) FROM audit.audit_events WHERE operation IN ('insert', 'update', 'delete')
         GROUP BY 1 ORDER BY 2 DESC, 1",
    )?;
    let shown = "[...document.querySelectorAll('#users tbody tr')].map(row => row.cells[0].textContent + '|' + row.cells[row.cells.length - 1].textContent)";
    is(browser.evaluate(shown)?, json!(users), "users")?;
    let first = |section: &str, cells: &str| {
        format!(
            "[...document.querySelector('#{section} tbody tr').cells].slice({cells}).map(cell => cell.textContent.replace(/(\\d),(?=\\d)/g, '$1')).join('|')"
        )
    };
    let table = client.table(
        "SELECT format('%I.%I', schema_name, table_name), count(*) FILTER (WHERE operation = 'insert'), count(*) FILTER (WHERE operation = 'update'),
                count(*) FILTER (WHERE operation = 'delete'), 0, count(*)
         FROM audit.audit_events WHERE operation IN ('insert', 'update', 'delete') GROUP BY 1 ORDER BY 6 DESC, 1 LIMIT 1",
    )?;
    is(
        browser.evaluate(&first("tables", "0"))?,
        json!(table[0]),
        "the first table",
    )?;
    is(
        browser.evaluate(&first("reviews", "1, 3"))?,
        json!("rita|approved"),
        "reviewer and outcome",
    )?;
    is(
        browser.evaluate(&first("reviews", "4"))?,
        json!(format!("all|{}|{}", HOSTILE[0], client.number("SELECT count(*) FROM audit.audit_events WHERE operation IN ('insert', 'update', 'delete', 'truncate', 'ddl')")?)),
        "what was reviewed",
    )?;
    for (section, sql) in [
        (
            "tables",
            "SELECT count(DISTINCT table_oid) FROM audit.audit_events WHERE operation = 'insert'",
        ),
        (
            "days",
            "SELECT count(DISTINCT occurred_at::date) FROM audit.audit_events WHERE operation = 'insert'",
        ),
        (
            "privileged",
            "SELECT count(DISTINCT table_oid) FROM audit.audit_events WHERE operation = 'insert'",
        ),
        (
            "reasons",
            "SELECT count(DISTINCT table_oid) FROM audit.audit_events WHERE operation = 'insert' AND coalesce(reason, '') = ''",
        ),
        (
            "ddl",
            "SELECT count(*) FROM audit.audit_events WHERE operation IN ('ddl', 'system') AND action IS NOT NULL",
        ),
        ("reviews", "SELECT 1"),
        (
            "access",
            "SELECT count(*) FROM audit.report_access_health()",
        ),
        ("health", "SELECT count(*) FROM audit.status()"),
    ] {
        let rows = browser.evaluate(&format!(
            "document.querySelectorAll('#{section} tbody tr').length"
        ))?;
        is(rows, json!(client.number(sql)?), section)?;
    }
    let events = browser
        .evaluate("Number(document.querySelector('.fact b').textContent.replace(/,/g, ''))")?;
    is(
        events,
        json!(client.number("SELECT count(*) FROM audit.audit_events")?),
        "events",
    )?;
    // A bar for each stretch of time with events, its parts on top of each other.
    let bars = browser.evaluate("document.querySelectorAll('svg .bar').length")?;
    is(bars, json!(client.number("SELECT count(DISTINCT date_bin('1 day', occurred_at, '2001-01-01')) FROM audit.audit_events")?), "bars")?;
    let stacked = "[...document.querySelectorAll('svg .bar')].every(bar => {
        const parts = [...bar.querySelectorAll('rect')].map(part => part.getBBox());
        return parts.length > 0 && parts.every((part, i) => part.height > 0 && part.width > 0
            && (i == 0 || Math.abs(part.y + part.height - parts[i - 1].y) < 0.6)); })";
    is(browser.evaluate(stacked)?, json!(true), "stacked bars")?;
    let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    is(browser.evaluate(fits)?, json!(true), "fits the window")
}

/// As PDF: A4, a handful of pages, with text in it.
fn print(browser: &mut Browser, folder: &Path) -> Result<()> {
    let printed = browser.call(
        "Page.printToPDF",
        &json!({"preferCSSPageSize": true, "printBackground": true}),
    )?;
    let decoded = base64(folder, printed["data"].as_str().context("no PDF")?)?;
    let text = String::from_utf8_lossy(&decoded);
    ensure!(
        text.starts_with("%PDF-") && text.trim_end().ends_with("%%EOF"),
        "no PDF"
    );
    let pages = text.matches("/Type /Page\n").count() + text.matches("/Type /Page /").count();
    ensure!((2..=8).contains(&pages), "{pages} pages");
    let a4 =
        text.contains("/MediaBox [0 0 594.95996 841.91998]") || text.contains("/MediaBox [0 0 595");
    ensure!(
        a4,
        "the pages are not A4: {:?}",
        text.lines().find(|line| line.contains("MediaBox"))
    );
    ensure!(text.contains("/Font"), "the PDF has no text");
    Ok(())
}

#[test]
fn a_log_that_does_not_verify_is_told_first() {
    if left_out("chromium") {
        return;
    }
    shared(|db| {
        let folder = scratch::new_dir()?;
        let (path, out) = page(&folder)?;
        let mut client = db.connect()?;
        client.run("CREATE TABLE t (id int PRIMARY KEY, v text); SELECT audit.attach('t')")?;
        client.run("INSERT INTO t SELECT n, 'v' FROM generate_series(1, 5) n")?;
        client.run("SELECT audit.seal()")?;
        client.run("SET session_replication_role = replica; ALTER TABLE audit.audit_events DISABLE TRIGGER ALL")?;
        client.run("UPDATE audit.audit_events SET session_user_name = 'nobody' WHERE operation = 'insert' AND row_key = '3'")?;
        report(db, 1, &[&out])?;
        let mut browser = Browser::start()?;
        check_quiet(&browser.open(&path)?, &path)?;
        let verdict =
            browser.evaluate("document.querySelector('#verification.bad h2').textContent")?;
        ensure!(verdict == "Not verified", "{verdict}");
        let findings = browser.evaluate(
            "[...document.querySelectorAll('#findings li')].map(finding => finding.textContent)",
        )?;
        ensure!(
            findings[0]
                .as_str()
                .is_some_and(|finding| finding.starts_with("altered event"))
                && findings[1].is_null(),
            "{findings}"
        );
        Ok(())
    });
}

#[test]
fn a_page_is_written_whole_or_not_at_all() {
    shared(|db| {
        let folder = scratch::new_dir()?;
        let (path, out) = page(&folder)?;
        report(db, 0, &[&out])?;
        let first = std::fs::read(&path)?;
        ensure!(first.ends_with(b"</html>"), "the page has no end");
        let told = report(db, 2, &[&out])?;
        ensure!(
            String::from_utf8_lossy(&told.stderr).contains("is already there; --force replaces it"),
            "{told:?}"
        );
        ensure!(std::fs::read(&path)? == first, "the page was touched");
        report(db, 0, &["--force", &out])?;
        // A view in the place of a table that the page reads: what fails late leaves nothing behind.
        let mut client = db.connect()?;
        client.run("ALTER FUNCTION audit.status() RENAME TO gone")?;
        let before = std::fs::read(&path)?;
        report(db, 2, &["--force", &out])?;
        ensure!(
            std::fs::read(&path)? == before,
            "a failed report changed the page"
        );
        let left = std::fs::read_dir(&folder)?.count();
        ensure!(left == 1, "{left} files in the folder");
        report(
            db,
            2,
            &["--force", &format!("{}/nowhere/x.html", folder.display())],
        )?;
        Ok(())
    });
}

/// Bytes that the browser hands over as text.
pub fn base64(folder: &Path, text: &str) -> Result<Vec<u8>> {
    let file = folder.join("base64");
    std::fs::write(&file, text)?;
    let bytes = run(Command::new("base64").arg("-d").arg(&file))?.stdout;
    std::fs::remove_file(file)?;
    Ok(bytes)
}
