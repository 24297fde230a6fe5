//! Interrupts of long work: cancel, terminate, timeouts; in a worker also a process that waits for
//! the index.

use super::error::Problem;
use super::process::IS_BACKEND;
use super::relation::Relation;
use super::worker;
use crate::memory;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The SQLSTATE with which work gives way to a waiting lock.
pub const YIELD: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE;

/// How often a worker checks for waiting processes.
const PERIOD: Duration = Duration::from_millis(300);

thread_local! {
    /// The relation to give way for, and when its waiters were last checked.
    static YIELDS: Cell<Option<(pg_sys::Oid, Instant)>> = const { Cell::new(None) };
}

/// Raises an error if the work must end.
pub fn check() {
    memory::check();
    if !IS_BACKEND {
        return;
    }
    pgrx::check_for_interrupts!();
    if let Some((relation, last)) = YIELDS.get()
        && last.elapsed() >= PERIOD
    {
        YIELDS.set(Some((relation, Instant::now())));
        // A compaction of hours would hold back VACUUM for as long.
        worker::drop_catalog_snapshot();
        if is_waited_for(relation) {
            Problem::new(YIELD, "gave way to another process that waits for the index").raise();
        }
    }
}

/// Runs `work`, which ends with an error once another process waits for a lock on `relation`.
pub fn yielding<T>(relation: Relation, work: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            YIELDS.set(None);
        }
    }
    let _reset = Reset;
    YIELDS.set(Some((relation.oid(), Instant::now())));
    work()
}

/// Whether any process waits for a lock on a relation.
fn is_waited_for(relation: pg_sys::Oid) -> bool {
    // SAFETY: PostgreSQL returns a palloced copy of the lock table, `nelements` locks long. The
    // copy is freed once, after its last use. `MyDatabaseId` is set when the process connects.
    unsafe {
        let data = pg_sys::GetLockStatusData();
        let locks = std::slice::from_raw_parts((*data).locks, (*data).nelements as usize);
        let waited_for = locks.iter().any(|lock| {
            lock.waitLockMode != pg_sys::NoLock as pg_sys::LOCKMODE
                && u32::from(lock.locktag.locktag_type) == pg_sys::LockTagType::LOCKTAG_RELATION
                && lock.locktag.locktag_field1 == pg_sys::MyDatabaseId.to_u32()
                && lock.locktag.locktag_field2 == relation.to_u32()
        });
        pg_sys::pfree((*data).locks.cast());
        pg_sys::pfree(data.cast());
        waited_for
    }
}
