//! Settings made to fit a table: as its columns come, go and change their names, and as an inheritance child takes over
//! its parent's.

use super::request;
use crate::error::{AttestError, SqlState};
use crate::pg::catalog;
use crate::pg::relation::{OpenRelation, lock};
use crate::table_plan::TableSettings;
use pgrx::pg_sys;

/// The settings as they suit the table now: names that it does not have are dropped, or follow the column that was renamed to
/// `new_name`; its secret-looking columns are masked where masking was left to us.
pub fn to(table: pg_sys::Oid, settings: &TableSettings, new_name: Option<&str>) -> TableSettings {
    let mut settings = settings.clone();
    let (names, key) = {
        let opened = OpenRelation::table(table, lock::ACCESS_SHARE);
        (
            opened.relation().column_names(),
            opened.relation().key_columns(),
        )
    };
    let key: Vec<String> = key
        .into_iter()
        .filter_map(|index| names.get(index).cloned())
        .collect();
    let columns: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();

    let had_key = settings
        .key_columns
        .as_ref()
        .is_some_and(|names| !names.is_empty());
    let new_name = new_name.filter(|name| columns.iter().any(|column| column == name));
    let follow = |list: &mut Vec<String>| {
        if let Some(new_name) = new_name
            && !list.iter().any(|name| name == new_name)
            && let Some(old) = list.iter_mut().find(|name| !columns.contains(name))
        {
            new_name.clone_into(old);
        }
        list.retain(|name| columns.contains(name));
    };
    lists(&mut settings).for_each(follow);
    for id in [&mut settings.request_column, &mut settings.process_column] {
        let mut list = Vec::from_iter(id.take());
        follow(&mut list);
        // A name that two settings lost may have come back as that of a hidden column.
        list.retain(|name| !settings.exclude.contains(name) && !settings.mask.contains(name));
        *id = list.pop();
    }
    let is_hidden = |name: &String| settings.exclude.contains(name) || settings.mask.contains(name);
    // Without a column left, the table's own key counts again, unless it would show what is hidden.
    let lost_key = had_key && settings.key_columns.as_ref().is_some_and(Vec::is_empty);
    if lost_key && !key.iter().any(is_hidden) {
        settings.key_columns = None;
    }
    let is_hidden = |name: &String| settings.exclude.contains(name) || settings.mask.contains(name);
    if settings.mask_secrets {
        let in_key = settings.key_columns.as_ref().unwrap_or(&key);
        let added = request::secrets(&columns, |name| {
            is_hidden(name) || in_key.contains(name) || settings.is_id_column(name)
        });
        for name in &added {
            AttestError::new(
                SqlState::ERRCODE_SUCCESSFUL_COMPLETION,
                format!("masking column \"{name}\" in the audit log: its name looks secret"),
            )
            .detail(format!(
                "It is a column of {}.",
                catalog::qualified_name(table)
            ))
            .hint("Call audit.attach() with mask => '{…}' to choose yourself.")
            .notice();
        }
        settings.mask.extend(added);
    }
    settings
}

/// The names in the settings that the table does not have.
pub fn unknown_names(table: pg_sys::Oid, settings: &TableSettings) -> Vec<String> {
    let columns = OpenRelation::table(table, lock::ACCESS_SHARE)
        .relation()
        .column_names();
    let mut unknown: Vec<String> = Vec::new();
    let ids = [&settings.request_column, &settings.process_column];
    for name in lists(&mut settings.clone())
        .flat_map(|list| list.iter())
        .chain(ids.into_iter().flatten())
    {
        if !columns.contains(name) && !unknown.contains(name) {
            unknown.push(name.clone());
        }
    }
    unknown
}

/// The lists of columns.
fn lists(settings: &mut TableSettings) -> impl Iterator<Item = &mut Vec<String>> {
    [
        Some(&mut settings.exclude),
        Some(&mut settings.mask),
        settings.key_columns.as_mut(),
    ]
    .into_iter()
    .flatten()
}
