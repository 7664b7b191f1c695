//! An event from its row, as `audit.event_row` packs it.

use super::rows::Row;
use attest_log::encoding::{EventRecord, TextListBuf, tag, unix_micros};

/// What to select: the columns in the order of the tags, packed.
pub const EVENT: &str = "audit.event_row(event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, \
    salt, schema_name, table_name, row_key, old_row_key, old_values, new_values, changed_columns, session_user_name, effective_role, \
    app_user_id, request_id, process_id, session_id, tenant_id, reason, application_name, client_addr, action, category, severity, \
    entity_type, entity_id, entity_name, description, context, payload_hash)";

/// The event; `changed` is memory for its list. The error is why it can be none that `pg_attest` wrote.
pub fn read<'a>(row: Row<'a>, changed: &'a mut TextListBuf) -> Result<EventRecord<'a>, String> {
    let field = |column: u16| row.bytes(usize::from(column) - 1);
    let long = |column: u16| row.array(usize::from(column) - 1).map(i64::from_be_bytes);
    let int = |column: u16| row.array(usize::from(column) - 1).map(i32::from_be_bytes);
    let needed = |name: &str| format!("its {name} is missing");
    // jsonb is sent as its text behind a version.
    let json = |column| match field(column) {
        Some([1, text @ ..]) => Ok(Some(text)),
        None => Ok(None),
        Some([0]) => Err("its JSON is too long to be printed".to_owned()),
        Some(_) => Err("its JSON is sent in an unknown form".to_owned()),
    };
    let changed_columns = match field(tag::CHANGED_COLUMNS) {
        None => None,
        Some(array) => {
            list(array, changed).ok_or("changed_columns is not a plain list of texts")?;
            Some(changed.as_list())
        }
    };
    let payload_hash = match row.bytes(34) {
        None => None,
        Some(hash) => Some(hash.try_into().map_err(|_| "its payload_hash is no hash")?),
    };
    Ok(EventRecord {
        event_id: long(tag::EVENT_ID).ok_or_else(|| needed("event_id"))?,
        occurred_at: long(tag::OCCURRED_AT)
            .map(unix_micros)
            .ok_or_else(|| needed("occurred_at"))?,
        captured_at: long(tag::CAPTURED_AT)
            .map(unix_micros)
            .ok_or_else(|| needed("captured_at"))?,
        xact_id: long(tag::XACT_ID)
            .map(i64::cast_unsigned)
            .ok_or_else(|| needed("xact_id"))?,
        statement_id: int(tag::STATEMENT_ID).ok_or_else(|| needed("statement_id"))?,
        backend_pid: int(tag::BACKEND_PID).ok_or_else(|| needed("backend_pid"))?,
        table_oid: int(tag::TABLE_OID).map(i32::cast_unsigned),
        operation: field(tag::OPERATION).ok_or_else(|| needed("operation"))?,
        salt: row.array(8),
        schema_name: field(tag::SCHEMA_NAME),
        table_name: field(tag::TABLE_NAME),
        row_key: field(tag::ROW_KEY),
        old_row_key: field(tag::OLD_ROW_KEY),
        old_values: json(tag::OLD_VALUES)?,
        new_values: json(tag::NEW_VALUES)?,
        changed_columns,
        session_user_name: field(tag::SESSION_USER_NAME)
            .ok_or_else(|| needed("session_user_name"))?,
        effective_role: field(tag::EFFECTIVE_ROLE).ok_or_else(|| needed("effective_role"))?,
        app_user_id: field(tag::APP_USER_ID),
        request_id: field(tag::REQUEST_ID),
        process_id: field(tag::PROCESS_ID),
        session_id: field(tag::SESSION_ID),
        tenant_id: field(tag::TENANT_ID),
        reason: field(tag::REASON),
        application_name: field(tag::APPLICATION_NAME),
        client_addr: field(tag::CLIENT_ADDR),
        action: field(tag::ACTION),
        category: field(tag::CATEGORY),
        severity: field(tag::SEVERITY),
        entity_type: field(tag::ENTITY_TYPE),
        entity_id: field(tag::ENTITY_ID),
        entity_name: field(tag::ENTITY_NAME),
        description: field(tag::DESCRIPTION),
        context: json(tag::CONTEXT)?,
        payload_hash,
    })
}

/// An array's elements: dimensions, flags, element type; per dimension length and lower bound; then the elements.
fn list(array: &[u8], into: &mut TextListBuf) -> Option<()> {
    let int = |at: usize| Some(i32::from_be_bytes(array.get(at..at + 4)?.try_into().ok()?));
    into.clear();
    match (int(0)?, int(12), int(16)) {
        (0, ..) => return Some(()),
        (1, Some(_), Some(1)) => {}
        _ => return None,
    }
    let mut at = 20;
    for _ in 0..int(12)? {
        let length = int(at)?;
        at += 4;
        match usize::try_from(length) {
            Ok(length) => {
                into.push(Some(array.get(at..at + length)?)).ok()?;
                at += length;
            }
            Err(_) => into.push(None).ok()?,
        }
    }
    Some(())
}
