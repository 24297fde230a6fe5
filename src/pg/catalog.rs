//! PostgreSQL's catalogs, read without SQL: a worker acts as a superuser, under settings that a
//! database's owner chooses.

use super::method;
use pgrx::pg_sys;

/// A relation's row in pg_class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRow {
    pub oid: pg_sys::Oid,
    pub kind: u8,
    pub access_method: pg_sys::Oid,
    pub persistence: u8,
    pub owner: pg_sys::Oid,
}

impl ClassRow {
    fn of(row: &pg_sys::FormData_pg_class) -> Self {
        Self {
            oid: row.oid,
            kind: row.relkind as u8,
            access_method: row.relam,
            persistence: row.relpersistence as u8,
            owner: row.relowner,
        }
    }

    /// Whether it is a temporary relation of this or of another session.
    pub fn is_temporary(self) -> bool {
        self.persistence == pg_sys::RELPERSISTENCE_TEMP
    }

    /// Whether it is an index, not a partitioned one, of ours.
    pub fn is_own_index(self) -> bool {
        self.kind == pg_sys::RELKIND_INDEX && method::is_own_method(self.access_method)
    }
}

/// The row of a relation, if it exists.
pub fn class_row(relation: pg_sys::Oid) -> Option<ClassRow> {
    // SAFETY: the caller is in a transaction. A row of pg_class begins with `FormData_pg_class`,
    // and the tuple stays valid until it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, relation.into());
        let row = tuple.as_mut()?;
        let row = ClassRow::of(&*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_class>());
        pg_sys::ReleaseSysCache(tuple);
        Some(row)
    }
}

/// All indexes of ours in this database.
pub fn own_indexes() -> Vec<ClassRow> {
    let mut indexes = Vec::new();
    // SAFETY: the caller is in a transaction, and the rows are those of pg_class, which begin with
    // `FormData_pg_class`.
    unsafe {
        for_each_row(pg_sys::RelationRelationId, |row| {
            let row = ClassRow::of(&*row.cast::<pg_sys::FormData_pg_class>());
            if row.kind == pg_sys::RELKIND_INDEX {
                indexes.push(row);
            }
        });
    }
    // Handlers are called only after the scan has ended.
    indexes.retain(|row| row.is_own_index());
    indexes
}

/// Databases that can be connected to.
pub fn databases() -> Vec<u32> {
    let mut databases = Vec::new();
    // SAFETY: the caller is in a transaction, and the rows are those of pg_database, which begin
    // with `FormData_pg_database`.
    unsafe {
        for_each_row(pg_sys::DatabaseRelationId, |row| {
            let row = row.cast::<pg_sys::FormData_pg_database>();
            // A database whose creation or drop was interrupted is invalid.
            const INVALID: i32 = -2;
            if (*row).datallowconn && (*row).datconnlimit != INVALID {
                databases.push((*row).oid.to_u32());
            }
        });
    }
    databases
}

/// Calls `visit` with the fixed part of each row of a catalog. PostgreSQL's own launcher reads
/// pg_database so.
///
/// # Safety
/// The caller is in a transaction, and `catalog` is a catalog. `visit` uses a row during its call
/// only.
unsafe fn for_each_row(catalog: pg_sys::Oid, mut visit: impl FnMut(*mut std::ffi::c_char)) {
    // SAFETY: `catalog` is a catalog by this function's contract, so it can be opened and scanned.
    // Each tuple is valid until the next is fetched, which is after `visit` has returned.
    unsafe {
        let catalog = pg_sys::table_open(catalog, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let scan = pg_sys::table_beginscan_catalog(catalog, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            visit(pg_sys::GETSTRUCT(tuple).cast());
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
    }
}
