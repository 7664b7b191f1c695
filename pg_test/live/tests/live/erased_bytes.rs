//! What erasure leaves in files: nothing, after VACUUM and `audit.wipe_free_space`.

use anyhow::{Context, Result, ensure};
use live_tests::database::Database;
use live_tests::{Sql, own_cluster};
use postgres::Client;

/// Where a partition's bytes are looked for: its files, those of its indexes and of its TOAST table.
fn files_with(db: &Database, client: &mut Client, needle: &str) -> Result<Vec<String>> {
    client.run("CHECKPOINT")?;
    let data = client.one("SHOW data_directory")?;
    let files = client.table(
        "SELECT pg_relation_filepath(r) || ' ' || r::regclass FROM (
             SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit.audit_events'::regclass
             UNION ALL SELECT indexrelid FROM pg_index JOIN pg_inherits ON inhrelid = indrelid WHERE inhparent = 'audit.audit_events'::regclass
             UNION ALL SELECT reltoastrelid FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid WHERE inhparent = 'audit.audit_events'::regclass) AS files (r)",
    )?;
    let mut found = Vec::new();
    for line in files {
        let (file, name) = line.split_once(' ').context("a file and its name")?;
        let bytes = std::fs::read(std::path::Path::new(&data).join(file))
            .with_context(|| format!("cannot read {file} of {}", db.name()))?;
        if bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
        {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// The erased row is the first, the last or in the middle of its page; its values are so long that they are toasted.
#[test]
fn erased_bytes_are_gone_from_the_files_after_vacuum_and_wipe() {
    own_cluster(&[("autovacuum", "off")], |db| {
        let mut client = db.connect()?;
        client.run(
            "CREATE TABLE p (id text PRIMARY KEY, v text, w text); SELECT audit.attach('p')",
        )?;
        let needles = [
            "key-of-nobody-else",
            "value-of-nobody-else",
            "long-of-nobody-else",
        ];
        for place in ["first", "middle", "last"] {
            client.run(&format!(
                "INSERT INTO p SELECT 'before {place} ' || g, 'other' FROM generate_series(1, 150) g WHERE '{place}' <> 'first'"
            ))?;
            client.run(&format!(
                "INSERT INTO p SELECT 'key-of-nobody-else {place}', 'value-of-nobody-else', 'long-of-nobody-else' || string_agg(encode(sha256(g::text::bytea), 'hex'), '') FROM generate_series(1, 300) g"
            ))?;
            client.run(&format!(
                "INSERT INTO p SELECT 'behind {place} ' || g, 'other' FROM generate_series(1, 150) g WHERE '{place}' <> 'last'"
            ))?;
        }
        client.run("SELECT audit.seal()")?;
        for needle in needles {
            ensure!(
                !files_with(db, &mut client, needle)?.is_empty(),
                "{needle} is nowhere"
            );
        }
        for place in ["first", "middle", "last"] {
            client.run(&format!(
                "SELECT audit.erase('p', 'key-of-nobody-else {place}', 'article 17')"
            ))?;
        }
        let month = client.one(
            "SELECT DISTINCT tableoid::regclass FROM audit.audit_events WHERE table_name = 'p'",
        )?;
        client.run(&format!("VACUUM {month}"))?;
        ensure!(
            client.number(&format!("SELECT audit.wipe_free_space('{month}')"))? > 0,
            "no page had anything left"
        );
        for needle in needles {
            let found = files_with(db, &mut client, needle)?;
            ensure!(found.is_empty(), "{needle} is still in {found:?}");
        }
        // What is not free is what it was.
        let wrong = client.table("SELECT check_name, event_id, detail FROM audit.verify() WHERE NOT ok AND check_name <> 'last good checkpoint' AND event_id IS NOT NULL")?;
        ensure!(wrong.is_empty(), "verification found {wrong:?}");
        let again = client.number("SELECT audit.wipe_free_space()")?;
        ensure!(again == 0, "{again} pages were written again");
        Ok(())
    });
}
