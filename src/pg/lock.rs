//! Locks of an index that outlast content locks.
//!
//! They are heavyweight locks on page numbers of the index, so that they are held across
//! computations, seen in `pg_locks`, part of deadlock detection and released by transaction abort.

use super::relation::Relation;
use pgrx::pg_sys;

/// What a lock is for; the numbers are the pages that are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Changing the manifest, or burying rows: held for as long as it takes to write a record or to
    /// read all TIDs.
    Manifest = 0,
    /// Sealing frozen rows. Who holds it may take [`Purpose::Manifest`], not the other way round.
    Flush = 1,
    /// Merging sealed segments; as with [`Purpose::Flush`].
    Compact = 2,
}

const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

pub struct IndexLock {
    relation: Relation,
    purpose: Purpose,
}

impl IndexLock {
    /// Waits for the lock.
    pub fn wait(relation: Relation, purpose: Purpose) -> Self {
        // SAFETY: the relation is open.
        unsafe { pg_sys::LockPage(relation.raw(), purpose as u32, MODE) };
        Self { relation, purpose }
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Takes the lock if it is free.
    pub fn try_take(relation: Relation, purpose: Purpose) -> Option<Self> {
        // SAFETY: the relation is open.
        let taken = unsafe { pg_sys::ConditionalLockPage(relation.raw(), purpose as u32, MODE) };
        taken.then(|| Self { relation, purpose })
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: taken by this value.
            unsafe { pg_sys::UnlockPage(self.relation.raw(), self.purpose as u32, MODE) };
        }
    }
}
