//! What locked policies keep by age, and what holds cover, asked once more before anything is removed. The plan of a prune is made by views
//! and functions, which a superuser can replace, `now()` with them; this reads the log's own rows, decides here, and takes the time from the
//! transaction.
//!
//! The rules are those of `audit.retention_policies` and `audit.retention_groups`. A locked policy that lets events go by their number, too,
//! is not checked: which ones are the newest is not counted here.

use super::plan::{Partition, cell, is, micros, text};
use super::{held, installation};
use crate::attach::registry::oid;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::query::{self, Arg};
use crate::pg::{catalog, time, xact};
use pgrx::pg_sys;
use std::collections::BTreeMap;
use std::ffi::CString;

/// Events that are asked about together.
pub const PORTION: usize = 1_000;

/// Refuses to let these events of a partition go, where a locked policy or a hold keeps one of them, or where they are `pg_attest`'s own.
/// Superuser.
pub fn check(partition: &Partition, ids: &[i64]) -> Result<()> {
    check_policies(partition, ids)?;
    match held::first(&format!("ONLY {}", partition.sql()), ids)? {
        None => Ok(()),
        Some((hold, event)) => {
            let event = format!("Event {event} is one of those that were to go.");
            Err(refused(partition, &format!("the hold \"{hold}\""), event))
        }
    }
}

fn check_policies(partition: &Partition, ids: &[i64]) -> Result<()> {
    let policies = Policy::all()?;
    if ids.is_empty() || !policies.iter().any(|policy| policy.locked) {
        return Ok(());
    }
    let restores = query::rows("SELECT event_id FROM audit.epochs", &[])?;
    let restores = restores.into_iter().flatten().flatten();
    let floor = restores.filter_map(|id| id.parse::<i64>().ok()).max();
    for ids in ids.chunks(PORTION) {
        xact::give_way();
        check_kinds(
            partition,
            &policies,
            &Kind::of(partition, ids, floor.unwrap_or(i64::MIN))?,
        )?;
    }
    Ok(())
}

fn check_kinds(partition: &Partition, policies: &[Policy], kinds: &[Kind]) -> Result<()> {
    for kind in kinds {
        if kind.operation == "system" {
            return Err(refused(partition, "pg_attest itself", kind.of_when()));
        }
        if let Some(policy) = kind.policy(policies)
            && policy.locked
            && !policy.by_number
            && kind.newest >= policy.cutoff
        {
            let keeper = format!("the locked retention policy \"{}\"", policy.name);
            return Err(refused(partition, &keeper, kind.of_when()));
        }
    }
    Ok(())
}

fn refused(partition: &Partition, keeper: &str, which: String) -> AttestError {
    AttestError::new(
        SqlState::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("events of audit.{} are kept by {keeper}", partition.name),
    )
    .detail(which)
    .hint("What pruning reads was replaced: put the views and functions of schema audit back as the extension's script makes them.")
}

/// A policy in force.
struct Policy {
    name: String,
    locked: bool,
    /// What is older may go (microseconds since 2000-01-01).
    cutoff: i64,
    /// What is behind so many newer ones may go, too.
    by_number: bool,
    /// The tables that it was set for: their OIDs here, and their names as SQL writes them.
    oids: Vec<pg_sys::Oid>,
    names: Vec<String>,
}

/// What one event said of a policy.
struct Said {
    dropped: bool,
    locked: bool,
    keep: Option<String>,
    counts: bool,
    oid: Option<pg_sys::Oid>,
    /// Schema and table.
    name: Option<(String, String)>,
}

impl Policy {
    /// As `Hold::active` in [`held`]: members are picked out by PostgreSQL.
    fn all() -> Result<Vec<Self>> {
        let here = installation()?;
        let rows = query::rows(
            "SELECT action, context ->> 'policy', context ->> 'installation', context ->> 'locked', context ->> 'keep', \
                 context ->> 'max_events', table_oid, schema_name, table_name FROM audit.audit_events \
             WHERE operation = 'system' AND action IN ('set retention', 'drop retention') ORDER BY event_id",
            &[],
        )?;
        let mut policies: BTreeMap<String, Vec<Said>> = BTreeMap::new();
        for row in rows {
            let is_here = cell(&row, 2).as_ref() == Some(&here);
            let said = Said {
                dropped: text(&row, 0) == "drop retention",
                locked: text(&row, 3) == "true",
                keep: cell(&row, 4),
                counts: cell(&row, 5).is_some(),
                oid: cell(&row, 6).filter(|_| is_here).map(|table| oid(&table)),
                name: cell(&row, 7).zip(cell(&row, 8)),
            };
            policies.entry(text(&row, 1)).or_default().push(said);
        }
        let policies = policies.into_iter();
        Ok(policies
            .filter_map(|(name, said)| Self::in_force(name, &said))
            .collect())
    }

    /// Once locked, it is at least what each of its settings since then said, and dropping it says nothing.
    fn in_force(policy: String, said: &[Said]) -> Option<Self> {
        let locked = said.iter().position(|said| said.locked);
        let since = locked.unwrap_or(said.len().saturating_sub(1));
        let settings = || said[since..].iter().filter(|said| !said.dropped);
        let last = settings().next_back()?;
        // The table of the last setting, whatever it is called now; where that came with a restore, the one of its name.
        let exists = |oid: &pg_sys::Oid| !catalog::qualified_name(*oid).is_empty();
        let by_name = || relation(last.name.as_ref()?);
        let target = last.oid.filter(exists).or_else(by_name);
        let mut oids: Vec<_> = said.iter().filter_map(|said| said.oid).collect();
        let names = said.iter().filter_map(|said| said.name.as_ref());
        let mut names: Vec<_> = names.map(|(schema, table)| quoted(schema, table)).collect();
        oids.extend(target);
        names.extend(target.map(catalog::qualified_name));
        let start = xact::transaction_start();
        let cutoffs = settings().map(|said| {
            let keep = said
                .keep
                .as_deref()
                .and_then(|keep| CString::new(keep).ok());
            keep.map_or(i64::MIN, |keep| time::minus(start, &keep))
        });
        Some(Self {
            name: policy,
            locked: locked.is_some(),
            cutoff: cutoffs.min().unwrap_or(i64::MIN),
            by_number: settings().all(|said| said.counts),
            oids,
            names,
        })
    }
}

/// Events that are to go and that one policy decides over.
struct Kind {
    operation: String,
    oid: Option<pg_sys::Oid>,
    /// As SQL writes it.
    name: Option<String>,
    category: Option<String>,
    /// From before a restore: the OID is another database's.
    is_old: bool,
    /// Microseconds since 2000-01-01.
    newest: i64,
}

impl Kind {
    /// Events up to `floor` came with a restore.
    fn of(partition: &Partition, ids: &[i64], floor: i64) -> Result<Vec<Self>> {
        let rows = query::rows(
            &format!(
                "SELECT e.operation, e.table_oid, e.schema_name, e.table_name, e.category, e.event_id <= $2::pg_catalog.int8, \
                        pg_catalog.encode(pg_catalog.timestamptz_send(pg_catalog.max(e.occurred_at)), 'hex') \
                 FROM ONLY {} e JOIN pg_catalog.unnest($1::pg_catalog.int8[]) AS gone (id) ON e.event_id = gone.id GROUP BY 1, 2, 3, 4, 5, 6",
                partition.sql()
            ),
            &[Arg::Text(&query::array(ids)), Arg::Text(&floor.to_string())],
        )?;
        Ok(rows
            .into_iter()
            .map(|row| Self {
                operation: text(&row, 0),
                oid: cell(&row, 1).map(|table| oid(&table)),
                name: cell(&row, 2)
                    .zip(cell(&row, 3))
                    .map(|(schema, table)| quoted(&schema, &table)),
                category: cell(&row, 4),
                is_old: is(&row, 5),
                newest: micros(&row, 6),
            })
            .collect())
    }

    fn of_when(&self) -> String {
        let newest = time::to_json(self.newest);
        format!("The newest one that was to go is of {newest}.")
    }

    /// The most specific of the policies.
    fn policy<'a>(&self, policies: &'a [Policy]) -> Option<&'a Policy> {
        let named = |name: &str| policies.iter().find(|policy| policy.name == name);
        let own = if self.operation == "event" {
            let category = self.category.as_ref();
            category.and_then(|category| named(&format!("category {category}")))
        } else {
            let gone = self.is_old
                || self
                    .oid
                    .is_none_or(|oid| catalog::qualified_name(oid).is_empty());
            let by_oid = |policy: &Policy| {
                !self.is_old && self.oid.is_some_and(|oid| policy.oids.contains(&oid))
            };
            let by_name = |policy: &Policy| {
                gone && self
                    .name
                    .as_ref()
                    .is_some_and(|name| policy.names.contains(name))
            };
            policies
                .iter()
                .filter(|policy| by_oid(policy) || by_name(policy))
                .min_by_key(|policy| (!by_oid(policy), policy.cutoff))
        };
        own.or_else(|| named("default"))
    }
}

/// A table's name as SQL writes it.
pub fn quoted(schema: &str, table: &str) -> String {
    let (schema, table) = (
        catalog::quote_identifier(schema),
        catalog::quote_identifier(table),
    );
    format!("{schema}.{table}")
}

/// What is called so now.
pub fn relation((schema, table): &(String, String)) -> Option<pg_sys::Oid> {
    let schema = CString::new(schema.as_str()).ok()?;
    catalog::relation_oid(catalog::namespace_oid(&schema)?, table)
}
