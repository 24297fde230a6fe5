//! Errors that tests inject. Where PostgreSQL itself may fail, a chosen passage of the point fails.
//!
//! Only test builds have them; elsewhere a [`point`] does nothing.

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "pg_test", derive(pgrx::PostgresGucEnum))]
#[allow(non_camel_case_types)] // the names that tests write
pub enum Fault {
    /// Pinning a page, which may have to be read from disk.
    read,
    /// Appending a page.
    extend,
    /// Beginning a WAL record, or logging full images.
    log,
}

#[cfg(not(feature = "pg_test"))]
#[inline(always)]
pub fn point(_: Fault) {}

#[cfg(feature = "pg_test")]
pub use injected::{point, register};

#[cfg(feature = "pg_test")]
mod injected {
    use super::Fault;
    use crate::pg::error::Problem;
    use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PgSqlErrorCode};
    use std::cell::Cell;

    static FAULT: GucSetting<Fault> = GucSetting::<Fault>::new(Fault::read);
    static FAULT_AT: GucSetting<i32> = GucSetting::<i32>::new(0);

    thread_local! {
        /// The fault and number set last, and the points passed since.
        static PASSED: Cell<(Fault, i32, i32)> = const { Cell::new((Fault::read, 0, 0)) };
    }

    /// Declares `vdb.fault` and `vdb.fault_at`.
    pub fn register() {
        let flags = GucFlags::NO_SHOW_ALL;
        let text = c"What a test lets fail.";
        GucRegistry::define_enum_guc(c"vdb.fault", text, text, &FAULT, GucContext::Suset, flags);
        let text = c"Which time it fails; 0 for never.";
        GucRegistry::define_int_guc(
            c"vdb.fault_at",
            text,
            text,
            &FAULT_AT,
            0,
            i32::MAX,
            GucContext::Suset,
            flags,
        );
    }

    /// Raises an I/O error at the `vdb.fault_at`-th point of the kind `vdb.fault`.
    pub fn point(fault: Fault) {
        let (requested, at) = (FAULT.get(), FAULT_AT.get());
        let passed = match PASSED.get() {
            (before, at_before, passed) if (before, at_before) == (requested, at) => passed,
            _ => 0,
        };
        let passed = if fault == requested { passed.saturating_add(1) } else { passed };
        PASSED.set((requested, at, passed));
        if fault == requested && passed == at {
            Problem::new(PgSqlErrorCode::ERRCODE_IO_ERROR, format!("injected fault {at}: {fault:?}")).raise();
        }
    }
}
