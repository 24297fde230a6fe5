//! Which access methods are ours, whatever their names: those whose handlers return our function
//! for inserts.

use super::relation::Relation;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

type InsertFunction = pg_sys::aminsert_function;

thread_local! {
    static INSERT: Cell<InsertFunction> = const { Cell::new(None) };
    /// Whether an access method is ours, as far as it was looked up.
    static KNOWN: RefCell<HashMap<pg_sys::Oid, bool>> = RefCell::default();
}

/// Declares the function by which our access methods are recognized; called once when the library
/// is loaded.
pub fn register(insert: InsertFunction) {
    INSERT.set(insert);
    // SAFETY: the callback has the expected signature and lives as long as the process. PostgreSQL
    // calls it after every change of a row of pg_am.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::AMOID as i32;
        pg_sys::CacheRegisterSyscacheCallback(cache, Some(forget), pg_sys::Datum::from(0));
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn forget(_argument: pg_sys::Datum, _cache: i32, _hash: pg_sys::uint32) {
    KNOWN.with_borrow_mut(HashMap::clear);
}

fn is_ours(routine: Option<&pg_sys::IndexAmRoutine>) -> bool {
    let address = |function: InsertFunction| function.map(|function| function as usize);
    let insert = routine.and_then(|routine| address(routine.aminsert));
    insert.is_some() && insert == address(INSERT.get())
}

/// Whether the relation is an index of one of our access methods.
pub fn is_own(relation: Relation) -> bool {
    // SAFETY: a [`Relation`] is open. `rd_indam` is null, or the routine of an index, valid while
    // it is open.
    is_ours(unsafe { (*relation.raw()).rd_indam.as_ref() })
}

/// Whether an access method is ours.
pub fn is_own_method(method: pg_sys::Oid) -> bool {
    if method == pg_sys::InvalidOid {
        return false;
    }
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&method).copied()) {
        return known;
    }
    // SAFETY: a catalog look-up in the caller's transaction. The routine is null for anything but
    // an index access method, and otherwise a fresh allocation that stays valid here.
    let is_own = is_ours(unsafe { pg_sys::GetIndexAmRoutineByAmId(method, true).as_ref() });
    KNOWN.with_borrow_mut(|known| known.insert(method, is_own));
    is_own
}
