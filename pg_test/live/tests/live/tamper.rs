//! The tamper drill: what a superuser can do to a live database, and what verification calls it. `docs/security.md` has the table.
//!
//! Each attack is made in a transaction of its own, verified, and rolled back, so that all start from the same log.

use anyhow::{Context, Result, bail, ensure};
use live_tests::database::Database;
use live_tests::{Sql, shared};
use postgres::Client;

use crate::seal::each;

/// 1,303 events, sealed in six steps: five full tiles and an edge.
const STORY: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v text);
    SELECT audit.attach('t');
    INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g; SELECT audit.seal();
    UPDATE t SET v = 'w' WHERE id <= 200; SELECT audit.seal();
    DELETE FROM t WHERE id > 400; SELECT audit.seal();
    INSERT INTO t SELECT g, 'v' || g FROM generate_series(1001, 1500) g; SELECT audit.seal();
    UPDATE t SET v = 'last' WHERE id = 7; SELECT audit.seal();
    SET audit.app_user_id = 'mallory'; UPDATE t SET v = 'very last' WHERE id = 8; SELECT audit.seal();";

/// What lets SQL write to the log: no guard is left.
const DISARM: &str = "
    SET LOCAL session_replication_role = replica;
    ALTER TABLE audit.audit_events DISABLE TRIGGER ALL;
    ALTER TABLE audit.epochs DISABLE TRIGGER ALL; ALTER TABLE audit.checkpoints DISABLE TRIGGER ALL;
    ALTER TABLE audit.tiles DISABLE TRIGGER ALL; ALTER TABLE audit.tree_edge DISABLE TRIGGER ALL;
    ALTER TABLE audit.checkpoint_signatures DISABLE TRIGGER ALL;";

/// An attack: its name, its SQL ($E is an event's id, $P its partition), the finding, and whether the event is named.
struct Attack {
    name: &'static str,
    sql: &'static str,
    finding: &'static str,
    names_event: bool,
}

const fn on_event(name: &'static str, sql: &'static str, finding: &'static str) -> Attack {
    Attack {
        name,
        sql,
        finding,
        names_event: true,
    }
}

const fn on_tree(name: &'static str, sql: &'static str, finding: &'static str) -> Attack {
    Attack {
        name,
        sql,
        finding,
        names_event: false,
    }
}

const ATTACKS: &[Attack] = &[
    on_event("the new value is changed", "UPDATE $P SET new_values = '{\"id\": 7, \"v\": \"other\"}' WHERE event_id = $E", "altered event"),
    on_event("the old value is removed", "UPDATE $P SET old_values = NULL WHERE event_id = $E", "altered event"),
    on_event("the user's name is changed", "UPDATE $P SET session_user_name = 'alice' WHERE event_id = $E", "altered event"),
    on_event("the application's user is changed", "UPDATE $P SET app_user_id = 'alice' WHERE event_id = $E", "altered event"),
    on_event("the wall clock is changed", "UPDATE $P SET captured_at = captured_at - interval '1 hour' WHERE event_id = $E", "altered event"),
    on_event("the time is changed, into another month", "UPDATE audit.audit_events SET occurred_at = occurred_at - interval '2 years' WHERE event_id = $E", "altered event"),
    on_event("the transaction is changed", "UPDATE $P SET xact_id = '7' WHERE event_id = $E", "altered event"),
    on_event("the row is blamed on another table", "UPDATE $P SET table_name = 'u' WHERE event_id = $E", "altered event"),
    on_event("the salt is removed", "UPDATE $P SET salt = NULL WHERE event_id = $E", "altered event"),
    on_event("the event is passed off as erased", "UPDATE $P SET salt = NULL, row_key = NULL, old_values = NULL, new_values = NULL, payload_hash = sha256('') WHERE event_id = $E", "altered event"),
    on_event("a list of columns gets another shape", "UPDATE $P SET changed_columns = '[2:2]={v}' WHERE event_id = $E", "altered event"),
    on_event("the event is deleted", "DELETE FROM $P WHERE event_id = $E", "missing event"),
    on_event("two events change places",
        "CREATE TEMP TABLE two ON COMMIT DROP AS SELECT event_id FROM $P WHERE event_id <= $E ORDER BY 1 DESC LIMIT 2;
         UPDATE $P SET event_id = -event_id WHERE event_id IN (SELECT event_id FROM two);
         UPDATE $P p SET event_id = (SELECT event_id FROM two WHERE event_id <> -p.event_id) WHERE p.event_id < 0", "altered event"),
    on_event("an event is inserted into a past transaction",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": -77}')).* FROM $P e WHERE event_id = $E", "forged event"),
    on_event("an event is inserted with a transaction id to come",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": -77, \"xact_id\": \"99999999999\"}')).* FROM $P e WHERE event_id = $E", "forged event"),
on_event(
        "a second row has the event's id",
        "INSERT INTO audit.audit_events_default SELECT (jsonb_populate_record(e, '{\"occurred_at\": \"2001-02-03\"}')).* FROM $P e WHERE event_id = $E",
        "forged event",
    ),
    on_event("event and leaf are changed", "UPDATE $P SET reason = 'x' WHERE event_id = $E;
        UPDATE audit.tree_edge SET hashes = sha256('\\x00'::bytea || audit.event_leaf($E)) WHERE $E = ANY (event_ids)", "broken checkpoint"),
    on_tree("a leaf is changed in a full tile", "UPDATE audit.tiles SET hashes = overlay(hashes PLACING sha256('') FROM 65) WHERE level = 0 AND tile_index = 1", "altered tile"),
    on_tree("a tile and its root are changed", "UPDATE audit.tiles SET root = sha256('') WHERE level = 0 AND tile_index = 1", "altered tile"),
    on_tree("events change places in a tile", "UPDATE audit.tiles SET event_ids = ARRAY[event_ids[2], event_ids[1]] || event_ids[3:256] WHERE level = 0 AND tile_index = 1", "altered event"),
    on_tree("a tile is deleted", "DELETE FROM audit.tiles WHERE level = 0 AND tile_index = 1", "altered tile"),
    on_tree("the range of a tile is narrowed", "UPDATE audit.tiles SET min_event_id = max_event_id WHERE level = 0 AND tile_index = 1", "altered tile"),
    on_tree("the tree's edge is deleted", "DELETE FROM audit.tree_edge", "altered tile"),
    on_tree("a checkpoint's root is changed", "UPDATE audit.checkpoints SET root = sha256('') WHERE tree_size = 701", "broken checkpoint"),
    on_tree("a checkpoint's time is changed", "UPDATE audit.checkpoints SET sealed_at = sealed_at - interval '1 day' WHERE tree_size = 701", "broken checkpoint"),
    on_tree("a checkpoint is deleted", "DELETE FROM audit.checkpoints WHERE tree_size = 701", "broken checkpoint"),
    on_tree("the last checkpoint is deleted", "DELETE FROM audit.checkpoints WHERE tree_size = (SELECT max(tree_size) FROM audit.checkpoints)", "broken checkpoint"),
    on_tree("the origin is changed", "UPDATE audit.epochs SET origin = 'elsewhere'", "broken checkpoint"),
    on_tree("an epoch is deleted", "DELETE FROM audit.epochs", "broken checkpoint"),
    on_tree("a partition is detached", "ALTER TABLE audit.audit_events DETACH PARTITION $P", "missing event"),
    on_tree("all events are removed", "SET LOCAL audit.restore = on; TRUNCATE audit.audit_events", "missing event"),
    on_tree("a signature is broken", "SET LOCAL audit.trusted_keys = '$K';
        INSERT INTO audit.checkpoint_signatures SELECT 1, 701, E'\\u2014 PeterNeumann ' || replace(encode('\\xc74f20a3'::bytea || sha256('') || sha256(''), 'base64'), E'\\n', ''), now(), 'mallory'", "bad signature"),
];

/// A public key from the documentation of golang.org/x/mod/sumdb/note, id c74f20a3.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fn prepare(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    each(&mut client, STORY)?;
    let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
    ensure!(wrong.is_empty(), "before any attack: {wrong:?}");
    Ok(client)
}

/// The last event and the partition that holds it.
fn victim(client: &mut Client) -> Result<(String, String)> {
    let found = client.rows(
        "SELECT event_id, tableoid::regclass FROM audit.audit_events WHERE app_user_id = 'mallory'",
    )?;
    match found.as_slice() {
        [row] => Ok((
            row[0].clone().unwrap_or_default(),
            row[1].clone().unwrap_or_default(),
        )),
        _ => bail!("{} events of mallory", found.len()),
    }
}

fn attack(client: &mut Client, attack: &Attack, event: &str, partition: &str) -> Result<()> {
    let sql = attack
        .sql
        .replace("$E", event)
        .replace("$P", partition)
        .replace("$K", KEY);
    client.run("BEGIN")?;
    client.run(DISARM)?;
    client.run(&sql)?;
    let wanted = attack.finding;
    let event = match attack.names_event {
        true if sql.contains("-77") => "-77",
        true if wanted != "broken checkpoint" => event,
        _ => "",
    };
    for workers in [0, 2] {
        let found = client.table(&format!(
            "SELECT check_name, event_id, leaf_index, detail FROM audit.verify(workers => {workers}) WHERE NOT ok"
        ))?;
        let is_named = |line: &&String| line.starts_with(&format!("{wanted}|{event}"));
        ensure!(
            found.iter().any(|line| is_named(&line)),
            "no \"{wanted}\" of event {event:?} in {found:#?}"
        );
    }
    client.run("ROLLBACK")
}

#[test]
fn every_attack_is_found_and_named() {
    shared(|db| {
        let mut client = prepare(db)?;
        let (event, partition) = victim(&mut client)?;
        for one in ATTACKS {
            attack(&mut client, one, &event, &partition).with_context(|| one.name.to_owned())?;
        }
        let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "after all was rolled back: {wrong:?}");
        Ok(())
    });
}

/// Who rewrites everything consistently leaves nothing for the database to find: a checkpoint that somebody else kept does.
#[test]
fn a_consistent_rewrite_does_not_fit_a_checkpoint_kept_elsewhere() {
    shared(|db| {
        let mut client = prepare(db)?;
        let kept = client.one("SELECT audit.checkpoint_body()")?;
        let size = client.one("SELECT max(tree_size) FROM audit.checkpoints")?;
        let (event, partition) = victim(&mut client)?;
        client.run("BEGIN")?;
        client.run(DISARM)?;
        client.run(&format!(
            "UPDATE {partition} SET reason = 'x' WHERE event_id = {event}"
        ))?;
        // The whole log is made anew, as if nothing had ever been sealed.
        client.run("DELETE FROM audit.tiles; DELETE FROM audit.tree_edge; DELETE FROM audit.checkpoints; DELETE FROM audit.epochs")?;
        client.run("COMMIT")?;
        drop(client);
        let mut client = db.connect()?;
        client.run("SELECT audit.seal()")?;
        let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(
            wrong.is_empty(),
            "the rewrite is consistent in itself: {wrong:?}"
        );
        let rewritten = client.one(&format!("SELECT audit.checkpoint_body({size})"))?;
        ensure!(
            rewritten != kept,
            "the rewritten log has the same checkpoint"
        );
        Ok(())
    });
}

/// A part of the log is verified without the rest, and says the same of it.
#[test]
fn ranges_and_increments_find_what_is_in_them() {
    shared(|db| {
        let mut client = prepare(db)?;
        let (event, partition) = victim(&mut client)?;
        client.run("BEGIN")?;
        client.run(DISARM)?;
        client.run(&format!(
            "UPDATE {partition} SET reason = 'x' WHERE event_id = {event}"
        ))?;
        for (arguments, found) in [
            (format!("from_event => {event}"), true),
            (format!("to_event => {event} - 1"), false),
            ("since_size => 1000".to_owned(), true),
            ("since_size => 1303".to_owned(), false),
            ("sample => 1".to_owned(), true),
        ] {
            let lines = client.table(&format!(
                "SELECT event_id FROM audit.verify({arguments}) WHERE check_name = 'altered event'"
            ))?;
            ensure!(
                lines.len() == usize::from(found),
                "verify({arguments}): {lines:?}"
            );
        }
        let of_one = client.table(&format!(
            "SELECT check_name FROM audit.verify_event({event}) WHERE check_name = 'altered event'"
        ))?;
        ensure!(of_one.len() == 1, "verify_event: {of_one:?}");
        let error = client.refused("XX001", &format!("SELECT audit.inclusion_proof({event})"))?;
        ensure!(error.message.contains("altered"), "{error:?}");
        Ok(())
    });
}
