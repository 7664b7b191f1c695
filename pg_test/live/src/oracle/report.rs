//! What a failed replay shows: the events of the keys concerned, in order, one per line.

use std::fmt::Write;

use anyhow::Result;
use postgres::Client;

use super::plan::Plan;
use crate::sql::{Sql, literal};

/// Longest image printed in full.
const WIDTH: usize = 600;

/// An image, shortened for reading.
pub fn cut(image: &str) -> String {
    if image.chars().count() <= WIDTH {
        return image.to_owned();
    }
    let head: String = image.chars().take(WIDTH).collect();
    format!("{head}… ({} bytes)", image.len())
}

/// All events of these keys or with these images, whole-table events included.
pub fn events(
    client: &mut Client,
    plan: &Plan,
    keys: &[String],
    images: &[String],
) -> Result<String> {
    let array = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|item| literal(item)).collect();
        format!("ARRAY[{}]::text[]", quoted.join(", "))
    };
    let (keys, images) = (array(keys), array(images));
    let lines = client.table(&format!(
        "SELECT format('xact %s stmt %s event %s %s key %s%s old %s new %s', xact_id, statement_id,
                event_id, operation, coalesce(row_key, '∅'), coalesce(' was ' || old_row_key, ''),
                coalesce(old_values::text, '∅'), coalesce(new_values::text, '∅'))
         FROM audit.audit_events e
         WHERE {} AND (row_key = ANY ({keys}) OR old_row_key = ANY ({keys})
                       OR old_values::text = ANY ({images}) OR new_values::text = ANY ({images})
                       OR operation::text = 'truncate')
         ORDER BY xact_id, statement_id, event_id LIMIT 60",
        plan.events
    ))?;
    let mut text = String::from("  events of these keys:\n");
    for line in lines {
        writeln!(text, "    {}", cut(&line))?;
    }
    Ok(text)
}
