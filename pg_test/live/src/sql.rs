//! Short words for SQL in tests: run, one value, all rows, the error that must come.
//!
//! Everything goes through the simple protocol and comes back as text, as psql would show it.
//! Each failure carries the statement that caused it.

use anyhow::{Context, Result, anyhow, bail};
use postgres::{Client, SimpleQueryMessage};

/// What the server answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl ServerError {
    /// The server's part of a client error; `None` when the connection itself failed.
    pub fn from(error: &postgres::Error) -> Option<Self> {
        let db = error.as_db_error()?;
        Some(Self {
            sqlstate: db.code().code().to_owned(),
            message: db.message().to_owned(),
            detail: db.detail().unwrap_or_default().to_owned(),
            hint: db.hint().unwrap_or_default().to_owned(),
        })
    }
}

/// SQL on a connection, with the statement in every failure.
pub trait Sql {
    /// Runs statements; their rows are dropped.
    fn run(&mut self, sql: &str) -> Result<()>;
    /// All rows, as text; SQL NULL is `None`.
    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>>;
    /// Runs statements and hands back the server's refusal, if any.
    fn attempt(&mut self, sql: &str) -> Result<Option<ServerError>>;

    /// The one value that the statement returns, NULL as the empty string.
    fn one(&mut self, sql: &str) -> Result<String> {
        let rows = self.rows(sql)?;
        match rows.as_slice() {
            [row] => Ok(row.first().cloned().flatten().unwrap_or_default()),
            _ => bail!("{} rows instead of one from: {sql}", rows.len()),
        }
    }

    /// The one value that the statement returns, as a number.
    fn number(&mut self, sql: &str) -> Result<i64> {
        let text = self.one(sql)?;
        text.parse()
            .with_context(|| format!("`{text}` is not a number, from: {sql}"))
    }

    /// All rows as lines, columns separated by `|`, NULL as `∅`: for comparing and showing.
    fn table(&mut self, sql: &str) -> Result<Vec<String>> {
        let line = |row: Vec<Option<String>>| {
            let cells: Vec<String> = row
                .into_iter()
                .map(|cell| cell.unwrap_or_else(|| "∅".into()))
                .collect();
            cells.join("|")
        };
        Ok(self.rows(sql)?.into_iter().map(line).collect())
    }

    /// Runs a statement that the server must refuse with `sqlstate`.
    fn refused(&mut self, sqlstate: &str, sql: &str) -> Result<ServerError> {
        match self.attempt(sql)? {
            Some(error) if error.sqlstate == sqlstate => Ok(error),
            Some(error) => bail!("expected SQLSTATE {sqlstate}, got {error:?}, from: {sql}"),
            None => bail!("expected SQLSTATE {sqlstate}, but it succeeded: {sql}"),
        }
    }
}

impl Sql for Client {
    fn run(&mut self, sql: &str) -> Result<()> {
        self.batch_execute(sql)
            .map_err(|error| explain(&error, sql))
    }

    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self
            .simple_query(sql)
            .map_err(|error| explain(&error, sql))?;
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push(
                    (0..row.len())
                        .map(|i| row.get(i).map(str::to_owned))
                        .collect(),
                );
            }
        }
        Ok(rows)
    }

    fn attempt(&mut self, sql: &str) -> Result<Option<ServerError>> {
        match self.batch_execute(sql) {
            Ok(()) => Ok(None),
            Err(error) => match ServerError::from(&error) {
                Some(server) => Ok(Some(server)),
                None => Err(explain(&error, sql)),
            },
        }
    }
}

/// A client error with its SQLSTATE, detail, hint and statement.
pub fn explain(error: &postgres::Error, sql: &str) -> anyhow::Error {
    let cut: String = sql.chars().take(2000).collect();
    match ServerError::from(error) {
        Some(server) => anyhow!(
            "{}: {}\n  detail: {}\n  hint: {}\n  statement: {cut}",
            server.sqlstate,
            server.message,
            server.detail,
            server.hint
        ),
        None => anyhow!("connection failed: {error}\n  statement: {cut}"),
    }
}

/// A string as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
