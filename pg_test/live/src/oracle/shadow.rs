//! A second, independent recorder: plain PL/pgSQL row triggers that write what they see.
//!
//! The fold cannot tell `A→A', B→B'` from `A→B', B→A'`, nor an image that is wrong in the same way
//! when it comes and when it goes. The shadow can: each event must have its row trigger's twin.
//! A partition move, which row triggers see as DELETE and INSERT, must be one UPDATE event.

use anyhow::{Context, Result, bail};
use postgres::Client;

use super::pinned;
use super::plan::{Identity, Plan};
use crate::sql::{Sql, literal};

/// Where the shadow writes.
pub const SHADOW_TABLE: &str = "shadow.change";

/// SQL that makes the shadow's table and trigger function.
pub fn shadow_schema() -> &'static str {
    "CREATE SCHEMA shadow;
CREATE TABLE shadow.change (id bigserial, target text, kind text, old jsonb, new jsonb);
CREATE FUNCTION shadow.record() RETURNS trigger LANGUAGE plpgsql
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' SET xmloption = 'content'
SET quote_all_identifiers = off SET search_path = '' AS $$
BEGIN
    INSERT INTO shadow.change (target, kind, old, new) VALUES (TG_ARGV[0], lower(TG_OP),
        CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
        CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
END $$;"
}

/// SQL that lets the shadow follow `table` (its qualified name).
pub fn shadow_triggers(table: &str) -> String {
    format!(
        "CREATE TRIGGER zz_shadow AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION shadow.record({});",
        literal(table)
    )
}

/// Compares the events of `table` with what the shadow saw of it.
///
/// # Errors
/// The changes that only one of the two recorded.
pub fn check_shadow(client: &mut Client, table: &str) -> Result<()> {
    pinned(client, |client| {
        let plan = Plan::of(client, table, Identity::Oid)?;
        compare(client, table, &plan)
    })
    .with_context(|| format!("{table} against its row triggers"))
}

fn compare(client: &mut Client, table: &str, plan: &Plan) -> Result<()> {
    let target = literal(table);
    // Without a key the extension may split an UPDATE of a partitioned table: sides only.
    let keyed = !plan.key.starts_with("NULL");
    let partitioned = !plan.from.starts_with("ONLY");
    let settings = format!(
        "SELECT coalesce(exclude::text[], '{{}}') AS exclude, coalesce(mask::text[], '{{}}') AS mask
         FROM audit.attachments WHERE target = {target}::regclass"
    );
    client.run(
        "CREATE OR REPLACE FUNCTION pg_temp.as_recorded(image jsonb, exclude text[], mask text[])
         RETURNS text LANGUAGE sql AS $$
            SELECT coalesce(jsonb_object_agg(key,
                     CASE WHEN key = ANY (mask) AND value <> 'null' THEN '\"***\"' ELSE value END), '{}')::text
            FROM jsonb_each(image) WHERE key <> ALL (exclude) AND image IS NOT NULL $$",
    )?;
    client.run("DROP TABLE IF EXISTS pg_temp.event_side, pg_temp.shadow_side")?;
    client.run(&format!(
        "CREATE TEMP TABLE event_side AS
            SELECT operation::text AS kind, old_values::text AS old, new_values::text AS new
            FROM audit.audit_events e
            WHERE {} AND operation::text IN ('insert', 'update', 'delete')
              AND old_values::text IS DISTINCT FROM new_values::text;
         CREATE TEMP TABLE shadow_side AS
            WITH s AS ({settings}), c AS (
                SELECT kind,
                       CASE WHEN old IS NOT NULL THEN pg_temp.as_recorded(old, s.exclude, s.mask) END AS old,
                       CASE WHEN new IS NOT NULL THEN pg_temp.as_recorded(new, s.exclude, s.mask) END AS new
                FROM {SHADOW_TABLE} c, s WHERE target = {target})
            SELECT * FROM c WHERE old IS DISTINCT FROM new",
        plan.events
    ))?;
    let both = |left: &str, right: &str| {
        format!(
            "(SELECT 'event alone', d.* FROM ({left} EXCEPT ALL {right}) d)
             UNION ALL (SELECT 'row trigger alone', d.* FROM ({right} EXCEPT ALL {left}) d) LIMIT 20"
        )
    };
    let all = "SELECT kind, old, new FROM pg_temp";
    let difference = if keyed && !partitioned {
        client.table(&both(
            &format!("{all}.event_side"),
            &format!("{all}.shadow_side"),
        ))?
    } else {
        let sides = |side: &str| {
            format!(
                "(SELECT 'old' AS side, old AS image FROM pg_temp.{side} WHERE old IS NOT NULL
                  UNION ALL SELECT 'new', new FROM pg_temp.{side} WHERE new IS NOT NULL)"
            )
        };
        let mut found = client.table(&both(&sides("event_side"), &sides("shadow_side")))?;
        if keyed {
            // Each update that a row trigger saw stayed in its partition and is one event.
            found.extend(client.table(&format!(
                "{all}.shadow_side WHERE kind = 'update'
                 EXCEPT ALL {all}.event_side WHERE kind = 'update' LIMIT 20"
            ))?);
        }
        found
    };
    if difference.is_empty() {
        return Ok(());
    }
    bail!(
        "events and row triggers saw different changes:\n  {}",
        difference.join("\n  ")
    )
}
