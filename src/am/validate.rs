//! What an operator class of our access methods must consist of.

use super::opclass::FIRST_FILTER;
use pgrx::{pg_guard, pg_sys};
use std::ffi::CStr;

/// A vector's operators: the order, and possibly the sphere.
const ORDER: i16 = 1;
const SPHERE: i16 = 2;
/// Operators of filter columns.
const FILTERS: std::ops::RangeInclusive<i16> = 1..=8;

#[pg_guard]
pub unsafe extern "C-unwind" fn amvalidate(opclass: pg_sys::Oid) -> bool {
    // SAFETY: PostgreSQL calls this in a transaction.
    let faults = unsafe { faults_of(opclass) };
    for fault in &faults {
        pgrx::info!("{fault}");
    }
    faults.is_empty()
}

/// What is wrong with an operator class.
///
/// # Safety
/// The caller is in a transaction.
unsafe fn faults_of(opclass: pg_sys::Oid) -> Vec<String> {
    // SAFETY: the caller is in a transaction, so catalogs can be read. A row of pg_opclass begins
    // with its struct, which is copied before the tuple is released. Support function 1 is called
    // only after its signature was checked.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::CLAOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, opclass.into());
        let Some(row) = tuple.as_mut() else {
            return vec![format!("there is no operator class {opclass:?}")];
        };
        let class = *pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_opclass>();
        let name = CStr::from_ptr(class.opcname.data.as_ptr()).to_string_lossy().into_owned();
        pg_sys::ReleaseSysCache(tuple);
        let (family, of) = (class.opcfamily, class.opcintype);
        let fault = |text: String| format!("operator class \"{name}\": {text}");
        let function = pg_sys::get_opfamily_proc(family, of, of, 1);
        if function == pg_sys::InvalidOid {
            return vec![fault("it lacks support function 1".into())];
        }
        if pg_sys::get_func_rettype(function) != pg_sys::INT4OID || pg_sys::get_func_nargs(function) != 0 {
            return vec![fault("its support function 1 must take no argument and return integer".into())];
        }
        let number = pg_sys::OidFunctionCall0Coll(function, pg_sys::InvalidOid).value() as i32;
        let is_vector = number < FIRST_FILTER;
        let mut faults = Vec::new();
        if is_vector && pg_sys::get_opfamily_member(family, of, of, ORDER) == pg_sys::InvalidOid {
            faults.push(fault("it lacks the operator that its indexes order by".into()));
        }
        for operator in operators_of(family) {
            let strategy = operator.amopstrategy;
            let is_order = operator.amoppurpose as u8 == pg_sys::AMOP_ORDER;
            let is_right = match is_vector {
                true if strategy == ORDER => is_order,
                true => strategy == SPHERE && !is_order,
                false => FILTERS.contains(&strategy) && !is_order,
            };
            if !is_right {
                faults.push(fault(format!("its operator {strategy} is unknown, or of the wrong purpose")));
            }
        }
        faults
    }
}

/// The operators of a family.
///
/// # Safety
/// The caller is in a transaction.
unsafe fn operators_of(family: pg_sys::Oid) -> Vec<pg_sys::FormData_pg_amop> {
    let none = pg_sys::Datum::from(0);
    // SAFETY: the caller is in a transaction. The list has `n_members` entries that are rows of
    // pg_amop. They are copied before the list is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::AMOPSTRATEGY as i32;
        let list = pg_sys::SearchSysCacheList(cache, 1, family.into(), none, none);
        let members = (*list).members.as_slice((*list).n_members as usize);
        let row = |&member: &*mut pg_sys::CatCTup| {
            let tuple = &raw mut (*member).tuple;
            *pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_amop>()
        };
        let rows = members.iter().map(row).collect();
        pg_sys::ReleaseCatCacheList(list);
        rows
    }
}
