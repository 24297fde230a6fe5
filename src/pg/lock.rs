//! The maintenance lock: one flush, compaction or vacuum of an index at a time.
//!
//! It is a heavyweight lock on the meta page, so that it is held across computations, seen in `pg_locks`, part of
//! deadlock detection and released by transaction abort.

use super::relation::Relation;
use pgrx::pg_sys;

const META_BLOCK: u32 = 0;
const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

pub struct MaintenanceLock {
    relation: Relation,
}

impl MaintenanceLock {
    /// Waits for the lock.
    pub fn wait(relation: Relation) -> Self {
        // SAFETY: the relation is open.
        unsafe { pg_sys::LockPage(relation.raw(), META_BLOCK, MODE) };
        Self { relation }
    }

    /// Takes the lock if it is free.
    pub fn try_take(relation: Relation) -> Option<Self> {
        // SAFETY: the relation is open.
        let taken = unsafe { pg_sys::ConditionalLockPage(relation.raw(), META_BLOCK, MODE) };
        taken.then_some(Self { relation })
    }
}

impl Drop for MaintenanceLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: taken by this value.
            unsafe { pg_sys::UnlockPage(self.relation.raw(), META_BLOCK, MODE) };
        }
    }
}
