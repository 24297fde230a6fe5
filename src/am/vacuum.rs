//! VACUUM, and the validation of CREATE INDEX CONCURRENTLY: PostgreSQL's callback decides on every
//! row.

use super::calibrate;
use crate::maintenance;
use crate::pg::compat;
use crate::pg::heap::checked_tid;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::relation::Relation;
use crate::segment::{self, Tid, pages, vacuum};
use pgrx::{PgBox, pg_guard, pg_sys};

#[pg_guard]
pub unsafe extern "C-unwind" fn ambulkdelete(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    callback: pg_sys::IndexBulkDeleteCallback,
    callback_state: *mut std::ffi::c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: PostgreSQL passes an open index, a result or null, and a callback with its state. The
    // callback gets an address, which is not the invalid one, and the state. The boundary turns its
    // errors into panics.
    unsafe {
        let relation = Relation::from_raw((*info).index);
        let callback = callback.expect("a bulk deletion has a callback");
        let is_dead = |tid: Tid| {
            let mut tid = checked_tid(relation, tid);
            pg_sys::ffi::pg_guard_ffi_boundary(|| callback(&mut tid, callback_state))
        };
        let outcome = vacuum::vacuum(relation, is_dead, compat::vacuum_delay_point);
        let mut stats = result(stats);
        stats.tuples_removed += outcome.marked as f64;
        stats.num_index_tuples = outcome.live as f64;
        stats.num_pages = relation.blocks();
        stats.into_pg()
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn amvacuumcleanup(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: PostgreSQL passes an open index, and null or the result of `ambulkdelete`, which
    // `result` requires.
    unsafe {
        if (*info).analyze_only {
            calibrate::calibrate_again(Relation::from_raw((*info).index));
            return stats;
        }
        let relation = Relation::from_raw((*info).index);
        pages::sweep_now(relation);
        let mut result = result(stats);
        if stats.is_null() {
            // A vacuum has no snapshot that keeps pages from being reused while it reads them.
            let _lock = IndexLock::wait(relation, Purpose::Manifest);
            // Not every row was checked, so rows of rolled back transactions are among them.
            result.num_index_tuples = segment::rows(relation) as f64;
            result.estimated_count = true;
        }
        result.num_pages = relation.blocks();
        maintenance::look_after(relation);
        result.into_pg()
    }
}

/// # Safety
/// `stats` is null, or points to a result of an earlier call.
unsafe fn result(stats: *mut pg_sys::IndexBulkDeleteResult) -> PgBox<pg_sys::IndexBulkDeleteResult> {
    // SAFETY: the pointer is a fresh allocation of a plain struct, for which zeros are valid, or an
    // earlier result by this function's contract. A fresh one is in the current context, as
    // PostgreSQL requires.
    unsafe {
        PgBox::from_pg(if stats.is_null() {
            PgBox::<pg_sys::IndexBulkDeleteResult>::alloc0().into_pg()
        } else {
            stats
        })
    }
}
