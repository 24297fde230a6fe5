//! Partitions of tables and their indexes.

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{PgList, pg_sys};

unsafe extern "C-unwind" {
    /// A partition's parent, the parent's parent, and so on. The bindings lack it.
    fn get_partition_ancestors(relation: pg_sys::Oid) -> *mut pg_sys::List;
}

/// Whether a relation is `other`, or a partition of it at any level.
pub fn is_part_of(relation: pg_sys::Oid, other: pg_sys::Oid) -> bool {
    if relation == other {
        return true;
    }
    // SAFETY: the function only reads catalogs, in the caller's transaction. It returns a list of
    // Oids, or null (an empty list) for a relation that is no partition. The boundary turns its
    // errors into panics.
    let ancestors = unsafe {
        PgList::<pg_sys::Oid>::from_pg(pg_guard_ffi_boundary(|| get_partition_ancestors(relation)))
    };
    ancestors.iter_oid().any(|parent| parent == other)
}
