//! Indexes that we open ourselves.

use super::catalog;
use super::error::Problem;
use super::method;
use super::owner;
use super::relation::{Relation, in_recovery};
use pgrx::PgSqlErrorCode::*;
use pgrx::pg_sys;

const READ: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
/// As an INSERT locks an index.
const CHANGE: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// An index of ours, open and fit to be used. Its lock is kept until the transaction ends; that of
/// [`Self::try_to_read`] is given back.
pub struct OpenIndex {
    relation: Relation,
    /// The lock that is given back when it is closed.
    released: pg_sys::LOCKMODE,
}

const KEPT: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// Why an index could not be opened without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpen {
    /// Another transaction has locked it.
    Locked,
    /// It was dropped, is not ready, or is not for this process to read.
    Unfit,
}

impl OpenIndex {
    /// Opens an index for changes, if no lock is in the way.
    pub fn try_to_change(index: pg_sys::Oid) -> Result<Self, NotOpen> {
        Self::try_open(index, CHANGE)
    }

    /// The same, to read it.
    pub fn try_to_read(index: pg_sys::Oid) -> Result<Self, NotOpen> {
        Self::try_open(index, READ)
    }

    fn try_open(index: pg_sys::Oid, mode: pg_sys::LOCKMODE) -> Result<Self, NotOpen> {
        // SAFETY: in a transaction; the lock keeps the index from being dropped once it is held.
        let open = unsafe {
            if !pg_sys::ConditionalLockRelationOid(index, mode) {
                return Err(NotOpen::Locked);
            }
            // Looked up under the lock: it may have been dropped before.
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
        // SAFETY: in a transaction; the functions raise an error if the command is not allowed.
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

    /// Opens an index that the user has named, to tell what it consists of: to its owner, and to
    /// those who may monitor.
    pub fn to_tell_of(index: pg_sys::Oid) -> Self {
        Self::named(index, READ, |owner| owner::has_rights_of(owner) || owner::may_monitor())
    }

    /// Opens an index, or a partitioned one, of whose table the user may read something.
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
        // SAFETY: in a transaction; an error is raised if there is no such relation.
        let relation = unsafe { Relation::from_raw(pg_sys::relation_open(index, mode)) };
        if !method::is_own(relation) {
            Problem::new(
                ERRCODE_WRONG_OBJECT_TYPE,
                format!("\"{}\" is not a vdb_hnsw or vdb_ivf index", relation.name()),
            )
            .raise();
        }
        // SAFETY: in a transaction.
        if unsafe { pg_sys::IndexGetRelation(index, true) } != table {
            Problem::new(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("index \"{}\" was changed just now", relation.name()),
            )
            .raise();
        }
        Self { relation, released: KEPT }
    }

    /// `may` tells whether the user may open what is of an owner: nobody else gets to lock it.
    fn named(index: pg_sys::Oid, mode: pg_sys::LOCKMODE, may: impl Fn(pg_sys::Oid) -> bool) -> Self {
        let check = |relation: pg_sys::Oid| {
            if catalog::class_row(relation).is_some_and(|row| !may(row.owner)) {
                refuse(index, pg_sys::AclResult::ACLCHECK_NOT_OWNER, pg_sys::ObjectType::OBJECT_INDEX);
            }
        };
        check(index);
        let table = lock_table(index, check);
        let open = Self::locked(index, table, mode);
        // Its owner may be another since.
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

    /// Why the index has no pages that this process could read.
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

/// Locks the table of an index, which comes before the index in the order of PostgreSQL's DDL,
/// after a check; the invalid number if it is none.
fn lock_table(index: pg_sys::Oid, check: impl Fn(pg_sys::Oid)) -> pg_sys::Oid {
    // SAFETY: in a transaction.
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
    // SAFETY: in a transaction; the name is PostgreSQL's copy, or null for what was dropped just
    // now.
    unsafe { pg_sys::aclcheck_error(why, of, pg_sys::get_rel_name(relation)) };
    unreachable!("an error does not return")
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by this value.
            unsafe { pg_sys::relation_close(self.relation.raw(), self.released) };
        }
    }
}
