//! Mermaid itself draws what `audit.lineage_graph` says: a box for each request, process and table, with its name as it is.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use live_tests::sql::literal;
use live_tests::{Sql, scratch, shared};
use serde_json::json;

use crate::browser::Browser;
use crate::process::left_out;

/// Of the request, and of its processes: words, arrows, comments, entities, tags and Markdown of Mermaid.
const REQUEST: &str = "req \"`] %%{init}%% <b>";
const NAMES: [&str; 10] = [
    "end",
    "a --> b",
    "`md` **x** _y_",
    "&amp; #quot; #35; ]",
    "日本 \\n",
    "<img src=x onerror=alert(1)>",
    "1. intake",
    "- item",
    "# title",
    "https://example.com/x_y_z",
];
const TABLE: &str = "quo\"te & [odd] --> x";

/// A page with the library and nothing else.
fn open() -> Result<Browser> {
    let library = std::env::var("PG_ATTEST_MERMAID").context("PG_ATTEST_MERMAID is not set")?;
    let folder = scratch::new_dir()?;
    std::fs::copy(Path::new(&library), folder.join("mermaid.js"))?;
    let page = folder.join("page.html");
    std::fs::write(
        &page,
        "<!DOCTYPE html><meta charset=utf-8><script src=mermaid.js></script><div id=place></div>",
    )?;
    scratch::give(&folder.join("mermaid.js"))?;
    scratch::give(&page)?;
    let mut browser = Browser::start()?;
    browser.open(&page)?;
    Ok(browser)
}

#[test]
fn mermaid_draws_what_a_graph_says() {
    if left_out("chromium") {
        return;
    }
    shared(|db| {
        let mut client = db.connect()?;
        let table = format!("\"{}\"", TABLE.replace('"', "\"\""));
        client.run(&format!("CREATE TABLE {table} (id int PRIMARY KEY)"))?;
        client.run(&format!("SELECT audit.attach({})", literal(&table)))?;
        for (place, name) in NAMES.iter().enumerate() {
            client.run(&format!(
                "BEGIN; SELECT audit.begin_process({}, {}, ''); INSERT INTO {table} VALUES ({place}); COMMIT",
                literal(name),
                literal(REQUEST)
            ))?;
        }
        let graph = client.one(&format!("SELECT audit.lineage_graph({})", literal(REQUEST)))?;
        let mut expected = vec![
            format!("request {REQUEST}|20 events"),
            format!("public.{TABLE}"),
        ];
        expected
            .extend(NAMES.map(|name| format!("{}|postgres, running", name.replace("\\n", "＼n"))));
        expected.sort();
        let mut browser = open()?;
        let drawn = browser.evaluate(&format!(
            "(async () => {{
                mermaid.initialize({{startOnLoad: false}});
                const {{svg}} = await mermaid.render('graph', {});
                const place = document.querySelector('#place');
                place.innerHTML = svg;
                place.querySelectorAll('br').forEach(line => line.replaceWith('|'));
                const texts = kind => [...place.querySelectorAll(kind)].map(node => node.textContent.trim());
                return [texts('.node').sort(), texts('.edgeLabel .edgeLabel').filter(text => text != '').sort(), place.querySelectorAll('.edgePaths path').length,
                        place.querySelectorAll('img, script, b').length];
            }})()",
            json!(graph)
        ))?;
        let arrows = vec!["1 insert"; NAMES.len()];
        ensure!(
            drawn == json!([expected, arrows, 2 * NAMES.len(), 0]),
            "Mermaid draws {drawn:#} of\n{graph}"
        );
        Ok(())
    });
}
