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
}
