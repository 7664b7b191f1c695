//! Other people's software reads what the log tells: each test starts a real program, and compares what it read.
//!
//! A stage of its own (`cargo xtask test --only readers`), for these programs are large.

#![allow(
    clippy::doc_markdown,
    reason = "PostgreSQL, InfluxDB and pg_attest are names, not items"
)]

mod browser;
mod influxdb;
mod mermaid;
mod picture;
mod process;
mod prometheus;
mod report;
