//! Ids in a sqlcommenter comment: `/*traceparent='00-…',request_id='…'*/` at the end (or the start) of a statement.
//!
//! Source: the sqlcommenter specification (google.github.io/sqlcommenter/spec) and W3C Trace Context for `traceparent`.

use percent_encoding::percent_decode_str;

/// The value of `key` in the statement's comment, decoded; None when there is none.
pub fn find(statement: &str, key: &str) -> Option<String> {
    let statement = statement.trim().trim_end_matches(';').trim_end();
    let comment = if statement.ends_with("*/") {
        let start = statement.rfind("/*")?;
        &statement[start + 2..statement.len() - 2]
    } else {
        let rest = statement.strip_prefix("/*")?;
        &rest[..rest.find("*/")?]
    };
    pairs(comment)
        .find(|(name, _)| name == key)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

/// The trace id of the statement's `traceparent`: 32 hex digits.
pub fn trace_id(statement: &str) -> Option<String> {
    let parent = find(statement, "traceparent")?;
    let id = parent.split('-').nth(1)?;
    let valid = id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0');
    valid.then(|| id.to_owned())
}

/// The `key='value'` pairs of a comment. A quote inside a value is escaped with a backslash.
fn pairs(comment: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = comment.trim();
    std::iter::from_fn(move || {
        let (key, after) = rest.split_once("='")?;
        let mut value = String::new();
        let mut end = None;
        let mut escaped = false;
        for (at, c) in after.char_indices() {
            match c {
                _ if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '\'' => {
                    end = Some(at);
                    break;
                }
                _ => value.push(c),
            }
        }
        let pair = (decode(key.trim()), decode(&value));
        rest = after[end? + 1..]
            .trim_start()
            .strip_prefix(',')
            .unwrap_or("")
            .trim_start();
        Some(pair)
    })
}

fn decode(text: &str) -> String {
    // PostgreSQL's text has no NUL.
    percent_decode_str(text)
        .decode_utf8_lossy()
        .replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::{find, trace_id};

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn reads_ids_at_the_end_of_a_statement() {
        let sql = format!(
            "UPDATE t SET a = 1 /*request_id='r%2F1',traceparent='00-{TRACE}-00f067aa0ba902b7-01'*/;"
        );
        assert_eq!(find(&sql, "request_id").as_deref(), Some("r/1"));
        assert_eq!(trace_id(&sql).as_deref(), Some(TRACE));
        assert_eq!(find(&sql, "process_id"), None);
    }

    #[test]
    fn reads_ids_at_the_start_of_a_statement() {
        assert_eq!(
            find("/*process_id='p 1'*/ DELETE FROM t", "process_id").as_deref(),
            Some("p 1")
        );
    }

    #[test]
    fn keeps_an_escaped_quote() {
        assert_eq!(
            find(r"SELECT 1 /*reason='it\'s due',x='y'*/", "reason").as_deref(),
            Some("it's due")
        );
    }

    #[test]
    fn survives_what_is_no_sqlcommenter_comment() {
        for sql in [
            "",
            "*/",
            "/*",
            "SELECT 1 /* hello */",
            "SELECT 1 /*a='*/",
            "SELECT 1 /*='x'*/",
            "/*a=*/",
            "SELECT '/*' */",
        ] {
            assert_eq!(find(sql, "a"), None, "{sql}");
            assert_eq!(trace_id(sql), None, "{sql}");
        }
        assert_eq!(trace_id("SELECT 1 /*traceparent='00-short-x-01'*/"), None);
        assert_eq!(
            trace_id(&format!(
                "SELECT 1 /*traceparent='00-{}-x-01'*/",
                "0".repeat(32)
            )),
            None
        );
    }
}
