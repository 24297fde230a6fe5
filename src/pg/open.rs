//! Indexes that we open ourselves.

use super::error::Problem;
use super::relation::Relation;
use pgrx::{PgSqlErrorCode, pg_sys};

const MODE: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// An index open for changes, as an INSERT opens it. The lock is kept until the transaction ends.
pub struct OpenIndex {
    relation: Relation,
}

impl OpenIndex {
    /// Opens an index if it is there and no lock is in the way.
    pub fn try_open(index: u32) -> Option<Self> {
        let index = pg_sys::Oid::from_u32(index);
        // SAFETY: in a transaction; the lock keeps the index from being dropped once it is held.
        unsafe {
            if !pg_sys::ConditionalLockRelationOid(index, MODE) {
                return None;
            }
            let raw = pg_sys::try_relation_open(index, pg_sys::NoLock as pg_sys::LOCKMODE);
            (!raw.is_null()).then(|| Self { relation: Relation::from_raw(raw) })
        }
    }

    /// Opens an index that the user has named and must own, to change it.
    pub fn of_owner(index: pg_sys::Oid, command: &std::ffi::CStr) -> Self {
        // SAFETY: in a transaction; the functions raise an error if the command is not allowed.
        unsafe {
            pg_sys::PreventCommandDuringRecovery(command.as_ptr());
            pg_sys::PreventCommandIfReadOnly(command.as_ptr());
            let raw = pg_sys::relation_open(index, MODE);
            let relation = Relation::from_raw(raw);
            require_owner(relation);
            if relation.is_foreign_temporary() {
                Problem::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    format!("\"{}\" is a temporary index of another session", relation.name()),
                )
                .raise();
            }
            Self { relation }
        }
    }

    pub fn relation(&self) -> Relation {
        self.relation
    }
}

/// Raises an error unless the current user owns the index, or is a member of its owner.
pub fn require_owner(index: Relation) {
    // SAFETY: the relation is open, in a transaction.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let is_owner = pg_sys::pg_class_ownercheck(index.oid(), pg_sys::GetUserId());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let is_owner =
            pg_sys::object_ownercheck(pg_sys::RelationRelationId, index.oid(), pg_sys::GetUserId());
        if !is_owner {
            pg_sys::aclcheck_error(
                pg_sys::AclResult::ACLCHECK_NOT_OWNER,
                pg_sys::ObjectType::OBJECT_INDEX,
                (*(*index.raw()).rd_rel).relname.data.as_ptr(),
            );
        }
    }
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by this value; the lock stays until the transaction ends.
            unsafe { pg_sys::relation_close(self.relation.raw(), pg_sys::NoLock as pg_sys::LOCKMODE) };
        }
    }
}
