//! Partitions of tables and their indexes.

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{PgList, pg_sys};

unsafe extern "C-unwind" {
    /// A partition's parent, its parent's, and so on; not in the bindings.
    fn get_partition_ancestors(relation: pg_sys::Oid) -> *mut pg_sys::List;
}

/// Whether a relation is another, or a partition of it or of its partitions.
pub fn is_part_of(relation: pg_sys::Oid, other: pg_sys::Oid) -> bool {
    if relation == other {
        return true;
    }
    // SAFETY: in a transaction; a list of numbers, empty for what is no partition.
    let ancestors = unsafe {
        PgList::<pg_sys::Oid>::from_pg(pg_guard_ffi_boundary(|| get_partition_ancestors(relation)))
    };
    ancestors.iter_oid().any(|parent| parent == other)
}
