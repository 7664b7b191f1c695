//! What honest administrators do to the log's tables, and to the settings that rows are shown under: verification has nothing to
//! say about it.

use anyhow::{Context, ensure};
use live_tests::{Sql, shared};

use crate::no_alarm::fill;
use crate::seal::check;

/// An honest change: its statements, each a transaction of its own, and a query whose answer they change. So no change can fail to
/// happen unnoticed.
struct Change {
    statements: &'static [&'static str],
    changes: &'static str,
}

const fn change(statements: &'static [&'static str], changes: &'static str) -> Change {
    Change {
        statements,
        changes,
    }
}

/// The files of this month's partition and of the log's other tables.
const FILES: &str = "SELECT pg_relation_filenode($P), pg_relation_filenode('audit.tiles'), pg_relation_filenode('audit.checkpoints'), pg_relation_filenode('audit.tree_edge')";
const FILE: &str = "SELECT pg_relation_filenode($P)";
const INDEXES: &str = "SELECT pg_relation_filenode(i.indexrelid) FROM pg_index i WHERE i.indrelid IN ($P, 'audit.tiles'::regclass, 'audit.checkpoints'::regclass)";

/// $P is the partition of this month.
const CHANGES: &[Change] = &[
    change(
        &[
            "VACUUM FULL audit.audit_events",
            "VACUUM FULL audit.tiles",
            "VACUUM FULL audit.checkpoints",
            "VACUUM FULL audit.tree_edge",
        ],
        FILES,
    ),
    change(&[CLUSTER], FILE),
    change(
        &[
            "REINDEX TABLE audit.audit_events",
            "REINDEX TABLE audit.tiles",
            "REINDEX TABLE audit.checkpoints",
        ],
        INDEXES,
    ),
    change(
        &["VACUUM (FREEZE) audit.audit_events", "ANALYZE"],
        "SELECT relfrozenxid FROM pg_class WHERE oid = $P",
    ),
    change(
        &[
            "ALTER TABLE t ADD COLUMN extra int DEFAULT 5",
            "ALTER TABLE t RENAME COLUMN v TO w",
            "ALTER TABLE t ALTER n TYPE text",
            "ALTER TABLE t RENAME TO u",
        ],
        "SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = coalesce(to_regclass('t'), to_regclass('u')) AND attnum > 0",
    ),
    change(
        &[
            "CREATE SCHEMA elsewhere",
            "ALTER TABLE u SET SCHEMA elsewhere",
        ],
        "SELECT to_regclass('elsewhere.u')",
    ),
    change(
        &[
            "SET timezone = 'Asia/Kathmandu'",
            "SET datestyle = 'SQL, DMY'",
            "SET extra_float_digits = 0",
            "SET bytea_output = 'escape'",
            "SET intervalstyle = 'iso_8601'",
            "SET search_path = ''",
        ],
        "SELECT name, setting FROM pg_settings WHERE source = 'session'",
    ),
    change(
        &[OF_DATABASE],
        "SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
    ),
    change(&[REPACK], FILE),
    change(
        &["DROP TABLE elsewhere.u"],
        "SELECT to_regclass('elsewhere.u')",
    ),
];

const CLUSTER: &str = "DO $$ BEGIN
    EXECUTE (SELECT format('CLUSTER %s USING %I', $P, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $P AND i.indisprimary);
    END $$";

const OF_DATABASE: &str = "DO $$
    DECLARE setting text;
    BEGIN
        FOREACH setting IN ARRAY ARRAY['timezone = ''Pacific/Chatham''', 'datestyle = ''German''', 'extra_float_digits = 0', 'bytea_output = ''escape''',
            'lc_monetary = ''C.UTF-8''', 'lc_numeric = ''C.UTF-8''', 'lc_time = ''C.UTF-8''', 'lc_messages = ''C.UTF-8''', 'intervalstyle = ''sql_standard'''] LOOP
            EXECUTE format('ALTER DATABASE %I SET %s', current_database(), setting);
        END LOOP;
    END $$";

/// As pg_repack does: the rows of a partition in another order, in another file.
const REPACK: &str = "DO $$
    BEGIN
        CREATE TABLE public.copied AS SELECT * FROM audit.audit_events WHERE tableoid = $P;
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER refuse_write, DISABLE TRIGGER refuse_truncate', $P);
        EXECUTE format('TRUNCATE %s', $P);
        EXECUTE format('INSERT INTO %s SELECT * FROM public.copied ORDER BY event_id DESC', $P);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER refuse_write, ENABLE ALWAYS TRIGGER refuse_truncate', $P);
        DROP TABLE public.copied;
    END $$";

#[test]
fn rewrites_and_settings_of_the_log_s_tables() {
    shared(|db| {
        let mut client = db.connect()?;
        fill(&mut client)?;
        client.run("SELECT audit.seal()")?;
        let month =
            client.one("SELECT DISTINCT tableoid::regclass::text FROM audit.audit_events")?;
        let at = |sql: &str| sql.replace("$P", &format!("'{month}'::regclass"));
        for Change {
            statements,
            changes,
        } in CHANGES
        {
            let before = client.table(&at(changes))?;
            for statement in *statements {
                client.run(&at(statement))?;
            }
            let after = client.table(&at(changes))?;
            // Each cell: a statement that changes nothing is not hidden by the others.
            let cells = |lines: &[String]| {
                lines
                    .join("|")
                    .split('|')
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let is_of_files = changes.contains("filenode");
            let same = cells(&before)
                .iter()
                .any(|cell| cells(&after).contains(cell));
            ensure!(
                before != after && !(is_of_files && same),
                "{statements:?} changed too little: {before:?}, then {after:?}"
            );
            let broken = client
                .one("SELECT value FROM audit.status() WHERE item = 'broken guards of the log'")?;
            ensure!(broken == "0", "{statements:?}: {broken} guards are broken");
            client.run("SELECT audit.seal()")?;
            check(&mut client).with_context(|| format!("{statements:?}"))?;
            // A session that has the database's settings.
            check(&mut db.connect()?).with_context(|| format!("{statements:?}, seen anew"))?;
        }
        Ok(())
    });
}
