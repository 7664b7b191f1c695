//! What was pruned, cleared and erased as declared is counted; what was removed otherwise is found. `docs/log-format.md`, section 11.

use anyhow::{Context, Result, ensure};
use attest_log::proof::InclusionProof;
use live_tests::database::Database;
use live_tests::{Sql, shared};
use postgres::Client;

use crate::seal::each;
use crate::tamper::DISARM;

/// Two full tiles and more; then the first 600 events of the table are pruned, a category cleared, a row erased.
const STORY: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v text);
    SELECT audit.attach('t');
    INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 700) g; SELECT audit.seal();
    SELECT audit.log_event('sign in', category => 'login') FROM generate_series(1, 20); SELECT audit.seal()";

const REMOVALS: &str = "
    SELECT audit.erase('t', '650', 'article 17');
    SELECT audit.clear('login', 'asked by the works council');
    SELECT audit.set_retention(NULL, target => 't', max_events => 100);
    SELECT audit.apply_retention(false)";

/// A log from which some was removed as declared, the declarations not all sealed yet.
pub fn prepare(db: &Database) -> Result<Client> {
    let mut client = db.connect()?;
    each(&mut client, STORY)?;
    each(&mut client, REMOVALS)?;
    Ok(client)
}

fn event_of(client: &mut Client, row: u32) -> Result<String> {
    client.one(&format!("SELECT event_id FROM audit.audit_events WHERE table_name = 't' AND operation = 'insert' AND row_key = '{row}'"))
}

fn detail(client: &mut Client, workers: u32) -> Result<String> {
    let wrong = client.table(&format!(
        "SELECT * FROM audit.verify(workers => {workers}) WHERE NOT ok"
    ))?;
    ensure!(wrong.is_empty(), "findings: {wrong:#?}");
    client.one(&format!(
        "SELECT detail FROM audit.verify(workers => {workers}) WHERE check_name = 'events'"
    ))
}

#[test]
fn what_was_declared_is_counted_and_no_finding() {
    shared(|db| {
        let mut client = db.connect()?;
        each(&mut client, STORY)?;
        let (first, erased) = (event_of(&mut client, 1)?, event_of(&mut client, 650)?);
        let login =
            client.one("SELECT min(event_id) FROM audit.audit_events WHERE category = 'login'")?;
        let old_proof = client.one(&format!("SELECT audit.inclusion_proof({first})"))?;
        each(&mut client, REMOVALS)?;
        for workers in [0, 2] {
            let told = detail(&mut client, workers)?;
            ensure!(
                told.starts_with("620 more pruned as declared, 1 of them erased as declared, ")
                    && told.contains(", declarations not sealed yet: "),
                "{told}"
            );
        }
        client.run("SELECT audit.seal()")?;
        for workers in [0, 2] {
            let told = detail(&mut client, workers)?;
            ensure!(
                told == "620 more pruned as declared, 1 of them erased as declared",
                "{told}"
            );
        }
        for (event, name, action) in [
            (&first, "pruned event", "prune"),
            (&login, "pruned event", "clear"),
            (&erased, "erased event", "erase"),
        ] {
            let told = client.table(&format!(
                "SELECT check_name, ok, event_id, detail ~ '^epoch 1: declared by event \\d+, {action}$' FROM audit.verify_event({event}) WHERE event_id IS NOT NULL"
            ))?;
            ensure!(
                told == [format!("{name}|t|{event}|t")],
                "{action}: {told:?}"
            );
        }
        // A part of the log, too.
        let told = client.one(&format!("SELECT detail FROM audit.verify(to_event => {first}) WHERE check_name = 'events' AND ok"))?;
        ensure!(told == "1 more pruned as declared", "{told}");
        proofs_hold(&mut client, &first, &old_proof, &erased)
    });
}

/// A proof from before the event was removed holds, and leads to the tree as it is now.
fn proofs_hold(client: &mut Client, pruned: &str, old_proof: &str, erased: &str) -> Result<()> {
    let proof: InclusionProof = old_proof.parse()?;
    let hash = proof.leaf_data()?.hash();
    let checkpoint = proof.verify_path(&hash)?;
    let body = client.one(&format!(
        "SELECT audit.checkpoint_body({})",
        checkpoint.size()
    ))?;
    ensure!(
        body == checkpoint.to_string(),
        "the checkpoint of the old proof is another now: {body}"
    );
    let extra = old_proof
        .lines()
        .find_map(|line| line.strip_prefix("extra "));
    let same = client.one(&format!(
        "SELECT leaf_hash = sha256('\\x00'::bytea || decode('{}', 'base64')) FROM audit.leaves(0, 100000) WHERE event_id = {pruned}",
        extra.unwrap_or_default()
    ))?;
    ensure!(same == "t", "the leaf is another now");
    let error = client.refused("P0002", &format!("SELECT audit.inclusion_proof({pruned})"))?;
    ensure!(
        error.message == format!("event {pruned} is gone"),
        "{error:?}"
    );
    let proof: InclusionProof = client
        .one(&format!("SELECT audit.inclusion_proof({erased})"))?
        .parse()?;
    proof.verify_path(&proof.leaf_data()?.hash())?;
    Ok(())
}

/// An attack: its name, its SQL, and the findings that must be among those told.
type Attack = (&'static str, &'static str, &'static [&'static str]);

/// $E is an event that is there and no declaration covers, $L its leaf, $R the erased one, $D the prune's declaration.
const ATTACKS: &[Attack] = &[
    ("one event more is deleted than was declared", "DELETE FROM audit.audit_events WHERE event_id = $E", &["missing event|$E"]),
    ("payload and salt are removed, and nothing declares it", ERASE, &["altered event|$E"]),
    ("the hash of the erased event is changed", "UPDATE audit.audit_events SET payload_hash = sha256('') WHERE event_id = $R", &["altered event|$R"]),
    ("the erased event gets a value", "UPDATE audit.audit_events SET new_values = '{}' WHERE event_id = $R", &["altered event|$R"]),
    ("the declared leaves are made more",
        "UPDATE audit.audit_events SET context = jsonb_set(context, '{leaves}', '[[1, 0, $L]]') WHERE event_id = $D;
         DELETE FROM audit.audit_events WHERE event_id = $E", &["altered event|$D", "missing event|$E"]),
    ("the declaration is edited with its count and root, and its leaf with it",
        "UPDATE audit.audit_events SET context = context || (SELECT jsonb_build_object('leaves', jsonb_build_array(jsonb_build_array(1, $L, $L)),
             'count', 1, 'root', encode(leaf_hash, 'base64')) FROM audit.leaves($L, 1)) WHERE event_id = $D;
         DELETE FROM audit.audit_events WHERE event_id = $E;
         UPDATE audit.tree_edge SET hashes = overlay(hashes PLACING sha256('\\x00'::bytea || audit.event_leaf($D)) FROM 32 * array_position(event_ids, $D) - 31)
         WHERE $D = ANY (event_ids)", &["broken checkpoint|"]),
    ("the edited declaration says less than its leaf and its root",
        "UPDATE audit.audit_events SET context = jsonb_set(context, '{leaves}', '[[1, 0, $L]]') WHERE event_id = $D;
         UPDATE audit.tree_edge SET hashes = overlay(hashes PLACING sha256('\\x00'::bytea || audit.event_leaf($D)) FROM 32 * array_position(event_ids, $D) - 31)
         WHERE $D = ANY (event_ids)", &["false declaration|$D"]),
    ("a declaration is inserted among the sealed",
        "INSERT INTO audit.audit_events SELECT (jsonb_populate_record(e, jsonb_build_object('event_id', -77, 'context',
             jsonb_build_object('leaves', jsonb_build_array(jsonb_build_array(1, $L, $L)), 'count', 1, 'root', encode(l.leaf_hash, 'base64'))))).*
         FROM audit.audit_events e, audit.leaves($L, 1) l WHERE e.event_id = $D;
         DELETE FROM audit.audit_events WHERE event_id = $E", &["forged event|-77", "missing event|$E"]),
    ("the declaration is deleted", "DELETE FROM audit.audit_events WHERE event_id = $D", &["missing event|$D", "missing event|$P"]),
    ("the declaration becomes another event", "UPDATE audit.audit_events SET action = 'note' WHERE event_id = $D", &["altered event|$D", "missing event|$P"]),
    ("the hash of a pruned leaf is changed", "UPDATE audit.tiles SET hashes = overlay(hashes PLACING sha256('') FROM 6401) WHERE level = 0 AND tile_index = 0",
        &["false declaration|$D", "altered tile|"]),
];

/// With the right hash of the payload left.
const ERASE: &str = "UPDATE audit.audit_events SET payload_hash = substring(audit.event_leaf(event_id) FROM 75 FOR 32), salt = NULL,
    row_key = NULL, old_row_key = NULL, old_values = NULL, new_values = NULL, entity_id = NULL, entity_name = NULL, description = NULL,
    context = NULL WHERE event_id = $E";

#[test]
fn what_no_declaration_covers_is_found() {
    shared(|db| {
        let mut client = db.connect()?;
        each(&mut client, STORY)?;
        let (event, erased, pruned) = (
            event_of(&mut client, 690)?,
            event_of(&mut client, 650)?,
            event_of(&mut client, 1)?,
        );
        each(&mut client, REMOVALS)?;
        client.run("SELECT audit.seal()")?;
        let leaf = client.one(&format!("SELECT leaf_index FROM audit.find_leaf({event})"))?;
        let declaration = client.one("SELECT event_id FROM audit.audit_events WHERE operation = 'system' AND action = 'prune'")?;
        let fill = |text: &str| {
            let text = text
                .replace("$E", &event)
                .replace("$L", &leaf)
                .replace("$R", &erased);
            text.replace("$D", &declaration).replace("$P", &pruned)
        };
        for (name, sql, findings) in ATTACKS {
            client.run("BEGIN")?;
            client.run(DISARM)?;
            client.run(&fill(sql)).with_context(|| (*name).to_owned())?;
            for workers in [0, 2] {
                let found = client.table(&format!(
                    "SELECT check_name, event_id, leaf_index, detail FROM audit.verify(workers => {workers}) WHERE NOT ok"
                ))?;
                for wanted in findings.iter().map(|wanted| fill(wanted)) {
                    ensure!(
                        found.iter().any(|line| line.starts_with(&wanted)),
                        "{name}: no \"{wanted}\" in {found:#?}"
                    );
                }
            }
            client.run("ROLLBACK")?;
        }
        detail(&mut client, 0).map(drop)
    });
}

/// Who has a superuser's rights for a moment and does not wait for the seal cannot have a declaration count that says too much.
#[test]
fn a_declaration_that_is_not_sealed_yet_must_be_right_too() {
    shared(|db| {
        let mut client = prepare(db)?;
        let declaration = client.one("SELECT event_id FROM audit.audit_events WHERE operation = 'system' AND action = 'prune'")?;
        let sealed = client.one(&format!(
            "SELECT count(*) FROM audit.find_leaf({declaration})"
        ))?;
        ensure!(sealed == "0", "the declaration is sealed already");
        client.run("BEGIN")?;
        client.run(DISARM)?;
        client.run(&format!("UPDATE audit.audit_events SET context = jsonb_set(context, '{{count}}', '1') WHERE event_id = {declaration}"))?;
        let found = client.table("SELECT check_name, event_id FROM audit.verify() WHERE NOT ok")?;
        ensure!(
            found.contains(&format!("false declaration|{declaration}")),
            "{found:?}"
        );
        Ok(())
    });
}
