//! Functions that do at once what else happens in the background.

use crate::am;
use crate::maintenance;
use crate::pg::error::Problem;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::open::OpenIndex;
use crate::storage::tasks::Priority;
use pgrx::iter::TableIterator;
use pgrx::{PgSqlErrorCode, name, pg_extern, pg_sys};

/// Seals the growing segment; returns the rows sealed.
#[pg_extern(sql = false)]
fn vdb_flush(index: pg_sys::Oid) -> i64 {
    let index = OpenIndex::of_owner(index, c"vdb_flush()");
    am::require_own(index.relation());
    let lock = IndexLock::wait(index.relation(), Purpose::Flush);
    maintenance::flush(index.relation(), &lock, 1, Priority::High).unwrap_or(0) as i64
}

/// Merges the sealed segments; returns the rows of the new one.
#[pg_extern(sql = false)]
fn vdb_compact(index: pg_sys::Oid) -> i64 {
    let index = OpenIndex::of_owner(index, c"vdb_compact()");
    am::require_own(index.relation());
    maintenance::compact_all(index.relation()).unwrap_or(0) as i64
}

/// Measures how much effort searches need for a recall; returns efforts and the recall of each.
#[pg_extern(sql = false)]
fn vdb_calibrate(
    index: pg_sys::Oid,
    queries: i32,
) -> TableIterator<'static, (name!(effort, i32), name!(recall, f64))> {
    if queries < 1 {
        Problem::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("a calibration needs at least one query, not {queries}"),
        )
        .raise();
    }
    let index = OpenIndex::of_owner(index, c"vdb_calibrate()");
    am::require_own(index.relation());
    // SAFETY: the index is open and locked for changes.
    let curve = unsafe { am::calibrate(index.relation().raw(), queries as usize) };
    let points: Vec<_> = curve.points().map(|(effort, recall)| (effort as i32, recall)).collect();
    TableIterator::new(points)
}
