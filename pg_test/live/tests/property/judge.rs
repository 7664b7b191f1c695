//! Runs a case twice, with audit and without, and judges: same outcomes, same rows, a true trail.

use anyhow::{Context, Result, bail, ensure};
use live_tests::database::Database;
use live_tests::{Cluster, ServerError, Sql, oracle};
use postgres::Client;

use crate::ddl::{Features, Shape};
use crate::dml::copy_of;
use crate::model::Case;
use crate::script::Script;

/// The whole case as a script.
pub fn script(case: &Case, features: Features) -> (Script, Vec<Shape>) {
    let shapes = case.shapes(features);
    let mut script = Script::default();
    case.schema(&shapes, features, &mut script);
    case.workload(&shapes, &mut script);
    (script, shapes)
}

/// Runs and judges one case. `plain` is a database for the run without audit; it is cleared first.
///
/// # Errors
/// What is wrong with the trail, or how audit changed what the user's statements did.
pub fn judge(cluster: &Cluster, plain: &Database, case: &Case, features: Features) -> Result<()> {
    let (script, shapes) = script(case, features);
    let audited = Database::empty(cluster)?;
    let outcomes = run(&audited, &script, true).context("with audit")?;
    internal_errors(&script, &outcomes)?;
    clear(plain)?;
    let expected = run(plain, &script, false).context("without audit")?;
    for ((sql, got), expected) in script.statements().zip(&outcomes).zip(&expected) {
        // Which of several errors comes first may differ: COPY writes row by row where it has triggers.
        ensure!(
            got.is_some() == expected.is_some(),
            "audit changed the outcome: with {got:?}, without {expected:?}, of: {sql}"
        );
    }
    let mut client = audited.connect()?;
    let mut twin = plain.connect()?;
    let names = shapes
        .iter()
        .map(|shape| shape.name.as_str())
        .chain(["w.log"]);
    for name in names {
        let rows = format!("SELECT t::text FROM {name} t ORDER BY 1");
        ensure!(
            client.table(&rows)? == twin.table(&rows)?,
            "audit changed the rows of {name}"
        );
        oracle::check(&mut client, name)?;
        labels(&mut client, name)?;
    }
    let overlaps = shapes.iter().any(|shape| shape.overlaps);
    for shape in &shapes {
        if !overlaps && !shape.diff {
            oracle::check_ordered(&mut client, &shape.name)?;
        }
        if case.shadow && shape.has_shadow() {
            oracle::check_shadow(&mut client, &shape.name)?;
        }
        keys(&mut client, shape)?;
    }
    moments(&mut client, &shapes)
}

/// The tables as they were after each transaction.
fn moments(client: &mut Client, shapes: &[Shape]) -> Result<()> {
    for row in client.rows("SELECT number, at FROM moment.moments ORDER BY number")? {
        let [Some(number), Some(at)] = row.as_slice() else {
            bail!("a moment without number or time")
        };
        for (place, shape) in shapes.iter().enumerate() {
            oracle::check_as_of(client, &shape.name, &copy_of(number.parse()?, place), at)?;
        }
    }
    Ok(())
}

/// Making a database costs more than most cases do: the one without audit is used again.
fn clear(plain: &Database) -> Result<()> {
    plain.connect()?.run(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS w, evil, shadow CASCADE;
         DROP EXTENSION IF EXISTS hstore CASCADE",
    )
}

fn run(database: &Database, script: &Script, audited: bool) -> Result<Vec<Option<ServerError>>> {
    let mut client = database.connect()?;
    client.run("SET statement_timeout = '20s'")?;
    let outcomes = script.run(&mut client, audited)?;
    // What is left open ends with the session; the next one must see the same.
    drop(client);
    Ok(outcomes)
}

/// No user's statement may meet an internal error.
fn internal_errors(script: &Script, outcomes: &[Option<ServerError>]) -> Result<()> {
    for (sql, outcome) in script.statements().zip(outcomes) {
        if let Some(error) = outcome
            && (error.sqlstate.starts_with("XX") || error.message.contains("panic"))
        {
            bail!("internal error {error:?} from: {sql}");
        }
    }
    Ok(())
}

/// What must be true of every event of a table, whatever happened.
fn labels(client: &mut Client, name: &str) -> Result<()> {
    let (schema, table) = name.split_once('.').context("a qualified name")?;
    let wrong = client.table(&format!(
        "SELECT event_id, operation, why FROM (
             SELECT e.*, CASE
                 WHEN (schema_name, table_name) IS DISTINCT FROM ('{schema}', '{table}') THEN 'name'
                 WHEN (old_values IS NOT NULL) <> (operation IN ('update', 'delete')) THEN 'old image'
                 WHEN (new_values IS NOT NULL) <> (operation IN ('update', 'insert', 'snapshot')) THEN 'new image'
                 WHEN (changed_columns IS NOT NULL) > (operation = 'update') THEN 'changed_columns'
                 WHEN operation = 'update' AND EXISTS (
                     SELECT FROM jsonb_each(old_values) o JOIN jsonb_each(new_values) n USING (key)
                     WHERE o.value::text <> n.value::text AND key <> ALL (coalesce(changed_columns, '{{}}')))
                     THEN 'a changed column is not named'
                 WHEN old_row_key IS NOT NULL AND (operation <> 'update' OR old_row_key = row_key) THEN 'old_row_key'
                 WHEN salt IS NULL THEN 'salt' END AS why
             FROM audit.audit_events e
             WHERE table_oid = '{name}'::regclass
               AND operation IN ('insert', 'update', 'delete', 'snapshot')) e
         WHERE why IS NOT NULL LIMIT 10"
    ))?;
    ensure!(
        wrong.is_empty(),
        "events of {name} with wrong labels: {wrong:#?}"
    );
    Ok(())
}

/// `row_key` is the key's text, of the new image and of the old.
fn keys(client: &mut Client, shape: &Shape) -> Result<()> {
    let text = |image: &str| match shape.key {
        Some("id") => format!("{image} ->> 'id'"),
        Some(_) => format!("format('(%s,%s)', {image} ->> 'id', {image} ->> 'part')"),
        None => "NULL".into(),
    };
    // With `diff` an UPDATE's images may lack the key.
    let full = if shape.diff {
        "operation <> 'update'"
    } else {
        "true"
    };
    let wrong = client.table(&format!(
        "SELECT event_id, operation, row_key, old_row_key, old_values, new_values
         FROM audit.audit_events
         WHERE table_oid = '{}'::regclass AND operation IN ('insert', 'update', 'delete', 'snapshot') AND {full}
           AND (row_key IS DISTINCT FROM coalesce({}, {})
                OR operation = 'update' AND coalesce(old_row_key, row_key) IS DISTINCT FROM {})
         LIMIT 10",
        shape.name,
        if shape.key.is_some() {
            format!("CASE WHEN new_values IS NOT NULL THEN {} END", text("new_values"))
        } else {
            "NULL".into()
        },
        text("old_values"),
        text("old_values"),
    ))?;
    ensure!(
        wrong.is_empty(),
        "events of {} with wrong keys: {wrong:#?}",
        shape.name
    );
    Ok(())
}
