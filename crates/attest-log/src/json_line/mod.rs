//! Events as JSON Lines, the form in which an export carries them: docs/log-format.md, section "Events".
//!
//! One flat object a line: the columns' names as keys, NULL left out, `leaf_index` before them. What is JSON in the
//! database is a JSON *string* here, because the commitment is over PostgreSQL's exact text.

mod plain;
mod read;
mod write;

pub use read::LineReader;
pub use write::write;

/// How a column's value stands in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A number.
    Integer,
    /// A string.
    Text,
    /// A string of hex digits.
    Hex,
    /// An array of strings or nulls.
    List,
}

/// The keys in the order in which they are written: `leaf_index`, then the columns, each at its tag.
const KEYS: [(&str, Form); 36] = [
    ("leaf_index", Form::Integer),
    ("event_id", Form::Integer),
    ("occurred_at", Form::Integer),
    ("captured_at", Form::Integer),
    ("xact_id", Form::Integer),
    ("statement_id", Form::Integer),
    ("backend_pid", Form::Integer),
    ("table_oid", Form::Integer),
    ("operation", Form::Text),
    ("salt", Form::Hex),
    ("schema_name", Form::Text),
    ("table_name", Form::Text),
    ("row_key", Form::Text),
    ("old_row_key", Form::Text),
    ("old_values", Form::Text),
    ("new_values", Form::Text),
    ("changed_columns", Form::List),
    ("session_user_name", Form::Text),
    ("effective_role", Form::Text),
    ("app_user_id", Form::Text),
    ("request_id", Form::Text),
    ("process_id", Form::Text),
    ("session_id", Form::Text),
    ("tenant_id", Form::Text),
    ("reason", Form::Text),
    ("application_name", Form::Text),
    ("client_addr", Form::Text),
    ("action", Form::Text),
    ("category", Form::Text),
    ("severity", Form::Text),
    ("entity_type", Form::Text),
    ("entity_id", Form::Text),
    ("entity_name", Form::Text),
    ("description", Form::Text),
    ("context", Form::Text),
    ("payload_hash", Form::Hex),
];

const LEAF_INDEX: usize = 0;
const SALT: usize = 9;
const PAYLOAD_HASH: usize = 35;
