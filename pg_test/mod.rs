//! Tests that run inside PostgreSQL, each in a transaction that is rolled back.

/// Called by `cargo pgrx test`.
pub fn setup(_options: Vec<&str>) {}

/// Settings of the test cluster.
#[must_use]
pub fn postgresql_conf_options() -> Vec<&'static str> {
    vec![]
}
