//! Locks of an index that outlast content locks.
//!
//! They are heavyweight locks on page numbers of the index. So they can be held across
//! computations, show in `pg_locks`, take part in deadlock detection, and end with an aborted
//! transaction.

use super::relation::Relation;
use pgrx::pg_sys;

/// What a lock is for. Each number is the page that is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Changing the manifest, or marking rows as dead. It is held while a record is written, or
    /// while a growing segment or some pages of TIDs are read. Its holder may take
    /// [`Purpose::Extend`].
    Manifest = 0,
    /// Sealing frozen rows. Its holder may take [`Purpose::Manifest`], never the reverse.
    Flush = 1,
    /// Merging sealed segments. The order is that of [`Purpose::Flush`].
    Compact = 2,
    /// Appending pages to a lane, until it lists them. Writers share the lock for a moment; its
    /// holder takes none of the others.
    Extend = 3,
}

const EXCLUSIVE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
const SHARED: pg_sys::LOCKMODE = pg_sys::ShareLock as pg_sys::LOCKMODE;

pub struct IndexLock {
    relation: Relation,
    purpose: Purpose,
    mode: pg_sys::LOCKMODE,
}

impl IndexLock {
    /// Waits for the lock.
    pub fn wait(relation: Relation, purpose: Purpose) -> Self {
        Self::wait_with_mode(relation, purpose, EXCLUSIVE)
    }

    /// Waits for the lock, which others may share.
    pub fn share(relation: Relation, purpose: Purpose) -> Self {
        Self::wait_with_mode(relation, purpose, SHARED)
    }

    fn wait_with_mode(relation: Relation, purpose: Purpose, mode: pg_sys::LOCKMODE) -> Self {
        // SAFETY: a [`Relation`] is open, and the call runs in a transaction, which owns the lock.
        unsafe { pg_sys::LockPage(relation.raw(), purpose as u32, mode) };
        Self { relation, purpose, mode }
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Takes the lock if it is free.
    pub fn try_take(relation: Relation, purpose: Purpose) -> Option<Self> {
        // SAFETY: a [`Relation`] is open, and the call runs in a transaction, which owns the lock.
        let taken = unsafe { pg_sys::ConditionalLockPage(relation.raw(), purpose as u32, EXCLUSIVE) };
        taken.then(|| Self { relation, purpose, mode: EXCLUSIVE })
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this value took the lock in the current transaction, and its relation is
            // still open.
            unsafe { pg_sys::UnlockPage(self.relation.raw(), self.purpose as u32, self.mode) };
        }
    }
}
