//! What erasure leaves in files: nothing, after VACUUM and `audit.wipe_free_space`; neither here nor on a standby.

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, own_cluster, wait_until};
use postgres::Client;

/// In keys, in values, in values that are toasted.
const NEEDLES: [&str; 3] = [
    "key-of-nobody-else",
    "value-of-nobody-else",
    "long-of-nobody-else",
];
const PLACES: [&str; 3] = ["first", "middle", "last"];

/// An attached table of whose rows one stands first on its page of the log, one last, one in the middle; they are changed so often that
/// pages of the log have nothing else, and their values are so long that they are toasted, with others behind them. Sealed.
fn with_needles(client: &mut Client) -> Result<()> {
    client.run("CREATE TABLE p (id text PRIMARY KEY, v text, w text); SELECT audit.attach('p')")?;
    let long =
        "string_agg(encode(sha256(g::text::bytea), 'hex'), '') FROM generate_series(1, 300) g";
    for place in PLACES {
        client.run(&format!(
            "INSERT INTO p SELECT 'before {place} ' || g, 'other' FROM generate_series(1, 150) g WHERE '{place}' <> 'first'"
        ))?;
        client.run(&format!(
            "INSERT INTO p SELECT 'key-of-nobody-else {place}', 'value-of-nobody-else', 'long-of-nobody-else' || {long};
             INSERT INTO p SELECT 'long {place}', 'other', 'other' || {long}"
        ))?;
        client.run(&format!(
            "INSERT INTO p SELECT 'behind {place} ' || g, 'other' FROM generate_series(1, 150) g WHERE '{place}' <> 'last'"
        ))?;
    }
    client.run(
        "DO $$ BEGIN FOR n IN 1..30 LOOP UPDATE p SET v = 'value-of-nobody-else ' || n WHERE id LIKE 'key-of-nobody-else %'; END LOOP; END $$;
         UPDATE p SET v = 'another' WHERE id LIKE 'long %'",
    )?;
    client.run("SELECT audit.seal()")
}

/// Erases these rows, and does what docs/retention.md says to get them out of the files.
fn erase_to_the_end(client: &mut Client) -> Result<()> {
    for place in PLACES {
        client.run(&format!(
            "SELECT audit.erase('p', 'key-of-nobody-else {place}', 'article 17')"
        ))?;
    }
    let month = client
        .one("SELECT DISTINCT tableoid::regclass FROM audit.audit_events WHERE table_name = 'p'")?;
    client.run(&format!("VACUUM {month}"))?;
    for needle in NEEDLES {
        ensure!(
            !files_with(client, needle)?.is_empty(),
            "VACUUM alone took {needle} away: there is nothing to wipe"
        );
    }
    client.run(&format!("SELECT audit.wipe_free_space('{month}')"))
}

/// Where a partition's bytes are looked for: its files, those of its indexes and of its TOAST table.
fn files_with(client: &mut Client, needle: &str) -> Result<Vec<String>> {
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
        let path = std::path::Path::new(&data).join(file);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
        {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

#[test]
fn erased_bytes_are_gone_from_the_files_after_vacuum_and_wipe() {
    own_cluster(&[("autovacuum", "off")], |db| {
        let mut client = db.connect()?;
        with_needles(&mut client)?;
        for needle in NEEDLES {
            ensure!(
                !files_with(&mut client, needle)?.is_empty(),
                "{needle} is nowhere"
            );
        }
        erase_to_the_end(&mut client)?;
        for needle in NEEDLES {
            let found = files_with(&mut client, needle)?;
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

/// Has the standby replay all that the primary wrote, up to a checkpoint, so that its files can have it.
fn follow(client: &mut Client, replica: &mut Client) -> Result<()> {
    client.run("CHECKPOINT")?;
    let lsn = client.one("SELECT pg_current_wal_lsn()")?;
    wait_until("the standby to follow", || {
        let there = replica.one(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'"))?;
        Ok((there == "t").then_some(()))
    })
}

#[test]
fn erased_bytes_are_gone_from_a_standby_that_has_replayed_it() {
    let settings = [("autovacuum", "off"), ("wal_level", "replica")];
    own_cluster(&settings, |db| {
        let mut client = db.connect()?;
        let standby = db.cluster().standby()?;
        let mut replica = standby.connect(db.name(), "postgres")?;
        // By replay, not by the copy that it began with.
        with_needles(&mut client)?;
        follow(&mut client, &mut replica)?;
        for needle in NEEDLES {
            ensure!(
                !files_with(&mut replica, needle)?.is_empty(),
                "{needle} is nowhere"
            );
        }
        erase_to_the_end(&mut client)?;
        client.run("SELECT audit.seal()")?;
        follow(&mut client, &mut replica)?;
        for (place, session) in [("primary", &mut client), ("standby", &mut replica)] {
            for needle in NEEDLES {
                let found = files_with(session, needle)?;
                ensure!(
                    found.is_empty(),
                    "{needle} is still in {found:?} of the {place}"
                );
            }
        }
        let wrong = replica
            .table("SELECT check_name, event_id, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "verification found {wrong:?}");
        Ok(())
    });
}
