//! From a statement to its events, in the user's transaction: the only part of `pg_attest` on the user's hot path.

pub mod baseline;
pub mod context;
pub mod event;
pub mod event_id;
pub mod guard;
pub mod image;
pub mod jsonb;
pub mod recorder;
mod row_ids;
pub mod sqlcommenter;
pub mod statement;
pub mod transition;
pub mod trigger;
pub mod truncate;
pub mod workspace;
pub mod writer;
