//! Property test: whatever tables, triggers, settings and statements come together, the trail
//! rebuilds the tables, row triggers saw the same changes, and audit changed nothing but the trail.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PG_ATTEST_PROPTEST_CASES` | how many random cases; default 120, some 75 s |
//! | `PG_ATTEST_PROPTEST_SEED` | a number; the same number gives the same cases; default 1 |
//!
//! A failing case is shrunk, and printed as a script for psql on an empty database.

#![allow(
    clippy::doc_markdown,
    reason = "PostgreSQL and pg_attest are names, not items"
)]

mod ddl;
mod dml;
mod judge;
mod model;
mod script;
mod strategy;
mod triggers;
mod types;

use anyhow::{Context, Result};
use live_tests::cluster::SUPERUSER;
use live_tests::{Cluster, Database, Sql};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use ddl::Features;

/// Runs of shrinking: each costs as much as a case.
const SHRINK: u32 = 400;

#[test]
fn random_workloads_replay() {
    if let Err(error) = explore() {
        panic!("{error:#}");
    }
}

fn number(variable: &str, default: u32) -> Result<u32> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable}={text} is not a number")),
        Err(_) => Ok(default),
    }
}

fn explore() -> Result<()> {
    let cases = number("PG_ATTEST_PROPTEST_CASES", 120)?;
    let seed = number("PG_ATTEST_PROPTEST_SEED", 1)?;
    let cluster = Cluster::start_new(&[("autovacuum", "off")])?;
    let mut client = cluster.connect("postgres", SUPERUSER)?;
    let features = Features {
        version: cluster.version()?,
        xml: client.attempt("SELECT '<a/>'::xml")?.is_none(),
    };
    let config = Config {
        cases,
        max_shrink_iters: SHRINK,
        failure_persistence: None,
        source_file: None,
        ..Config::default()
    };
    let mut bytes = [0_u8; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let plain = Database::empty(&cluster)?;
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy::case(), |case| {
        judge::judge(&cluster, &plain, &case, features)
            .map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, case)) => {
            let (script, _) = judge::script(&case, features);
            anyhow::bail!(
                "seed {seed}: {reason}\n\n-- the smallest failing case, for psql on an empty database:\n{script}\n\
                 server's log:\n{}",
                cluster.log_tail("TRAP", 10)
            )
        }
        Err(TestError::Abort(reason)) => anyhow::bail!("seed {seed}: {reason}"),
    }
}
