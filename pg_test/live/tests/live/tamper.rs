//! The tamper drill: what a superuser can do to a live database, and what verification calls it. `docs/security.md` has the table.
//!
//! Each attack is made in a transaction of its own, verified, and rolled back, so that all start from the same log.

use anyhow::{Context, Result, bail, ensure};
use live_tests::database::Database;
use live_tests::{Sql, shared};
use postgres::Client;

use crate::seal::each;

/// 1,303 events, sealed in six steps: five full tiles and an edge.
pub const STORY: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v text);
    SELECT audit.attach('t');
    INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g; SELECT audit.seal();
    UPDATE t SET v = 'w' WHERE id <= 200; SELECT audit.seal();
    DELETE FROM t WHERE id > 400; SELECT audit.seal();
    INSERT INTO t SELECT g, 'v' || g FROM generate_series(1001, 1500) g; SELECT audit.seal();
    UPDATE t SET v = 'last' WHERE id = 7; SELECT audit.seal();
    SET audit.app_user_id = 'mallory'; UPDATE t SET v = 'very last' WHERE id = 8; SELECT audit.seal();";

/// What lets SQL write to the log: no guard is left.
pub const DISARM: &str = "
    SET LOCAL session_replication_role = replica;
    ALTER TABLE audit.audit_events DISABLE TRIGGER ALL;
    ALTER TABLE audit.epochs DISABLE TRIGGER ALL; ALTER TABLE audit.checkpoints DISABLE TRIGGER ALL;
    ALTER TABLE audit.tiles DISABLE TRIGGER ALL; ALTER TABLE audit.tree_edge DISABLE TRIGGER ALL;
    ALTER TABLE audit.checkpoint_signatures DISABLE TRIGGER ALL;";

/// An attack: its name, its SQL, and all that verification says of it: the size of the last good checkpoint, then each finding with
/// its event and its leaf; of more than five of a kind, their number.
///
/// $E is the last event's id, $F the one after it, which no event got; $P is the event's partition, $K a public key.
struct Attack {
    name: &'static str,
    sql: &'static str,
    told: &'static str,
}

const fn attack(name: &'static str, sql: &'static str, told: &'static str) -> Attack {
    Attack { name, sql, told }
}

const ATTACKS: &[Attack] = &[
    attack("the new value is changed", "UPDATE $P SET new_values = '{\"id\": 7, \"v\": \"other\"}' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the old value is removed", "UPDATE $P SET old_values = NULL WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the user's name is changed", "UPDATE $P SET session_user_name = 'alice' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the application's user is changed", "UPDATE $P SET app_user_id = 'alice' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the wall clock is changed", "UPDATE $P SET captured_at = captured_at - interval '1 hour' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the time is changed, into another month", "UPDATE audit.audit_events SET occurred_at = occurred_at - interval '2 years' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the transaction is changed", "UPDATE $P SET xact_id = '7' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the row is blamed on another table", "UPDATE $P SET table_name = 'u' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the salt is removed", "UPDATE $P SET salt = NULL WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the event is passed off as erased", "UPDATE $P SET salt = NULL, row_key = NULL, old_values = NULL, new_values = NULL, payload_hash = sha256('') WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("a list of columns gets another shape", "UPDATE $P SET changed_columns = '[2:2]={v}' WHERE event_id = $E", "good: 1302, altered event of E at 1302"),
    attack("the event is deleted", "DELETE FROM $P WHERE event_id = $E", "good: 1302, missing event of E at 1302"),
    attack("two events change places",
        "CREATE TEMP TABLE two ON COMMIT DROP AS SELECT event_id FROM $P WHERE event_id <= $E ORDER BY 1 DESC LIMIT 2;
         UPDATE $P SET event_id = -event_id WHERE event_id IN (SELECT event_id FROM two);
         UPDATE $P p SET event_id = (SELECT event_id FROM two WHERE event_id <> -p.event_id) WHERE p.event_id < 0", "good: 1301, altered event of another at 1301, altered event of E at 1302"),
    attack("an event is inserted into a past transaction",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": -77}')).* FROM $P e WHERE event_id = $E", "good: 1303, forged event of -77"),
    attack("an event is inserted with a transaction id to come",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": -77, \"xact_id\": \"99999999999\"}')).* FROM $P e WHERE event_id = $E", "good: 1303, forged event of -77"),
    attack("an event gets an id that none has, in a transaction that is not sealed yet",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, format('{\"event_id\": -77, \"xact_id\": \"%s\"}', pg_current_xact_id())::jsonb)).* FROM $P e WHERE event_id = $E", "good: 1303, forged event of -77"),
    attack("an event gets the last id of all",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": 9223372036854775807}')).* FROM $P e WHERE event_id = $E", "good: 1303, forged event of 9223372036854775807"),
    attack("the event is deleted, and its leaf given to the last id of all",
        "DELETE FROM $P WHERE event_id = $E; UPDATE audit.tree_edge SET event_ids = array_replace(event_ids, $E, 9223372036854775807)", "good: 1302, altered tile at 1302, missing event of 9223372036854775807 at 1302"),
    attack("an event is inserted, and covered by a row beside the tree's edge",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": $F}')).* FROM $P e WHERE event_id = $E;
         INSERT INTO audit.tree_edge SELECT 1, n, sha256('\\x00'::bytea || audit.event_leaf($F)), ARRAY[$F::bigint] FROM unnest(ARRAY[-1, 0, 1400]) n", "good: 1303, forged event of F, altered tile, altered tile, altered tile at 1400"),
    attack("an event is inserted, and covered by a tile beside the tree",
        "INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": $F}')).* FROM $P e WHERE event_id = $E;
         INSERT INTO audit.tiles SELECT 1, 0, -1, $F, $F, root, hashes, array_fill($F::bigint, ARRAY[256]) FROM audit.tiles WHERE level = 0 AND tile_index = 0", "good: 1303, forged event of F, altered tile"),
    attack("an event is kept out of the primary key",
        "SET LOCAL allow_system_table_mods = on;
         UPDATE pg_index SET indisready = false WHERE indisprimary AND indrelid = '$P'::regclass;
         INSERT INTO $P SELECT (jsonb_populate_record(e, '{\"event_id\": $F}')).* FROM $P e WHERE event_id = $E;
         UPDATE pg_index SET indisready = true WHERE indisprimary AND indrelid = '$P'::regclass", "good: 1303, forged event of F"),
    attack("the event is moved to another month's partition", MOVE, "good: 1302, altered event of E at 1302"),
    attack(
        "a second row has the event's id",
        "INSERT INTO audit.audit_events_default SELECT (jsonb_populate_record(e, '{\"occurred_at\": \"2001-02-03\"}')).* FROM $P e WHERE event_id = $E",
        "good: 1302, forged event of E at 1302",
    ),
    attack("event and leaf are changed", "UPDATE $P SET reason = 'x' WHERE event_id = $E;
        UPDATE audit.tree_edge SET hashes = sha256('\\x00'::bytea || audit.event_leaf($E)) WHERE $E = ANY (event_ids)", "good: 1302, broken checkpoint at 1302"),
    attack("a leaf is changed in a full tile", "UPDATE audit.tiles SET hashes = overlay(hashes PLACING sha256('') FROM 65) WHERE level = 0 AND tile_index = 1", "good: none, altered tile at 256, altered event of another at 258, broken checkpoint × 6"),
    attack("a tile and its root are changed", "UPDATE audit.tiles SET root = sha256('') WHERE level = 0 AND tile_index = 1", "good: none, altered tile at 256"),
    attack("events change places in a tile", "UPDATE audit.tiles SET event_ids = ARRAY[event_ids[2], event_ids[1]] || event_ids[3:256] WHERE level = 0 AND tile_index = 1", "good: none, altered event of another at 256, altered event of another at 257"),
    attack("a tile is deleted", "DELETE FROM audit.tiles WHERE level = 0 AND tile_index = 1", "good: none, forged event × 256, altered tile at 256, altered tile at 256"),
    attack("the range of a tile is narrowed", "UPDATE audit.tiles SET min_event_id = max_event_id WHERE level = 0 AND tile_index = 1", "good: none, altered tile at 256"),
    attack("the tree's edge is deleted", "DELETE FROM audit.tree_edge", "good: 801, forged event × 23, altered tile at 1280"),
    attack("the edge gets a row beside the tree", "INSERT INTO audit.tree_edge SELECT 1, 0, hashes, event_ids FROM audit.tree_edge LIMIT 1", "good: 1303, altered tile"),
    attack("a tile is added that the tree has not", "INSERT INTO audit.tiles VALUES (1, 1, 0, NULL, NULL, '\\x00', decode(repeat('ab', 8192), 'hex'), NULL)", "good: 1303, altered tile"),
    attack("a tile is added before the first one", "INSERT INTO audit.tiles SELECT epoch, level, -1, min_event_id, max_event_id, root, hashes, event_ids FROM audit.tiles WHERE tile_index = 0", "good: 1303, altered tile"),
    attack("a tile of an epoch that there is not", "INSERT INTO audit.tiles SELECT 9, level, tile_index, min_event_id, max_event_id, root, hashes, event_ids FROM audit.tiles WHERE tile_index = 0", "good: 1303, altered tile"),
    attack("a checkpoint of negative size hides the roots of the others",
        "UPDATE $P SET reason = 'x' WHERE event_id = $E;
         UPDATE audit.tree_edge SET hashes = sha256('\\x00'::bytea || audit.event_leaf($E)) WHERE $E = ANY (event_ids);
         INSERT INTO audit.checkpoints SELECT epoch, -1, sealed_at, next_xid, last_event_id, root, chain, snapshot FROM audit.checkpoints ORDER BY tree_size LIMIT 1;
         SELECT pg_temp.rechain()", "good: 1302, broken checkpoint, broken checkpoint, broken checkpoint at 1302"),
    attack("a checkpoint is added", "INSERT INTO audit.checkpoints SELECT epoch, 600, sealed_at, next_xid, last_event_id, root, chain, snapshot FROM audit.checkpoints WHERE tree_size = 501; SELECT pg_temp.rechain()", "good: 501, broken checkpoint at 599"),
    attack("the sealer is told that later ids are sealed", "UPDATE audit.checkpoints SET last_event_id = last_event_id + 64 WHERE tree_size = (SELECT max(tree_size) FROM audit.checkpoints)", "good: 1302, broken checkpoint at 1302, broken checkpoint at 1302"),
    attack("… and the chain is made to fit", "UPDATE audit.checkpoints SET last_event_id = 9000000000000000000 WHERE tree_size = (SELECT max(tree_size) FROM audit.checkpoints); SELECT pg_temp.rechain()", "good: 1302, broken checkpoint at 1302"),
    attack("the sealer is told that transactions to come are sealed", "UPDATE audit.checkpoints SET snapshot = '9000000000000:9000000000000:', next_xid = '9000000000000' WHERE tree_size = (SELECT max(tree_size) FROM audit.checkpoints); SELECT pg_temp.rechain()", "good: 1302, broken checkpoint at 1302"),
    attack("the transactions of a checkpoint are changed", "UPDATE audit.checkpoints SET snapshot = '3:3:' WHERE tree_size = 701", "good: 501, broken checkpoint at 700"),
    attack("the sequence of ids is set back", "ALTER SEQUENCE audit.audit_events_event_id_seq RESTART WITH 100", "good: 1302, broken checkpoint at 1302"),
    attack("no checkpoint is signed by a trusted key", "SET LOCAL audit.trusted_keys = '$K'", "good: 1302, bad signature at 1302"),
    attack("a checkpoint's root is changed", "UPDATE audit.checkpoints SET root = sha256('') WHERE tree_size = 701", "good: 501, broken checkpoint at 700, broken checkpoint at 700"),
    attack("a checkpoint's time is changed", "UPDATE audit.checkpoints SET sealed_at = sealed_at - interval '1 day' WHERE tree_size = 701", "good: 501, broken checkpoint at 700, broken checkpoint at 700"),
    attack("a checkpoint is deleted", "DELETE FROM audit.checkpoints WHERE tree_size = 701", "good: 501, broken checkpoint at 800"),
    attack("the last checkpoint is deleted", "DELETE FROM audit.checkpoints WHERE tree_size = (SELECT max(tree_size) FROM audit.checkpoints)", "good: 1302, broken checkpoint at 1302"),
    attack("the origin is changed", "UPDATE audit.epochs SET origin = 'elsewhere'", "good: none, broken checkpoint × 6"),
    attack("an epoch is deleted", "DELETE FROM audit.epochs", "good: , altered tile × 8, broken checkpoint × 6"),
    attack("a partition is detached", "ALTER TABLE audit.audit_events DETACH PARTITION $P", "good: none, missing event × 1303"),
    attack("all events are removed", "SET LOCAL audit.restore = on; TRUNCATE audit.audit_events", "good: none, missing event × 1303"),
    attack("a signature is broken", "SET LOCAL audit.trusted_keys = '$K';
        INSERT INTO audit.checkpoint_signatures SELECT 1, 701, E'\\u2014 PeterNeumann ' || replace(encode('\\xc74f20a3'::bytea || sha256('') || sha256(''), 'base64'), E'\\n', ''), now(), 'mallory'", "good: 501, bad signature at 700, bad signature at 1302"),
    attack("the event gets a second leaf, in the place of the one before", "UPDATE audit.tree_edge SET event_ids = ARRAY[$E::bigint] WHERE first_leaf = 1301", "good: 1301, forged event of another, altered event of E at 1301, two trees of E at 1302"),
    attack("an epoch is added under the same origin", "INSERT INTO audit.epochs SELECT 2, origin, incarnation, started_at, event_id FROM audit.epochs", "good: 1303 and none, two trees, broken checkpoint at 0, broken checkpoint at 0"),
    attack("a whole second tree is added under the same origin",
        "INSERT INTO audit.epochs SELECT 2, origin, incarnation, started_at, event_id FROM audit.epochs;
         INSERT INTO audit.tiles SELECT 2, level, tile_index, min_event_id, max_event_id, root, hashes, event_ids FROM audit.tiles;
         INSERT INTO audit.tree_edge SELECT 2, first_leaf, hashes, event_ids FROM audit.tree_edge;
         INSERT INTO audit.checkpoints SELECT 2, tree_size, sealed_at, next_xid, last_event_id, root, chain, snapshot FROM audit.checkpoints; SELECT pg_temp.rechain()", "good: 1303 and none, two trees × 1304, broken checkpoint at 0"),
];

/// Puts the event into next month's partition: detached, filled, and attached again by a constraint that was never checked.
const MOVE: &str = "DO $$
    DECLARE
        next text := 'audit.audit_events_' || to_char(now() AT TIME ZONE 'UTC' + interval '1 month', 'YYYY_MM');
        bounds text := (SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = next::regclass);
        ends text[] := regexp_match(bounds, '\\((.*)\\) TO \\((.*)\\)');
    BEGIN
        SET LOCAL allow_system_table_mods = on;
        EXECUTE format('ALTER TABLE audit.audit_events DETACH PARTITION %s', next);
        EXECUTE format('INSERT INTO %s SELECT * FROM $P WHERE event_id = $E', next);
        DELETE FROM $P WHERE event_id = $E;
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT fits CHECK (occurred_at IS NOT NULL AND occurred_at >= %s AND occurred_at < %s) NOT VALID', next, ends[1], ends[2]);
        UPDATE pg_constraint SET convalidated = true WHERE conrelid = next::regclass AND conname = 'fits';
        EXECUTE format('ALTER TABLE audit.audit_events ATTACH PARTITION %s %s', next, bounds);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT fits', next);
    END $$";

/// Makes the chain of checkpoints fit what stands in them.
pub const RECHAIN: &str = "
    CREATE OR REPLACE FUNCTION pg_temp.rechain() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE c record; previous bytea := decode(repeat('00', 32), 'hex');
    BEGIN
        FOR c IN SELECT k.*, e.origin FROM audit.checkpoints k JOIN audit.epochs e USING (epoch) ORDER BY epoch, tree_size LOOP
            previous := sha256(convert_to(E'pg_attest/checkpoint/v1\n', 'UTF8') || previous || int8send((extract(epoch FROM c.sealed_at) * 1000000)::bigint)
                || sha256(convert_to(concat_ws(E'\n', 'pg_attest/horizon/v1', c.last_event_id, c.next_xid, c.snapshot, ''), 'UTF8'))
                || convert_to(concat_ws(E'\n', c.origin, c.tree_size, encode(c.root, 'base64'), ''), 'UTF8'));
            UPDATE audit.checkpoints SET chain = previous WHERE (epoch, tree_size) = (c.epoch, c.tree_size);
        END LOOP;
    END $$";

/// A public key from the documentation of golang.org/x/mod/sumdb/note, id c74f20a3.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

pub fn prepare(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    each(&mut client, STORY)?;
    let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
    ensure!(wrong.is_empty(), "before any attack: {wrong:?}");
    Ok(client)
}

/// The last event and the partition that holds it.
pub fn victim(client: &mut Client) -> Result<(String, String)> {
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

/// What verification says, in the words of [`Attack`].
fn told(client: &mut Client, workers: u32, event: &str, free: &str) -> Result<String> {
    let lines = client.rows(&format!(
        "SELECT check_name, event_id, leaf_index, checked FROM audit.verify(workers => {workers})
         WHERE (NOT ok OR check_name = 'last good checkpoint') AND check_name NOT IN ('events', 'leaves', 'checkpoints', 'signatures')"
    ))?;
    let mut good = Vec::new();
    let mut findings: Vec<(String, Vec<String>, i64)> = Vec::new();
    for line in lines {
        let line = <[Option<String>; 4]>::try_from(line).ok();
        let [name, id, leaf, number] = line.context("not four columns")?;
        let name = name.unwrap_or_default();
        if name == "last good checkpoint" {
            good.push(number.unwrap_or_else(|| "none".to_owned()));
            continue;
        }
        let known = findings.iter().position(|(known, ..)| *known == name);
        let known = known.unwrap_or_else(|| {
            findings.push((name, Vec::new(), 0));
            findings.len() - 1
        });
        let of_name = &mut findings[known];
        // The line that says how many are not listed has a number.
        of_name.2 += number.as_deref().unwrap_or("1").parse::<i64>()?;
        let id = id.map(|id| match id.as_str() {
            id if id == event => " of E".to_owned(),
            id if id == free => " of F".to_owned(),
            // What no event gets.
            "-77" | "9223372036854775807" => format!(" of {id}"),
            _ => " of another".to_owned(),
        });
        let leaf = leaf.map(|leaf| format!(" at {leaf}"));
        of_name
            .1
            .push(id.unwrap_or_default() + &leaf.unwrap_or_default());
    }
    let mut said = vec![format!("good: {}", good.join(" and "))];
    for (name, listed, count) in findings {
        if count > 5 {
            said.push(format!("{name} × {count}"));
        } else {
            said.extend(listed.into_iter().map(|line| name.clone() + &line));
        }
    }
    Ok(said.join(", "))
}

fn make(client: &mut Client, attack: &Attack, event: &str, partition: &str) -> Result<()> {
    let free = (event.parse::<i64>()? + 1).to_string();
    let sql = attack.sql.replace("$E", event).replace("$F", &free);
    let sql = sql.replace("$P", partition).replace("$K", KEY);
    client.run("BEGIN")?;
    client.run(DISARM)?;
    client.run(&sql)?;
    for workers in [0, 2] {
        let told = told(client, workers, event, &free)?;
        ensure!(
            told == attack.told,
            "with {workers} workers verification says \"{told}\", not \"{}\"",
            attack.told
        );
    }
    client.run("ROLLBACK")
}

/// That the chain is computed here as the sealer does: else the attacks that remake it would show nothing.
fn check_rechain(client: &mut Client) -> Result<()> {
    client.run(RECHAIN)?;
    client.run("BEGIN")?;
    client.run(DISARM)?;
    client.run("SELECT pg_temp.rechain()")?;
    let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
    ensure!(
        wrong.is_empty(),
        "the chain made anew is another: {wrong:?}"
    );
    client.run("ROLLBACK")
}

#[test]
fn every_attack_is_found_and_named() {
    shared(|db| {
        let mut client = prepare(db)?;
        let (event, partition) = victim(&mut client)?;
        check_rechain(&mut client)?;
        let mut others = Vec::new();
        for attack in ATTACKS {
            if let Err(error) = make(&mut client, attack, &event, &partition) {
                others.push(format!("{}: {error:#}", attack.name));
                client.run("ROLLBACK")?;
            }
        }
        ensure!(others.is_empty(), "{}", others.join("\n"));
        let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "after all was rolled back: {wrong:?}");
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

/// What happened before a restore is bound by the first event after it: who remakes the older chain breaks that bond.
#[test]
fn an_older_epoch_cannot_be_changed_behind_a_newer_one() {
    shared(|db| {
        let mut client = prepare(db)?;
        client.run(RECHAIN)?;
        // As after a restore: another installation.
        client.run("BEGIN")?;
        client.run(DISARM)?;
        client.run("ALTER TABLE audit.installation DISABLE TRIGGER ALL; UPDATE audit.installation SET id = gen_random_uuid()")?;
        client.run("ALTER TABLE audit.installation ENABLE ALWAYS TRIGGER refuse_write; COMMIT")?;
        each(
            &mut client,
            "UPDATE t SET v = 'after' WHERE id = 7; SELECT audit.seal()",
        )?;
        let epochs = client.one("SELECT max(epoch) FROM audit.epochs")?;
        ensure!(epochs == "2", "{epochs} epochs");
        let wrong = client.table("SELECT check_name, detail FROM audit.verify() WHERE NOT ok")?;
        ensure!(wrong.is_empty(), "before any attack: {wrong:?}");
        for change in [
            "UPDATE audit.checkpoints SET sealed_at = sealed_at - interval '1 s' WHERE epoch = 1; SELECT pg_temp.rechain()",
            "UPDATE audit.epochs SET origin = 'elsewhere' WHERE epoch = 1; SELECT pg_temp.rechain()",
            "UPDATE audit.epochs SET event_id = NULL WHERE epoch = 2",
            "DELETE FROM audit.audit_events WHERE action = 'epoch'",
        ] {
            client.run("BEGIN")?;
            client.run(DISARM)?;
            client.run(change)?;
            for function in ["verify", "verify_chain"] {
                let found = client.table(&format!(
                    "SELECT check_name, leaf_index, detail FROM audit.{function}() WHERE NOT ok"
                ))?;
                let is_named = |line: &String| line.starts_with("broken checkpoint|0|epoch 2");
                ensure!(
                    found.iter().any(is_named),
                    "{change}: {function}: {found:#?}"
                );
            }
            client.run("ROLLBACK")?;
        }
        Ok(())
    });
}
