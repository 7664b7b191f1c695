//! Tests of pg_attest against a live cluster: what one rolled-back session cannot show.
//!
//! One file per subject; each test is named after its case in the list of edge cases. How to run
//! them: see the library's own documentation (`src/lib.rs`).

#![allow(
    clippy::doc_markdown,
    reason = "PostgreSQL and pg_attest are names, not items"
)]

mod archive;
mod archive_harm;
mod archive_queries;
mod archive_s3;
mod archive_writers;
mod attest_cli;
mod clock;
mod concurrency; // 32, 33
mod context;
mod crash; // 36
mod declared;
mod demo;
mod disk; // 37
mod docs;
mod dump; // 34
mod emptied;
mod erased_bytes;
mod events;
mod executor; // 16, 22
mod extension; // 35, 38
mod grafana;
mod hold_ups;
mod indexes; // 36
mod kept_elsewhere;
mod large_log;
mod lineage;
mod memory; // 29, 30
mod new_pages;
mod no_alarm;
mod past;
mod pooling;
mod replication; // 23
mod retention;
mod retention_crash;
mod rewrites;
mod roles; // 2–7
mod seal;
mod seal_crash;
mod signing;
mod summaries;
mod tamper;
mod transactions; // 24
mod upkeep;
mod volume;
mod worker;
