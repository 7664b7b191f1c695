//! Tests of pg_attest against a live cluster: what one rolled-back session cannot show.
//!
//! One file per subject; each test is named after its case in the list of edge cases.

mod dump;
