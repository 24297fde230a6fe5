//! What PostgreSQL asks of an index access method.

use super::{cost, insert, scan, vacuum, validate};
use crate::pg::compat;
use crate::pg::progress::Phase;
use pgrx::{AllocatedByRust, PgBox, pg_guard, pg_sys};

/// What both access methods have in common; the meta page has the rest.
pub fn routine() -> PgBox<pg_sys::IndexAmRoutine, AllocatedByRust> {
    // SAFETY: the tag T_IndexAmRoutine belongs to the struct IndexAmRoutine, and a zeroed node is
    // valid.
    let mut routine =
        unsafe { PgBox::<pg_sys::IndexAmRoutine>::alloc_node(pg_sys::NodeTag::T_IndexAmRoutine) };
    routine.amstrategies = 0;
    routine.amsupport = 1;
    routine.amcanorderbyop = true;
    routine.amcanmulticol = true;
    routine.amsearcharray = true;
    routine.amsearchnulls = true;
    routine.amoptionalkey = true;
    // An index holds whatever fits the column, in its own layout.
    routine.amkeytype = pg_sys::InvalidOid;
    compat::can_build_in_parallel(&mut routine);
    routine.amparallelvacuumoptions = pg_sys::VACUUM_OPTION_PARALLEL_BULKDEL as u8;

    routine.aminsert = Some(insert::aminsert);
    routine.ambulkdelete = Some(vacuum::ambulkdelete);
    routine.amvacuumcleanup = Some(vacuum::amvacuumcleanup);
    routine.amcostestimate = Some(cost::amcostestimate);
    routine.ambuildphasename = Some(ambuildphasename);
    routine.amvalidate = Some(validate::amvalidate);
    routine.ambeginscan = Some(scan::ambeginscan);
    routine.amrescan = Some(scan::amrescan);
    routine.amgettuple = Some(scan::amgettuple);
    routine.amendscan = Some(scan::amendscan);
    routine
}

#[pg_guard]
unsafe extern "C-unwind" fn ambuildphasename(phase: i64) -> *mut std::ffi::c_char {
    Phase::name(phase).map_or(std::ptr::null_mut(), |name| name.as_ptr().cast_mut())
}
