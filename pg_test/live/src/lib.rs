//! What the live-cluster tests share: throw-away clusters, SQL helpers and the replay oracle.
//!
//! A test of this crate talks to a real server over a socket, because what it shows (commits,
//! two sessions, a crash, a restore) cannot be shown inside one rolled-back statement.
//!
//! ```text
//! PG_ATTEST_BINDIR=/usr/lib/postgresql/15/bin PG_ATTEST_RUNAS=postgres cargo test -p live-tests
//! ```
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PG_ATTEST_BINDIR` | `bin` of a PostgreSQL that has pg_attest installed; required |
//! | `PG_ATTEST_OLD_BINDIR` | `bin` of an older PostgreSQL with pg_attest, for pg_upgrade; default: the same |
//! | `PG_ATTEST_RUNAS` | user for servers and client tools; required when the tests run as root |
//! | `PG_ATTEST_TMP` | short folder for clusters and sockets; default: the system's temporary folder |
//! | `PG_ATTEST_KEEP` | `1`: leave the scratch folder (data, logs) for inspection |
//! | `PG_ATTEST_PGBOUNCER` | path of pgbouncer; default `/usr/sbin/pgbouncer` |
//! | `PG_ATTEST_FAKETIME` | path of libfaketime; default `/usr/lib/*/faketime/libfaketime.so.1` |
//! | `PG_ATTEST_INFLUXD`, `PG_ATTEST_EXPORTER`, `PG_ATTEST_CHROMIUM` | of `tests/readers`: programs; default: where Debian has them |
//! | `PG_ATTEST_MERMAID` | of `tests/readers`: Mermaid as one script, `dist/mermaid.min.js` of its npm package |
//! | `PG_ATTEST_PYTHON` | a Python with the packages of `python/requirements.txt` and `crates/attest-log/interop/requirements.txt`, for `tests/readers` those of `python/readers.txt` |
//! | `PG_ATTEST_WITHOUT` | comma list of what this machine lacks and tests may leave out: `plperl`, `hstore`, `pgbouncer`, `faketime`, `influxdb`, `prometheus`, `chromium` |
//! | `PG_ATTEST_PROPTEST_CASES`, `PG_ATTEST_PROPTEST_SEED` | see `tests/property` |

#![allow(
    clippy::doc_markdown,
    reason = "PostgreSQL and pg_attest are names, not items"
)]

pub mod cluster;
pub mod database;
pub mod env;
pub mod oracle;
pub mod scratch;
pub mod sql;
pub mod upgrade;
pub mod wait;

pub use cluster::Cluster;
pub use database::{Database, own_cluster, shared};
pub use sql::{ServerError, Sql};
pub use wait::wait_until;
