//! Indexes that the extension opens itself.

use super::catalog;
use super::error::Problem;
use super::method;
use super::owner;
use super::relation::{Relation, in_recovery};
use pgrx::PgSqlErrorCode::*;
use pgrx::pg_sys;

const READ: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
/// The mode in which an INSERT locks an index.
const CHANGE: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// An index of ours, open and fit for use. Its lock is kept until the transaction ends; that of
/// [`Self::try_to_read`] is released with the value.
pub struct OpenIndex {
    relation: Relation,
    /// The lock that is released when the index is closed.
    released: pg_sys::LOCKMODE,
}

const KEPT: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// Why an index could not be opened without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpen {
    /// Another transaction has locked it.
    Locked,
    /// It was dropped, is not ready, or this process cannot read it.
    Unfit,
}

impl OpenIndex {
    /// Opens an index for changes, if no lock is in the way.
    pub fn try_to_change(index: pg_sys::Oid) -> Result<Self, NotOpen> {
        Self::try_open(index, CHANGE)
    }

    /// Opens an index for reading, if no lock is in the way.
    pub fn try_to_read(index: pg_sys::Oid) -> Result<Self, NotOpen> {
        Self::try_open(index, READ)
    }

    fn try_open(index: pg_sys::Oid, mode: pg_sys::LOCKMODE) -> Result<Self, NotOpen> {
        // SAFETY: the caller is in a transaction, and any Oid may be locked. Once the lock is held,
        // the index cannot be dropped, so what is opened under it stays open and locked.
        let open = unsafe {
            if !pg_sys::ConditionalLockRelationOid(index, mode) {
                return Err(NotOpen::Locked);
            }
            // Looked up under the lock: the index may have been dropped before.
            if !catalog::class_row(index).is_some_and(catalog::ClassRow::is_own_index) {
                pg_sys::UnlockRelationOid(index, mode);
                return Err(NotOpen::Unfit);
            }
            let raw = pg_sys::try_relation_open(index, pg_sys::NoLock as pg_sys::LOCKMODE);
            if raw.is_null() {
                return Err(NotOpen::Unfit);
            }
            let released = if mode == READ { READ } else { KEPT };
            Self { relation: Relation::from_raw(raw), released }
        };
        if open.unfit().is_some() { Err(NotOpen::Unfit) } else { Ok(open) }
    }

    /// Opens an index that the user has named and must own, to change it.
    pub fn of_owner(index: pg_sys::Oid, command: &std::ffi::CStr) -> Self {
        // SAFETY: the command's name is a C string. The functions only raise an error if the
        // command is not allowed.
        unsafe {
            pg_sys::PreventCommandDuringRecovery(command.as_ptr());
            pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        }
        Self::named(index, CHANGE, owner::has_rights_of)
    }

    /// Opens an index that the user has named and must own, to read it.
    pub fn of_owner_to_read(index: pg_sys::Oid) -> Self {
        Self::named(index, READ, owner::has_rights_of)
    }

    /// Opens an index that the user has named, to show what it consists of. That is for its owner,
    /// and for users who may monitor.
    pub fn to_tell_of(index: pg_sys::Oid) -> Self {
        Self::named(index, READ, |owner| owner::has_rights_of(owner) || owner::may_monitor())
    }

    /// Opens an index, or a partitioned one, if the user may read some column of its table.
    pub fn of_reader(index: pg_sys::Oid) -> Self {
        let table = lock_table(index, |table| {
            if !owner::may_read(table) {
                refuse(table, pg_sys::AclResult::ACLCHECK_NO_PRIV, pg_sys::ObjectType::OBJECT_TABLE);
            }
        });
        Self::locked(index, table, READ)
    }

    /// Opens an index once its table is locked.
    fn locked(index: pg_sys::Oid, table: pg_sys::Oid, mode: pg_sys::LOCKMODE) -> Self {
        // SAFETY: the caller is in a transaction. The call raises an error unless the relation
        // exists; then it is open and locked until this value is dropped, or the transaction ends.
        let relation = unsafe { Relation::from_raw(pg_sys::relation_open(index, mode)) };
        if !method::is_own(relation) {
            Problem::new(
                ERRCODE_WRONG_OBJECT_TYPE,
                format!("\"{}\" is not an index of vdb", relation.name()),
            )
            .raise();
        }
        // SAFETY: a catalog look-up in the caller's transaction, which returns an invalid Oid for
        // other relations.
        if unsafe { pg_sys::IndexGetRelation(index, true) } != table {
            Problem::new(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("index \"{}\" was changed concurrently", relation.name()),
            )
            .raise();
        }
        Self { relation, released: KEPT }
    }

    /// `may` says whether the user may open an index of an owner; a user who may not does not lock
    /// it.
    fn named(index: pg_sys::Oid, mode: pg_sys::LOCKMODE, may: impl Fn(pg_sys::Oid) -> bool) -> Self {
        let check = |relation: pg_sys::Oid| {
            if catalog::class_row(relation).is_some_and(|row| !may(row.owner)) {
                refuse(index, pg_sys::AclResult::ACLCHECK_NOT_OWNER, pg_sys::ObjectType::OBJECT_INDEX);
            }
        };
        check(index);
        let table = lock_table(index, check);
        let open = Self::locked(index, table, mode);
        // It may have another owner by now.
        check(index);
        if open.relation.is_partitioned_index() {
            let oid = index.to_u32();
            Problem::new(
                ERRCODE_WRONG_OBJECT_TYPE,
                format!("\"{}\" is a partitioned index", open.relation.name()),
            )
            .detail("It has no rows of its own.")
            .hint(format!(
                "Name an index of a partition: SELECT relid FROM pg_partition_tree({oid}) WHERE isleaf."
            ))
            .raise();
        }
        if let Some(problem) = open.unfit() {
            problem.raise();
        }
        open
    }

    /// Why this process can read no pages of the index, if it cannot.
    fn unfit(&self) -> Option<Problem> {
        let relation = self.relation;
        let name = relation.name();
        if relation.is_foreign_temporary() {
            let message = format!("\"{name}\" is a temporary index of another session");
            return Some(Problem::new(ERRCODE_FEATURE_NOT_SUPPORTED, message));
        }
        if in_recovery() && relation.is_unlogged() {
            let message = format!("\"{name}\" is an unlogged index, which a standby does not have");
            return Some(Problem::new(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        if !relation.is_ready() {
            let message = format!("index \"{name}\" is not ready");
            return Some(
                Problem::new(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .detail("CREATE INDEX CONCURRENTLY is building it, or was interrupted.")
                    .hint("Wait for it, or drop the index and create it again."),
            );
        }
        None
    }

    pub fn relation(&self) -> Relation {
        self.relation
    }
}

/// Locks the table of an index after a check; returns the invalid Oid if `index` is none.
/// PostgreSQL's DDL locks tables before indexes, too.
fn lock_table(index: pg_sys::Oid, check: impl Fn(pg_sys::Oid)) -> pg_sys::Oid {
    // SAFETY: the caller is in a transaction. Both functions take any Oid, whether a relation has
    // it or not.
    unsafe {
        let table = pg_sys::IndexGetRelation(index, true);
        if table != pg_sys::InvalidOid {
            check(table);
            pg_sys::LockRelationOid(table, READ);
        }
        table
    }
}

/// Raises the error of a relation that the user has no right to.
fn refuse(relation: pg_sys::Oid, why: pg_sys::AclResult::Type, of: pg_sys::ObjectType::Type) -> ! {
    // SAFETY: the caller is in a transaction. The name is PostgreSQL's copy, or null if the
    // relation was just dropped, which PostgreSQL prints as "(null)".
    unsafe { pg_sys::aclcheck_error(why, of, pg_sys::get_rel_name(relation)) };
    unreachable!("an error does not return")
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: this value opened the relation and nothing else closes it. Every [`Relation`]
            // of it is used within the value's life.
            unsafe { pg_sys::relation_close(self.relation.raw(), self.released) };
        }
    }
}
