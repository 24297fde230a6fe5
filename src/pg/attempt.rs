//! Work that may fail without failing the statement.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use std::panic::AssertUnwindSafe;

/// Runs `work` in a subtransaction, which an error aborts; returns the error's message. A cancel
/// ends the statement.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // SAFETY: the caller is in a transaction, so a subtransaction can begin. The memory context and
    // the resource owner are the current ones, saved as PL/pgSQL saves them.
    let (context, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(before.0);
        before
    };
    let restore = || {
        // SAFETY: the context and the owner were current before the subtransaction, so they outlive
        // it.
        unsafe {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        }
    };
    let mut work = Some(work);
    let result = pgrx::PgTryBuilder::new(AssertUnwindSafe(|| {
        let value = (work.take().expect("called once"))();
        // SAFETY: the current subtransaction is the one begun above: `work` leaves none open.
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
        // SAFETY: the error left the subtransaction begun above as the current one, not yet
        // aborted.
        unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
    }
    restore();
    result
}

/// Allows interrupts again after a caught error. PostgreSQL's `errfinish` resets these counters,
/// but an error that Rust raises never reaches it. One raised under a content lock would leave the
/// process deaf to signals.
pub fn allow_interrupts() {
    // SAFETY: the counters are this process's own, and only the main thread writes them. The caller
    // aborts next, which releases the locks that held interrupts off.
    unsafe {
        pg_sys::InterruptHoldoffCount = 0;
        pg_sys::QueryCancelHoldoffCount = 0;
    }
}
