//! Renders the user's own triggers: they change rows, suppress them, write elsewhere, or raise.

use crate::ddl::Shape;
use crate::model::{Trigger, TriggerKind};

/// A trigger function and its trigger. Writing stops at depth four, so that circles end.
pub fn render(trigger: &Trigger, function: &str, shape: &Shape, other: &Shape) -> String {
    use TriggerKind as Kind;
    let (table, other) = (&shape.name, &other.name);
    // When, for each what, body.
    let (time, each, body) = match trigger.kind {
        Kind::BeforeRowChanges => (
            "BEFORE INSERT OR UPDATE",
            "ROW",
            "new.n := new.n + 100;".into(),
        ),
        Kind::BeforeRowSuppresses => (
            "BEFORE INSERT OR UPDATE",
            "ROW",
            "IF new.id = 7 THEN RETURN NULL; END IF;".into(),
        ),
        Kind::LeafSuppresses => (
            "BEFORE INSERT",
            "ROW",
            "IF new.n % 2 = 0 THEN RETURN NULL; END IF;".to_owned(),
        ),
        Kind::AfterRowUpdatesOther => (
            "AFTER INSERT OR UPDATE OR DELETE",
            "ROW",
            format!("UPDATE {other} SET n = n + 1 WHERE id = coalesce(new.id, old.id);"),
        ),
        Kind::AfterRowDeletesOther => (
            "AFTER UPDATE OR DELETE",
            "ROW",
            format!("DELETE FROM {other} WHERE id = old.id + 1;"),
        ),
        Kind::AfterRowLogs => (
            "AFTER INSERT OR UPDATE OR DELETE",
            "ROW",
            "INSERT INTO w.log VALUES (tg_op, coalesce(new.id, old.id));".into(),
        ),
        Kind::AfterRowRaises => (
            "AFTER INSERT OR UPDATE",
            "ROW",
            "IF new.id = 9 THEN RAISE EXCEPTION 'nine'; END IF;".into(),
        ),
        Kind::AfterStatementWritesSelf => (
            "AFTER INSERT OR UPDATE OR DELETE",
            "STATEMENT",
            format!("UPDATE {table} SET n = n + 1 WHERE id < 3;"),
        ),
        Kind::AfterStatementWritesOther => (
            "AFTER INSERT OR UPDATE OR DELETE",
            "STATEMENT",
            format!(
                "INSERT INTO w.log SELECT tg_op, id FROM {other} WHERE id < 4;
        UPDATE {other} SET n = n + 1 WHERE id = 1;"
            ),
        ),
        Kind::BeforeStatementWritesOther => (
            "BEFORE INSERT OR UPDATE OR DELETE",
            "STATEMENT",
            format!("UPDATE {other} SET n = n + 1 WHERE id < 3; DELETE FROM w.log WHERE id = 2;"),
        ),
        Kind::BeforeRowWritesOther => (
            "BEFORE INSERT OR UPDATE",
            "ROW",
            format!(
                "UPDATE {other} SET n = n + 1 WHERE id = new.id; INSERT INTO w.log VALUES ('before', new.id);"
            ),
        ),
    };
    let on = match (trigger.kind, shape.leaves.get(1)) {
        (Kind::LeafSuppresses, Some(leaf)) => leaf,
        _ => table,
    };
    let result = if time.starts_with("BEFORE") && each == "ROW" {
        "new"
    } else {
        "NULL"
    };
    let name = ["!first", "between", "zz"][usize::from(trigger.place) % 3];
    format!(
        "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    IF pg_trigger_depth() < 4 THEN
        {body}
    END IF;
    RETURN {result};
END $f$;
CREATE TRIGGER \"{name} {function}\" {time} ON {on} FOR EACH {each} EXECUTE FUNCTION {function}()"
    )
}
