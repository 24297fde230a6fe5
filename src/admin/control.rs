//! Functions that do at once what else happens in the background.

use crate::am;
use crate::maintenance;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::open::OpenIndex;
use crate::storage::tasks::Priority;
use pgrx::{pg_extern, pg_sys};

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
