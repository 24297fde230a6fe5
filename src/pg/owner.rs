//! The rights under which an index owner's code runs: expressions, predicates, and what they call.

use super::compat;
use super::relation::Relation;
use pgrx::pg_sys;

/// While it lives, the process acts for a relation's owner in a security-restricted operation.
/// Settings have a nest level of their own, and the search path is `pg_catalog, pg_temp`.
/// PostgreSQL 17's REINDEX does the same.
///
/// An error ends it, too: the abort of a transaction restores the rights that it began with.
pub struct AsOwner {
    user: pg_sys::Oid,
    context: i32,
    nest_level: i32,
}

impl AsOwner {
    pub fn of(relation: Relation) -> Self {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: the caller is in a transaction. `drop` or the transaction's abort restores the
        // user and ends the nest level of settings.
        let nest_level = unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            let restricted = context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
            pg_sys::SetUserIdAndSecContext(relation.owner(), restricted);
            let nest_level = pg_sys::NewGUCNestLevel();
            compat::restrict_search_path();
            nest_level
        };
        Self { user, context, nest_level }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the values are those that `of` saved, in the same transaction. Nest levels
            // end in reverse order, as guards are dropped.
            unsafe {
                pg_sys::AtEOXact_GUC(false, self.nest_level);
                pg_sys::SetUserIdAndSecContext(self.user, self.context);
            }
        }
    }
}

/// Whether the current user has the rights of an owner.
pub fn has_rights_of(owner: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups in the caller's transaction, with plain values as arguments.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), owner) }
}

/// Whether the current user may see what others' relations consist of. PostgreSQL's own statistics
/// have the same rule.
pub fn may_monitor() -> bool {
    has_rights_of(pg_sys::Oid::from_u32(pg_sys::ROLE_PG_READ_ALL_STATS))
}

/// Whether the current user may read a table, or some of its columns.
pub fn may_read(table: pg_sys::Oid) -> bool {
    let select = u64::from(pg_sys::ACL_SELECT) as pg_sys::AclMode;
    // SAFETY: catalog look-ups in the caller's transaction, with plain values as arguments.
    unsafe {
        let user = pg_sys::GetUserId();
        pg_sys::pg_class_aclcheck(table, user, select) == pg_sys::AclResult::ACLCHECK_OK
            || pg_sys::pg_attribute_aclcheck_all(table, user, select, pg_sys::AclMaskHow::ACLMASK_ANY)
                == pg_sys::AclResult::ACLCHECK_OK
    }
}
