//! Work that may fail without failing the statement.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use std::panic::AssertUnwindSafe;

/// Does some work in a subtransaction, which an error aborts; returns the error's message.
/// Interrupts end the statement.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // SAFETY: in a transaction; the context and the owner are those that PostgreSQL's own languages
    // put back.
    let (context, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(before.0);
        before
    };
    let restore = || {
        // SAFETY: those of before.
        unsafe {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        }
    };
    let mut work = Some(work);
    let result = pgrx::PgTryBuilder::new(AssertUnwindSafe(|| {
        let value = (work.take().expect("called once"))();
        // SAFETY: the subtransaction begun above.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        Ok(value)
    }))
    .catch_others(|error| match error {
        CaughtError::PostgresError(ref report) | CaughtError::ErrorReport(ref report)
            if report.sql_error_code() != pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED =>
        {
            Err(report.message().to_owned())
        }
        error => error.rethrow(),
    })
    .execute();
    if result.is_err() {
        allow_interrupts();
        // SAFETY: the subtransaction begun above, which has failed.
        unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
    }
    restore();
    result
}

/// Lets interrupts through again after an error that was caught. An error that Rust raises passes
/// no code of PostgreSQL that would, so that one raised under a content lock would make the process
/// deaf to signals.
pub fn allow_interrupts() {
    // SAFETY: this process's own counters; the locks that held interrupts off are released by the
    // abort that follows.
    unsafe {
        pg_sys::InterruptHoldoffCount = 0;
        pg_sys::QueryCancelHoldoffCount = 0;
    }
}
