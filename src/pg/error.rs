//! Errors as PostgreSQL shows them: a SQLSTATE, what is wrong with which value, and what to do.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

/// An error on its way to the client.
///
/// Pure code returns its own error types. The glue turns them into a `Problem` and raises it on the
/// backend's main thread.
#[derive(Debug)]
pub struct Problem {
    code: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Problem {
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None }
    }

    /// Data on a page, or in a stored value, that this extension cannot have written.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED, message).hint("Rebuild the index with REINDEX.")
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Raises the error; the stack unwinds to the caller's guard as after any PostgreSQL error.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }

    /// Shows the problem as a warning; the command goes on.
    pub fn warn(self) {
        self.report(PgLogLevel::WARNING);
    }

    /// Reports it as a NOTICE; the command goes on.
    pub fn notice(self) {
        self.report(PgLogLevel::NOTICE);
    }

    fn report(self, level: PgLogLevel) {
        let mut report = ErrorReport::new(self.code, self.message, "");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(level);
    }
}

/// Raises the [`Problem`] of a `Result` that has one.
pub trait OrRaise<T> {
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T, Problem> {
    fn or_raise(self) -> T {
        self.unwrap_or_else(|problem| problem.raise())
    }
}
