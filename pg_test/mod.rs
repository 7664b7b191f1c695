//! Tests that run inside `PostgreSQL`, each in a transaction that is rolled back.
//!
//! They compare the images that are built directly with what `PostgreSQL`'s own `to_jsonb` makes of the same rows.

/// Called by `cargo pgrx test`.
pub fn setup(_options: Vec<&str>) {}

/// Settings of the test cluster.
#[must_use]
pub fn postgresql_conf_options() -> Vec<&'static str> {
    vec![]
}

#[pgrx::pg_schema]
#[allow(clippy::expect_used)] // a test that panics has failed
mod tests {
    use pgrx::prelude::*;

    /// Fills a table of these columns with `rows`, and counts the rows whose image is not exactly `to_jsonb` of the row.
    fn mismatches(columns: &str, rows: &str) -> i64 {
        Spi::run(&format!(
            "SET LOCAL timezone = 'Asia/Kathmandu'; SET LOCAL datestyle = 'SQL, DMY'; SET LOCAL extra_float_digits = 0; \
             CREATE TABLE probe ({columns}); SELECT audit.attach('probe'); INSERT INTO probe {rows}; \
             SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL extra_float_digits = 1"
        ))
        .expect("the probe runs");
        Spi::get_one(
            "SELECT count(*) FROM ( \
               (SELECT new_values::text FROM audit.audit_events WHERE operation = 'insert' AND table_name = 'probe' \
                EXCEPT ALL SELECT to_jsonb(p)::text FROM probe p) \
               UNION ALL \
               (SELECT to_jsonb(p)::text FROM probe p \
                EXCEPT ALL SELECT new_values::text FROM audit.audit_events WHERE operation = 'insert' AND table_name = 'probe')) d",
        )
        .expect("the comparison runs")
        .expect("count is not null")
    }

    #[pg_test]
    fn integers_of_every_size_equal_to_jsonb() {
        let rows = "SELECT n::int8, greatest(least(n, 2147483647), -2147483648)::int4, (n % 32768)::int2 FROM ( \
             SELECT s * (power(10, e)::numeric + d)::int8 AS n \
             FROM generate_series(0, 18) e, generate_series(-2, 2) d, unnest('{1,-1}'::int[]) s \
             UNION ALL SELECT unnest('{9223372036854775807,-9223372036854775808,0}'::int8[]) \
             UNION ALL SELECT (random() * 1e18)::int8 FROM generate_series(1, 2000)) n";
        assert_eq!(mismatches("a int8, b int4, c int2", rows), 0);
    }

    #[pg_test]
    fn floats_and_numerics_equal_to_jsonb() {
        let rows = "SELECT n, n::float8, n::numeric FROM ( \
             SELECT ((random() - 0.5) * power(10, (random() * 60 - 30)::int))::float4 AS n FROM generate_series(1, 2000) \
             UNION ALL SELECT unnest('{NaN,Infinity,-Infinity,0,-0,1e-30,3.4e38}'::float4[])) n";
        assert_eq!(mismatches("a float4, b float8, c numeric", rows), 0);
    }

    #[pg_test]
    fn stored_jsonb_of_every_shape_equals_to_jsonb() {
        let rows = "SELECT j::jsonb, j::json, ARRAY[j::jsonb] FROM unnest(ARRAY[ \
             '1', '-1.50', '\"x\"', 'true', 'false', 'null', '[]', '{}', '[1, [2, {\"a\": [3.25]}]]', '{\"b\": {\"c\": 12345.678}}', \
             '[\"x\", 1]', '\"\"', '1e100']) j";
        assert_eq!(mismatches("a jsonb, b json, c jsonb[]", rows), 0);
    }

    /// More than 32 columns cross the stride at which JSONB entries hold offsets.
    #[pg_test]
    fn wide_rows_equal_to_jsonb() {
        let columns =
            (0..200).map(|n| format!("c{n} {}", ["int", "text", "numeric", "jsonb"][n % 4]));
        let values = (0..200).map(|n| match n % 4 {
            0 => format!("g + {n}"),
            1 => format!("CASE WHEN g % 3 = 0 THEN NULL ELSE repeat('x', g % 7) || {n} END"),
            2 => format!("g * 1.5 + {n}"),
            _ => format!("jsonb_build_object('k', g, 'n', {n}.5)"),
        });
        let rows = format!(
            "SELECT {} FROM generate_series(1, 50) g",
            values.collect::<Vec<_>>().join(", ")
        );
        assert_eq!(
            mismatches(&columns.collect::<Vec<_>>().join(", "), &rows),
            0
        );
    }

    #[pg_test]
    fn times_equal_to_jsonb_in_utc() {
        let rows = "SELECT t, t::timestamp, t::date, t::timestamp::time, i FROM unnest(ARRAY[ \
             'infinity', '-infinity', '2026-03-29 01:30+01', '1999-12-31 23:59:59.999999-11', '0044-03-15 BC', \
             '294276-12-31']::timestamptz[]) t, unnest('{1 mon,-1 day 02:03:04.5,0}'::interval[]) i";
        assert_eq!(
            mismatches(
                "a timestamptz, b timestamp, c date, d time, e interval",
                rows
            ),
            0
        );
    }

    /// The leaf of an event hashes its JSON as `jsonb_out` prints it: of each event, the payload's commitment is computed here from
    /// the text that SQL shows.
    #[pg_test]
    fn json_in_leaves_is_what_postgresql_prints() {
        Spi::run(
            "SET LOCAL timezone = 'UTC'; CREATE TABLE probe (id int PRIMARY KEY, j jsonb); SELECT audit.attach('probe'); \
             INSERT INTO probe SELECT row_number() OVER (), j::jsonb FROM unnest(ARRAY[ \
               'null', 'true', 'false', '\"\"', '[]', '{}', '[[]]', '[{}, [], {\"a\": []}]', '{\"\": {\"\": [1, \"1\", null]}}', \
               '\"\\u0001\\b\\f\\n\\r\\t\\\"\\\\/é\\u001f\\u007f\"', '0', '-0', '0.0', '-0.000', '1', '-1', '10', '9999', '10000', '100000000', \
               '1.5', '1.50', '-12345.678900', '0.00001', '1e-20', '-1e20', '1e1000', '1.000e-1000', '12345678901234567890123456789.123456789', \
               '[1, [2, [3, [4, [5, [6]]]]]]']) j; \
             INSERT INTO probe SELECT 1000 + g, to_jsonb(g * power(10, g % 37 - 18)::numeric * CASE WHEN g % 2 = 0 THEN 1 ELSE -1 END) \
               FROM generate_series(1, 500) g; \
             INSERT INTO probe SELECT 2000 + n, (SELECT jsonb_object_agg('k' || i, CASE i % 4 WHEN 0 THEN to_jsonb(i) WHEN 1 THEN to_jsonb(repeat('x', i)) \
               WHEN 2 THEN 'null' ELSE jsonb_build_array(i, i / 3.0) END) FROM generate_series(1, n) i) FROM generate_series(1, 120) n; \
             INSERT INTO probe VALUES (3000, (SELECT (repeat('[', 200) || '7' || repeat(']', 200))::jsonb))",
        )
        .expect("the probe runs");
        let wrong: Option<i64> = Spi::get_one(
            "SELECT count(*) FROM audit.audit_events e, \
               LATERAL (SELECT convert_to(new_values::text, 'UTF8') AS json, convert_to(row_key, 'UTF8') AS key) t \
             WHERE table_name = 'probe' AND operation = 'insert' AND substr(audit.event_leaf(event_id), 75, 32) IS DISTINCT FROM \
               sha256(convert_to(E'pg_attest/payload/v1\\n', 'UTF8') || uuid_send(salt) \
                      || '\\x000c' || int4send(length(key)) || key || '\\x000f' || int4send(length(json)) || json)",
        )
        .expect("the comparison runs");
        assert_eq!(wrong, Some(0));
        let compared: Option<i64> = Spi::get_one(
            "SELECT count(*) FROM audit.audit_events WHERE table_name = 'probe' AND operation = 'insert'",
        )
        .expect("the count runs");
        assert!(
            compared > Some(600),
            "only {compared:?} events were compared"
        );
    }

    /// A backlog that does not fit into memory comes out in the same order as one that does.
    #[pg_test]
    fn backlogs_are_sorted_on_disk() {
        use crate::ledger::grow::NewLeaf;
        use crate::ledger::order::{Due, Sorter};
        let mut seed = 7u64;
        let mut random = |below: u64| {
            // Knuth's MMIX generator
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let events: Vec<Due> = (0..5000)
            .map(|event_id| Due {
                xact_id: random(40),
                statement_id: i32::try_from(random(5)).expect("small"),
                leaf: NewLeaf {
                    event_id,
                    hash: [u8::try_from(random(256)).expect("a byte"); 32],
                },
            })
            .collect();
        let sorted = |in_memory: usize| -> Vec<_> {
            let mut sorter = Sorter::keeping(in_memory);
            // As the events of a heap come: what a row needed is freed before the next.
            let mut of_a_row = crate::pg::memory::Context::short_lived(c"a row");
            for due in &events {
                of_a_row.run(|| sorter.push(*due));
                of_a_row.reset();
            }
            assert_eq!(sorter.len(), 5000);
            let key = |due: Due| {
                (
                    due.xact_id,
                    due.statement_id,
                    due.leaf.event_id,
                    due.leaf.hash,
                )
            };
            sorter.into_sorted().map(key).collect()
        };
        let expected = sorted(10_000);
        assert!(expected.is_sorted());
        for in_memory in [50, 1000, 4999] {
            assert_eq!(sorted(in_memory), expected, "{in_memory} in memory");
        }
    }
}
