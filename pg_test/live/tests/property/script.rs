//! A case as steps: run on a connection, or printed for psql.

use std::fmt;

use anyhow::{Result, anyhow};
use live_tests::ServerError;
use live_tests::sql::explain;
use postgres::Client;

#[derive(Debug)]
pub enum Step {
    Sql(String),
    /// Left out of the run without audit.
    Audit(String),
    /// BEGIN, COMMIT, SAVEPOINT: never put into a savepoint itself.
    Control(String),
    /// From here on each statement has a savepoint of its own, as psql's ON_ERROR_ROLLBACK does it.
    Guard(bool),
}

#[derive(Debug, Default)]
pub struct Script(pub Vec<Step>);

impl Script {
    pub fn sql(&mut self, sql: &str) {
        self.0.push(Step::Sql(sql.into()));
    }

    pub fn audit(&mut self, sql: &str) {
        self.0.push(Step::Audit(sql.into()));
    }

    pub fn control(&mut self, sql: &str) {
        self.0.push(Step::Control(sql.into()));
    }

    pub fn guard(&mut self, on: bool) {
        self.0.push(Step::Guard(on));
    }

    /// Runs every step. For each statement its refusal, if any; a lost connection is an error.
    pub fn run(&self, client: &mut Client, audited: bool) -> Result<Vec<Option<ServerError>>> {
        let mut outcomes = Vec::new();
        let mut guarded = false;
        for step in &self.0 {
            let outcome = match step {
                Step::Guard(on) => {
                    guarded = *on;
                    continue;
                }
                Step::Audit(sql) => {
                    if audited && let Some(error) = refusal(client.batch_execute(sql), sql)? {
                        return Err(anyhow!("{error:?} from: {sql}"));
                    }
                    continue;
                }
                Step::Control(sql) => refusal(client.batch_execute(sql), sql)?,
                Step::Sql(sql) => guard(client, guarded, |client| {
                    refusal(client.batch_execute(sql), sql)
                })?,
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// The statements, one for each outcome of [`Script::run`].
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Sql(sql) | Step::Control(sql) => Some(sql.as_str()),
            Step::Audit(_) | Step::Guard(_) => None,
        })
    }
}

fn guard(
    client: &mut Client,
    guarded: bool,
    run: impl FnOnce(&mut Client) -> Result<Option<ServerError>>,
) -> Result<Option<ServerError>> {
    if guarded {
        refusal(client.batch_execute("SAVEPOINT guard"), "SAVEPOINT guard")?;
    }
    let outcome = run(client)?;
    if guarded {
        let end = if outcome.is_some() {
            "ROLLBACK TO guard"
        } else {
            "RELEASE guard"
        };
        refusal(client.batch_execute(end), end)?;
    }
    Ok(outcome)
}

fn refusal(outcome: Result<(), postgres::Error>, sql: &str) -> Result<Option<ServerError>> {
    match outcome {
        Ok(()) => Ok(None),
        Err(error) => match ServerError::from(&error) {
            // 57P: the server went down.
            Some(server) if !server.sqlstate.starts_with("57P") => Ok(Some(server)),
            _ => Err(explain(&error, sql)),
        },
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                Step::Guard(on) => {
                    writeln!(
                        f,
                        "\\set ON_ERROR_ROLLBACK {}",
                        if *on { "on" } else { "off" }
                    )?;
                }
                Step::Sql(sql) | Step::Audit(sql) | Step::Control(sql) => {
                    writeln!(f, "{};", sql.trim_end_matches(';'))?;
                }
            }
        }
        Ok(())
    }
}
