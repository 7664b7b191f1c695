//! The story that `cargo xtask demo` tells: its SQL gives the graph and the blame that it shows.

use anyhow::ensure;
use live_tests::{Sql, scratch, shared};

use super::docs::{psql, root};

/// What a drug request holds in the end, and who set it in which process.
const BLAME: [&str; 7] = [
    "id|1|dr.weber|intake-1",
    "drug|Metformin|dr.weber|intake-1",
    "indication|type 2 diabetes|dr.weber|intake-1",
    "daily_dose|1000 mg|pharm.okafor|review-3",
    "status|approved|pharm.okafor|review-3",
    "approved_by|pharm.okafor|pharm.okafor|review-3",
    "approved_at|…|pharm.okafor|review-3",
];

/// The history's versions: who, through which processes, why.
const VERSIONS: [&str; 5] = [
    "dr.weber|REQ-2041\nintake|new request from ward 3",
    "dr.weber|REQ-2041\nintake|new request from ward 3",
    "research-service|REQ-2041\nintake › research|automatic literature search",
    "pharm.okafor|REQ-2041\nintake › research › review|eGFR 38 ml/min: dose halved (SmPC 4.2)",
    "pharm.okafor|REQ-2041\nintake › research › review|four-eyes check done",
];

/// The graph: the request's processes, the tables, who caused whom, who wrote what.
const GRAPH: &str = r#"flowchart TD
    r["request REQ-2041<br/>23 events"]
    p1["intake<br/>dr.weber, submitted"]
    p2["research<br/>research-service, done"]
    p3["sources<br/>research-service, done"]
    p4["review<br/>pharm.okafor, approved"]
    t1[("public.drug_requests")]
    t2[("public.category_results")]
    t3[("public.source_references")]
    r --> p1
    p1 --> p2
    p2 --> p3
    p2 --> p4
    p1 -->|"1 insert, 1 update"| t1
    p2 -->|"1 update"| t1
    p2 -->|"3 inserts"| t2
    p3 -->|"4 inserts"| t3
    p4 -->|"2 updates"| t1
    p4 -->|"1 delete"| t2
    p4 -->|"2 deletes"| t3"#;

#[test]
fn its_story_has_the_graph_and_the_blame_that_it_shows() {
    shared(|db| {
        let demo = root().join("xtask/src/demo");
        // Where the server's user can read it.
        let story = scratch::new_dir()?.join("story.sql");
        std::fs::copy(demo.join("story.sql"), &story)?;
        psql(db, &story, &["--quiet", "--set=ON_ERROR_STOP=1"])?;
        let mut client = db.connect()?;
        let graph = client.one("SELECT audit.lineage_graph('REQ-2041')")?;
        ensure!(graph == GRAPH, "{graph}");
        let ask = |file: &str| std::fs::read_to_string(demo.join(file));
        let blame = client.rows(&ask("blame.sql")?)?;
        let blame: Vec<String> = blame
            .into_iter()
            .map(|row| {
                let cells: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
                let value = if cells[0] == "approved_at" {
                    "…"
                } else {
                    &cells[1]
                };
                format!("{}|{value}|{}|{}", cells[0], cells[2], cells[3])
            })
            .collect();
        ensure!(blame == BLAME, "{blame:#?}");
        let versions = client.rows(&ask("history.sql")?)?;
        let versions: Vec<String> = versions
            .into_iter()
            .map(|row| {
                let cells: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
                cells[1..4].join("|")
            })
            .collect();
        ensure!(versions == VERSIONS, "{versions:#?}");
        Ok(())
    });
}
