//! One way to raise an error: SQLSTATE, what happened, detail with the value, hint with the next step.
//!
//! Messages follow `PostgreSQL`'s style guide: the primary message in lower case without a full stop,
//! detail and hint as sentences.

use pgrx::PgLogLevel;
pub use pgrx::PgSqlErrorCode as SqlState;
use pgrx::pg_sys::panic::{ErrorReport, ErrorReportWithLevel};

/// An error that a person will read.
#[derive(Debug)]
pub struct AttestError {
    state: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl AttestError {
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self {
            state,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// One that was raised, and caught.
    pub fn of_report(report: &ErrorReportWithLevel) -> Self {
        Self {
            state: report.sql_error_code(),
            message: report.message().to_owned(),
            detail: report.detail().map(ToOwned::to_owned),
            hint: report.hint().map(ToOwned::to_owned),
        }
    }

    /// The same with a message that says what failed.
    pub fn of(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The five characters of its SQLSTATE.
    pub fn sqlstate(&self) -> String {
        // Six bits each (`MAKE_SQLSTATE`, src/include/utils/elog.h).
        let code = self.state as u32;
        (0..5u32)
            .map(|place| char::from(((code >> (6 * place)) & 0x3F) as u8 + b'0'))
            .collect()
    }

    fn report(self, level: PgLogLevel) {
        let mut report = ErrorReport::new(self.state, self.message, "pg_attest");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(level);
    }

    /// Ends the statement with this error.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("an ERROR report does not return")
    }

    /// Tells the client, and goes on.
    pub fn notice(self) {
        self.report(PgLogLevel::NOTICE);
    }

    /// Writes to the server's log, and goes on.
    pub fn log(self) {
        self.report(PgLogLevel::LOG);
    }

    /// Writes to the server's log, never to the client, and goes on.
    pub fn log_only(self) {
        self.report(PgLogLevel::LOG_SERVER_ONLY);
    }

    /// Tells the client and the server's log that something needs doing, and goes on.
    pub fn warning(self) {
        self.report(PgLogLevel::WARNING);
    }
}

impl From<pgrx::spi::Error> for AttestError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::new(
            SqlState::ERRCODE_INTERNAL_ERROR,
            format!("internal query failed: {error}"),
        )
    }
}

/// What fallible SQL-facing code returns; the entry point raises the error.
pub type Result<T> = std::result::Result<T, AttestError>;

/// Raises the error, if there is one.
pub fn or_raise<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => error.raise(),
    }
}

/// An argument that must not be NULL.
pub fn required<T>(value: Option<T>, name: &str) -> Result<T> {
    value.ok_or_else(|| {
        AttestError::new(
            SqlState::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            format!("{name} must not be null"),
        )
        .detail("The call does not say what it is about.")
        .hint(format!(
            "Give {name}; \\df+ audit.* describes the functions."
        ))
    })
}
