//! The settings that a caller asks for, checked against the table.

use crate::error::{AttestError, Result, SqlState};
use crate::pg::relation::RelationRef;
use crate::settings::{self, NameParts};
use crate::table_plan::{CaptureMode, OnTruncate, TableSettings};
use serde_json::Value as Json;

const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// The arguments of `audit.attach`, as the SQL function hands them over.
struct Arguments {
    capture: Option<String>,
    operations: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    mask: Option<Vec<String>>,
    key_columns: Option<Vec<String>>,
    require: Option<Vec<String>>,
    on_truncate: Option<String>,
    skip_unchanged: Option<bool>,
    request_column: Option<String>,
    process_column: Option<String>,
}

impl Arguments {
    fn read(json: &Json) -> Result<Self> {
        if !json.is_object() {
            return Err(invalid(
                "settings must be a JSON object",
                &format!("It is {json}."),
            ));
        }
        Ok(Self {
            capture: text(json, "capture")?,
            operations: list(json, "operations")?,
            exclude: list(json, "exclude")?,
            mask: list(json, "mask")?,
            key_columns: list(json, "key_columns")?,
            require: list(json, "require")?,
            on_truncate: text(json, "on_truncate")?,
            skip_unchanged: match &json["skip_unchanged"] {
                Json::Null => None,
                Json::Bool(value) => Some(*value),
                other => {
                    return Err(invalid(
                        "skip_unchanged must be a boolean",
                        &format!("It is {other}."),
                    ));
                }
            },
            request_column: text(json, "request_column")?,
            process_column: text(json, "process_column")?,
        })
    }
}

/// A text argument; None when it is missing or null.
fn text(json: &Json, argument: &str) -> Result<Option<String>> {
    match &json[argument] {
        Json::Null => Ok(None),
        Json::String(value) => Ok(Some(value.clone())),
        other => Err(invalid(
            &format!("{argument} must be a text"),
            &format!("It is {other}."),
        )),
    }
}

/// An array argument, each element once; None when it is missing or null.
fn list(json: &Json, argument: &str) -> Result<Option<Vec<String>>> {
    let elements = match &json[argument] {
        Json::Null => return Ok(None),
        Json::Array(elements) => elements,
        other => {
            return Err(invalid(
                &format!("{argument} must be an array"),
                &format!("It is {other}."),
            ));
        }
    };
    let mut names: Vec<String> = Vec::with_capacity(elements.len());
    for element in elements {
        match element {
            Json::String(name) if names.contains(name) => {}
            Json::String(name) => names.push(name.clone()),
            Json::Null => {
                return Err(AttestError::new(
                    SqlState::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                    format!("{argument} must not have a null element"),
                )
                .detail(format!("It is {}.", json[argument]))
                .hint("Leave the null out; leave the whole argument out for its default."));
            }
            other => {
                return Err(invalid(
                    &format!("the elements of {argument} must be texts"),
                    &format!("One is {other}."),
                ));
            }
        }
    }
    Ok(Some(names))
}

/// What to do with a column that the table does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Refuse it: the caller named this very table.
    Exact,
    /// Leave it out: the settings are for a whole schema.
    WhereItApplies,
}

/// Settings for the table, or why not.
pub fn parse(
    table: RelationRef<'_>,
    request: &Json,
    strictness: Strictness,
) -> Result<TableSettings> {
    let request = Arguments::read(request)?;
    let columns: Vec<String> = table
        .column_names()
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    let exclude = existing(
        request.exclude.unwrap_or_default(),
        "exclude",
        &columns,
        strictness,
    )?;
    let key_columns = request
        .key_columns
        .map(|names| existing(names, "key_columns", &columns, strictness))
        .transpose()?;
    let names = table.column_names();
    let key: Vec<String> = key_columns.clone().unwrap_or_else(|| {
        table
            .key_columns()
            .into_iter()
            .filter_map(|index| names.get(index).cloned())
            .collect()
    });

    let [request_column, process_column] = [
        (request.request_column, "request_column"),
        (request.process_column, "process_column"),
    ]
    .map(|(name, argument)| existing(Vec::from_iter(name), argument, &columns, strictness));
    let (request_column, process_column) = (request_column?.pop(), process_column?.pop());
    let ids: Vec<&String> = [&request_column, &process_column]
        .into_iter()
        .flatten()
        .collect();

    let mask_secrets = request.mask.is_none();
    let mask = match request.mask {
        Some(names) => existing(names, "mask", &columns, strictness)?,
        None => secrets(&columns, |name| {
            exclude.contains(name) || key.contains(name) || ids.contains(&name)
        }),
    };
    for (list, what) in [(&exclude, "excluded"), (&mask, "masked")] {
        if let Some(name) = list.iter().find(|name| key.contains(name)) {
            return Err(AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("column \"{name}\" cannot be {what}"),
            )
            .detail("It belongs to the row's key, which every event shows.")
            .hint("Choose other columns with key_columns, or leave this one visible."));
        }
        if let Some(name) = list.iter().find(|name| ids.contains(name)) {
            return Err(AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("column \"{name}\" cannot be {what}"),
            )
            .detail("Events take their request_id or process_id from it, which every reader sees.")
            .hint("Choose another column with request_column or process_column, or leave this one visible."));
        }
    }
    if mask_secrets && !mask.is_empty() {
        AttestError::new(
            SqlState::ERRCODE_SUCCESSFUL_COMPLETION,
            format!(
                "masking columns whose names look secret: {}",
                mask.join(", ")
            ),
        )
        .hint("Give mask => '{…}' to choose yourself, mask => '{}' for none.")
        .notice();
    }
    Ok(TableSettings {
        capture: choice(
            request.capture.as_deref(),
            "capture",
            &[("full", CaptureMode::Full), ("diff", CaptureMode::Diff)],
        )?,
        operations: operations(request.operations)?,
        exclude,
        mask,
        mask_secrets,
        key_columns,
        require: required_fields(request.require.unwrap_or_default())?,
        on_truncate: choice(
            request.on_truncate.as_deref(),
            "on_truncate",
            &[
                ("record", OnTruncate::Record),
                ("rows", OnTruncate::Rows),
                ("forbid", OnTruncate::Forbid),
            ],
        )?,
        skip_unchanged: request.skip_unchanged.unwrap_or(true),
        request_column,
        process_column,
    })
}

/// The columns whose names look secret.
pub fn secrets(columns: &[String], is_exempt: impl Fn(&String) -> bool) -> Vec<String> {
    let secrets = NameParts::of(settings::SECRET_COLUMNS);
    columns
        .iter()
        .filter(|name| secrets.are_in(name))
        .filter(|name| !is_exempt(name))
        .cloned()
        .collect()
}

fn existing(
    names: Vec<String>,
    argument: &str,
    columns: &[String],
    strictness: Strictness,
) -> Result<Vec<String>> {
    if strictness == Strictness::WhereItApplies {
        return Ok(names
            .into_iter()
            .filter(|name| columns.contains(name))
            .collect());
    }
    match names.iter().find(|name| !columns.contains(name)) {
        None => Ok(names),
        Some(unknown) => Err(AttestError::new(
            SqlState::ERRCODE_UNDEFINED_COLUMN,
            format!("column \"{unknown}\" in {argument} does not exist"),
        )
        .detail("Settings name columns as the table has them.")
        .hint(format!("The table has: {}.", columns.join(", ")))),
    }
}

/// The first of the choices is the default.
fn choice<T: Copy>(given: Option<&str>, argument: &str, choices: &[(&str, T)]) -> Result<T> {
    let Some(given) = given else {
        return Ok(choices[0].1);
    };
    choices
        .iter()
        .find(|(name, _)| *name == given)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<String> = choices
                .iter()
                .map(|(name, _)| format!("'{name}'"))
                .collect();
            AttestError::new(
                SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("{argument} cannot be '{given}'"),
            )
            .detail("The setting has a fixed list of values.")
            .hint(format!("It is one of {}.", known.join(", ")))
        })
}

fn operations(given: Option<Vec<String>>) -> Result<Vec<String>> {
    let Some(given) = given else {
        return Ok(OPERATIONS.map(String::from).to_vec());
    };
    if let Some(unknown) = given
        .iter()
        .find(|name| !OPERATIONS.contains(&name.as_str()))
    {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("unknown operation '{unknown}'"),
        )
        .detail("Only operations that change rows can be recorded.")
        .hint(format!("Known are {}.", OPERATIONS.join(", "))));
    }
    if given.is_empty() {
        return Err(AttestError::new(
            SqlState::ERRCODE_INVALID_PARAMETER_VALUE,
            "operations must not be empty",
        )
        .detail("Nothing would be recorded.")
        .hint("audit.detach() ends the audit of a table."));
    }
    // In one order, so that the same settings are equal.
    Ok(OPERATIONS
        .iter()
        .filter(|name| given.iter().any(|given| given == *name))
        .map(|name| (*name).to_owned())
        .collect())
}

fn required_fields(given: Vec<String>) -> Result<Vec<String>> {
    for field in &given {
        settings::check_requirable(field)?;
    }
    Ok(given)
}

fn invalid(message: &str, why: &str) -> AttestError {
    AttestError::new(SqlState::ERRCODE_INVALID_PARAMETER_VALUE, message)
        .detail(why)
        .hint("\\df audit.attach shows the arguments and their types.")
}
