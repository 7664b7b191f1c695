//! Renders the schema of a case: tables, partitions, foreign keys, triggers, attachments.

use std::fmt::Write;

use crate::model::{Case, Key, Partitions, Reference, Table, TriggerKind};
use crate::script::Script;
use crate::triggers;
use crate::types::{self, Type};

/// A table as it comes out: what statements have to know of it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent properties")]
pub struct Shape {
    pub name: String,
    /// Conflict target and key: `id`, `id, part`, or none.
    pub key: Option<&'static str>,
    pub identity: bool,
    pub columns: Vec<&'static Type>,
    pub has_parent: bool,
    pub leaves: Vec<String>,
    pub diff: bool,
    /// 18 has virtual generated columns beside stored ones.
    pub virtual_column: bool,
    /// A BEFORE trigger of this table writes to another: statements overlap, order tells less.
    pub overlaps: bool,
}

/// What the server can do.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    pub version: u32,
    pub xml: bool,
}

impl Case {
    pub fn shapes(&self, features: Features) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = Vec::new();
        for (i, table) in self.tables.iter().enumerate() {
            let name = format!("w.t{i}");
            let parent_has_key = match shapes.first() {
                None => {
                    table.key != Key::Composite
                        && table.partitions == Partitions::None
                        && table.key != Key::None
                }
                Some(first) => first.key == Some("id"),
            };
            let partitioned = table.partitions != Partitions::None;
            let key = match table.key {
                Key::None => None,
                Key::Composite => Some("id, part"),
                _ if partitioned => Some("id, part"),
                _ => Some("id"),
            };
            shapes.push(Shape {
                key,
                identity: table.key == Key::Identity,
                columns: table
                    .columns
                    .iter()
                    .map(|n| types::pick(*n, features.xml))
                    .collect(),
                has_parent: table.parent.is_some() && parent_has_key,
                leaves: leaves(&name, table.partitions),
                diff: table.attach.diff && key.is_some(),
                virtual_column: table.generated
                    && features.version >= 180_000
                    && table.rows % 2 == 1,
                overlaps: table.triggers.iter().any(|trigger| {
                    matches!(
                        trigger.kind,
                        TriggerKind::BeforeRowWritesOther | TriggerKind::BeforeStatementWritesOther
                    )
                }),
                name,
            });
        }
        shapes
    }

    /// Everything up to the first transaction.
    pub fn schema(&self, shapes: &[Shape], features: Features, script: &mut Script) {
        script.sql(types::PRELUDE);
        script.audit("CREATE EXTENSION pg_attest");
        script.sql("CREATE TABLE w.log (what text, id int)");
        for (table, shape) in self.tables.iter().zip(shapes) {
            create(table, shape, features, script);
        }
        if self.shadow {
            script.sql(live_tests::oracle::shadow_schema());
        }
        for (i, (table, shape)) in self.tables.iter().zip(shapes).enumerate() {
            for (k, trigger) in table.triggers.iter().enumerate() {
                let other = &shapes[usize::from(trigger.other) % shapes.len()];
                script.sql(&triggers::render(
                    trigger,
                    &format!("w.f{i}_{k}"),
                    shape,
                    other,
                ));
            }
            if self.shadow && shape.has_shadow() {
                script.sql(&live_tests::oracle::shadow_triggers(&shape.name));
            }
            script.audit(&attach(table, shape));
        }
        script.audit("SELECT audit.attach('w.log')");
        for (table, shape) in self.tables.iter().zip(shapes) {
            if table.partitions == Partitions::Attached {
                attach_leaf(shape, script);
            }
        }
    }
}

impl Shape {
    /// Whether row triggers can be asked for the image: `to_jsonb` refuses some json documents, and
    /// virtual columns have no value in triggers.
    pub fn has_shadow(&self) -> bool {
        !self.diff
            && !self.virtual_column
            && self.columns.iter().all(|column| column.name != "json")
    }
}

fn leaves(name: &str, partitions: Partitions) -> Vec<String> {
    let suffixes: &[&str] = match partitions {
        Partitions::None => &[],
        Partitions::Range | Partitions::Hash => &["a", "b"],
        Partitions::List | Partitions::TwoLevel | Partitions::Attached => &["a", "b", "c"],
    };
    suffixes
        .iter()
        .map(|suffix| format!("{name}_{suffix}"))
        .collect()
}

/// Column definitions in order.
fn columns(table: &Table, shape: &Shape) -> Vec<String> {
    let mut columns = vec!["id int".to_owned()];
    if shape.identity {
        columns[0].push_str(" GENERATED BY DEFAULT AS IDENTITY");
    }
    if table.dropped_column {
        columns.push("gone text DEFAULT 'gone'".into());
    }
    columns.push("part int NOT NULL DEFAULT 0".into());
    if shape.has_parent {
        let default = if table.parent == Some(Reference::SetDefault) {
            " DEFAULT 1"
        } else {
            ""
        };
        columns.push(format!("ref int{default}"));
    }
    columns.push("n int NOT NULL DEFAULT 0".into());
    for (i, column) in shape.columns.iter().enumerate() {
        columns.push(format!("c{i} {}", column.name));
    }
    if table.generated {
        let kind = if shape.virtual_column {
            "VIRTUAL"
        } else {
            "STORED"
        };
        columns.push(format!(
            "g int GENERATED ALWAYS AS (coalesce(id, 0) * 1000 + n) {kind}"
        ));
    }
    columns
}

fn create(table: &Table, shape: &Shape, features: Features, script: &mut Script) {
    let name = &shape.name;
    let mut columns = columns(table, shape);
    if let Some(key) = shape.key {
        columns.push(format!("PRIMARY KEY ({key})"));
    }
    let (by, parts): (&str, &[&str]) = match table.partitions {
        Partitions::None => ("", &[]),
        Partitions::Range => (
            " PARTITION BY RANGE (part)",
            &[
                "@_a PARTITION OF @ FOR VALUES FROM (0) TO (2)",
                "@_b PARTITION OF @ FOR VALUES FROM (2) TO (4)",
            ],
        ),
        Partitions::List => (
            " PARTITION BY LIST (part)",
            &[
                "@_a PARTITION OF @ FOR VALUES IN (0, 1)",
                "@_b PARTITION OF @ FOR VALUES IN (2, 3)",
                "@_c PARTITION OF @ DEFAULT",
            ],
        ),
        Partitions::Attached => (
            " PARTITION BY LIST (part)",
            &[
                "@_a PARTITION OF @ FOR VALUES IN (0, 1)",
                "@_b PARTITION OF @ FOR VALUES IN (2, 3)",
            ],
        ),
        Partitions::Hash => (
            " PARTITION BY HASH (part)",
            &[
                "@_a PARTITION OF @ FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
                "@_b PARTITION OF @ FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            ],
        ),
        Partitions::TwoLevel => (
            " PARTITION BY RANGE (part)",
            &[
                "@_m PARTITION OF @ FOR VALUES FROM (0) TO (3) PARTITION BY HASH (id)",
                "@_a PARTITION OF @_m FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
                "@_b PARTITION OF @_m FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
                "@_c PARTITION OF @ FOR VALUES FROM (3) TO (6)",
            ],
        ),
    };
    script.sql(&format!(
        "CREATE TABLE {name} (\n    {}\n){by}",
        columns.join(",\n    ")
    ));
    for part in parts {
        script.sql(&format!("CREATE TABLE {}", part.replace('@', name)));
    }
    if table.rows > 0 {
        // Identity columns take explicit values too: the sequence starts above them.
        script.sql(&format!(
            "INSERT INTO {name} (id, part, n) SELECT i, i % 4, i FROM generate_series(1, {}) i",
            table.rows
        ));
        if shape.identity {
            script.sql(&format!("ALTER TABLE {name} ALTER id RESTART WITH 50"));
        }
    }
    if table.dropped_column {
        script.sql(&format!("ALTER TABLE {name} DROP COLUMN gone"));
    }
    if let Some((kind, value)) = table.fast_default {
        let kind = types::pick(kind, features.xml);
        let value = kind.sql(value);
        // A subquery is no default.
        let value = if value.starts_with('(') {
            "'a default'".into()
        } else {
            value
        };
        script.sql(&format!(
            "ALTER TABLE {name} ADD COLUMN f {} DEFAULT {value}",
            kind.name
        ));
    }
    if shape.has_parent {
        let action = match table.parent {
            Some(Reference::SetNull) => "ON UPDATE SET NULL ON DELETE SET NULL",
            Some(Reference::SetDefault) => "ON UPDATE CASCADE ON DELETE SET DEFAULT",
            Some(Reference::Deferred) => "ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED",
            _ => "ON UPDATE CASCADE ON DELETE CASCADE",
        };
        script.sql(&format!(
            "ALTER TABLE {name} ADD FOREIGN KEY (ref) REFERENCES w.t0 (id) {action}"
        ));
    }
}

/// A leaf with its columns in another order and a hole among them, attached to an audited table.
fn attach_leaf(shape: &Shape, script: &mut Script) {
    let name = &shape.name;
    script.sql(&format!(
        "DO $$
DECLARE definition text;
BEGIN
    SELECT string_agg(format('%I %s%s%s', attname, format_type(atttypid, atttypmod),
               CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END,
               CASE WHEN attgenerated = 's' THEN format(' GENERATED ALWAYS AS (%s) STORED', pg_get_expr(adbin, adrelid))
                    WHEN attgenerated = 'v' THEN format(' GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(adbin, adrelid))
                    ELSE '' END), ', ' ORDER BY attnum DESC)
    INTO definition
    FROM pg_catalog.pg_attribute LEFT JOIN pg_catalog.pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
    WHERE attrelid = '{name}'::regclass AND attnum > 0 AND NOT attisdropped;
    EXECUTE 'CREATE TABLE {name}_c (hole text, ' || definition || ')';
END $$"
    ));
    script.sql(&format!("ALTER TABLE {name}_c DROP COLUMN hole"));
    script.sql(&format!(
        "ALTER TABLE {name} ATTACH PARTITION {name}_c FOR VALUES IN (4, 5)"
    ));
}

fn attach(table: &Table, shape: &Shape) -> String {
    let options = &table.attach;
    let mut call = format!("SELECT audit.attach('{}', baseline => true", shape.name);
    if shape.diff {
        call.push_str(", capture => 'diff'");
    }
    if options.keep_unchanged {
        call.push_str(", skip_unchanged => false");
    }
    if options.exclude && !shape.columns.is_empty() {
        call.push_str(", exclude => '{c0}'");
    }
    let masked = if options.mask && shape.columns.len() > 1 {
        shape.columns.len() - 1
    } else {
        0
    };
    let _ = write!(
        call,
        ", mask => '{{{}}}'",
        if masked > 0 {
            format!("c{masked}")
        } else {
            String::new()
        }
    );
    if options.rows_on_truncate {
        call.push_str(", on_truncate => 'rows'");
    }
    call.push(')');
    call
}
