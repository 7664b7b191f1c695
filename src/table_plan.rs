//! What is captured of one relation: its identity, columns, key and settings.
//!
//! A plan is built from the relation itself and from the JSON argument of its triggers, and kept until the relcache
//! invalidates any of the relations it was built from.

use crate::capture::workspace::Workspace;
use crate::error::{AttestError, Result, SqlState};
use crate::pg::catalog;
use crate::pg::cell::Backend;
use crate::pg::fmgr::Column;
use crate::pg::invalidation;
use crate::pg::memory::Context;
use crate::pg::relation::lock;
use crate::pg::relation::{OpenRelation, RelationRef};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

/// What an UPDATE event keeps of its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptureMode {
    /// The whole row, before and after.
    Full,
    /// The changed columns alone.
    Diff,
}

/// What TRUNCATE leaves in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTruncate {
    /// One `truncate` event.
    Record,
    /// One `delete` event per row.
    Rows,
    /// It is refused.
    Forbid,
}

/// The settings of an attached table, as `audit.attach` took them: the triggers' argument.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableSettings {
    pub capture: CaptureMode,
    pub operations: Vec<String>,
    pub exclude: Vec<String>,
    pub mask: Vec<String>,
    /// Whether `mask` was left to us: then columns added later are looked at too.
    pub mask_secrets: bool,
    pub key_columns: Option<Vec<String>>,
    pub require: Vec<String>,
    pub on_truncate: OnTruncate,
    pub skip_unchanged: bool,
    /// The column that has an event's `request_id` where the context has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_column: Option<String>,
    /// The same of `process_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_column: Option<String>,
}

impl TableSettings {
    /// Reads a trigger's argument.
    pub fn from_argument(argument: Option<&CStr>, table: &str) -> Result<Self> {
        let text = argument.map(CStr::to_bytes).unwrap_or_default();
        serde_json::from_slice(text).map_err(|error| {
            AttestError::new(
                SqlState::ERRCODE_INVALID_OBJECT_DEFINITION,
                format!("the audit triggers of {table} are damaged"),
            )
            .detail(format!(
                "Their argument is not what audit.attach() writes: {error}."
            ))
            .hint("Call audit.attach() on the table again.")
        })
    }

    pub fn records(&self, operation: &str) -> bool {
        self.operations.iter().any(|name| name == operation)
    }

    /// Whether events take an id from the column.
    pub fn is_id_column(&self, name: &str) -> bool {
        [&self.request_column, &self.process_column]
            .into_iter()
            .any(|column| column.as_deref() == Some(name))
    }
}

/// The table that events are recorded under: the root of a partition tree, else the relation itself.
pub struct Identity {
    pub oid: pg_sys::Oid,
    pub schema: String,
    pub table: String,
}

/// A recorded column.
pub struct PlannedColumn {
    pub column: Column,
    pub masked: bool,
}

/// What is captured of one relation.
pub struct TablePlan {
    pub identity: Identity,
    /// Partitioned tables or inheritance parents above, nearest first.
    pub ancestors: Vec<pg_sys::Oid>,
    /// Whether the relation is one partition of its identity's table.
    pub is_partition: bool,
    pub settings: TableSettings,
    /// In JSONB key order: by length of the name, then bytes.
    pub columns: Vec<PlannedColumn>,
    /// Positions in `columns`, in the table's own order.
    pub table_order: Vec<usize>,
    pub key: Vec<Column>,
    /// Positions in `key` of what a row keeps when it moves between partitions.
    pub steady_key: Vec<usize>,
    /// Positions in `columns` of those that have ids.
    pub request_column: Option<usize>,
    pub process_column: Option<usize>,
    /// Whether printing needs `search_path` and `lc_monetary` pinned.
    pub pin_names: bool,
    /// What the table's next statement is recorded in.
    pub workspace: Cell<Option<Box<Workspace>>>,
    /// Holds what the columns' functions allocate.
    _home: Context,
}

struct Cache {
    epoch: u64,
    plans: HashMap<pg_sys::Oid, Rc<TablePlan>>,
}

static CACHE: Backend<RefCell<Option<Cache>>> = Backend::refcell(None);

/// The plan of a relation that is open; `argument` is its trigger's.
pub fn of_relation(relation: RelationRef<'_>, argument: Option<&CStr>) -> Result<Rc<TablePlan>> {
    let oid = relation.oid();
    if let Some(cache) = CACHE.borrow().as_ref()
        && cache.epoch == invalidation::epoch()
        && let Some(plan) = cache.plans.get(&oid)
    {
        return Ok(Rc::clone(plan));
    }
    let epoch = invalidation::epoch();
    let plan = Rc::new(build(relation, argument)?);
    invalidation::watch(oid);
    for ancestor in &plan.ancestors {
        invalidation::watch(*ancestor);
    }
    let mut slot = CACHE.borrow_mut();
    let cache = slot.get_or_insert_with(|| Cache {
        epoch,
        plans: HashMap::new(),
    });
    if cache.epoch != epoch {
        cache.plans.clear();
        cache.epoch = epoch;
    }
    // An invalidation while we built makes the epochs differ at the next look-up, so that nothing stale is served.
    cache.plans.insert(oid, Rc::clone(&plan));
    Ok(plan)
}

fn build(relation: RelationRef<'_>, argument: Option<&CStr>) -> Result<TablePlan> {
    let home = Context::long_lived(c"pg_attest table plan");
    let ancestors = if relation.is_partition() {
        catalog::partition_ancestors(relation.oid())
    } else {
        catalog::inheritance_ancestors(relation.oid())
    };
    let root = match ancestors.last() {
        Some(root) if relation.is_partition() => {
            Some(OpenRelation::table(*root, lock::ACCESS_SHARE))
        }
        _ => None,
    };
    let identified = root.as_ref().map_or(relation, OpenRelation::relation);
    let identity = Identity {
        oid: identified.oid(),
        schema: catalog::namespace_name(identified.namespace()),
        table: identified.name(),
    };
    let settings =
        TableSettings::from_argument(argument, &format!("{}.{}", identity.schema, identity.table))?;

    let mut columns: Vec<PlannedColumn> = Column::all_of(relation, &home)
        .into_iter()
        .filter(|column| !named(&settings.exclude, column))
        .map(|column| PlannedColumn {
            masked: named(&settings.mask, &column),
            column,
        })
        .collect();
    columns.sort_by(|a, b| {
        let (a, b) = (a.column.name(), b.column.name());
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    });
    let mut table_order: Vec<usize> = (0..columns.len()).collect();
    table_order.sort_by_key(|position| columns[*position].column.index());

    let key = key_of(relation, identified, &settings, &home);
    let steady_key = if identified.kind() == 'p' {
        steady_key_of(identified.oid(), &key)
    } else {
        (0..key.len()).collect()
    };
    let position = |name: &Option<String>| {
        let name = name.as_ref()?.as_bytes();
        columns
            .iter()
            .position(|planned| planned.column.name() == name)
    };
    let request_column = position(&settings.request_column);
    let process_column = position(&settings.process_column);
    let pin_names = columns
        .iter()
        .map(|planned| &planned.column)
        .chain(&key)
        .any(Column::depends_on_session);
    Ok(TablePlan {
        is_partition: root.is_some(),
        identity,
        ancestors,
        settings,
        columns,
        table_order,
        steady_key,
        key,
        request_column,
        process_column,
        pin_names,
        workspace: Cell::new(None),
        _home: home,
    })
}

fn named(names: &[String], column: &Column) -> bool {
    names.iter().any(|name| name.as_bytes() == column.name())
}

/// The columns that identify a row, by name: a partition has its root's key, at positions of its own. None at all when one of
/// them is masked or excluded: a column became the key after it was hidden, and stays hidden.
fn key_of(
    relation: RelationRef<'_>,
    identified: RelationRef<'_>,
    settings: &TableSettings,
    home: &Context,
) -> Vec<Column> {
    let names: Vec<Vec<u8>> = if let Some(names) = &settings.key_columns {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    } else {
        let of_root = Column::all_of(identified, home);
        let name_at = |index: usize| {
            of_root
                .iter()
                .find(|column| column.index() == index)
                .map(|column| column.name().to_vec())
        };
        identified
            .key_columns()
            .into_iter()
            .filter_map(name_at)
            .collect()
    };
    let mut columns = Column::all_of(relation, home);
    let key: Vec<Column> = names
        .iter()
        .filter_map(|name| {
            let place = columns.iter().position(|column| column.name() == name)?;
            Some(columns.swap_remove(place))
        })
        .collect();
    let is_hidden =
        |column: &Column| named(&settings.mask, column) || named(&settings.exclude, column);
    if key.iter().any(is_hidden) {
        Vec::new()
    } else {
        key
    }
}

/// Positions in `key` of the columns that no partition key in the tree contains: a row keeps them when it moves. All of
/// them, where none is left.
fn steady_key_of(root: pg_sys::Oid, key: &[Column]) -> Vec<usize> {
    let moving: Vec<Vec<u8>> = catalog::partition_key_columns(root);
    let steady: Vec<usize> = (0..key.len())
        .filter(|position| !moving.iter().any(|name| name == key[*position].name()))
        .collect();
    if steady.is_empty() {
        (0..key.len()).collect()
    } else {
        steady
    }
}
