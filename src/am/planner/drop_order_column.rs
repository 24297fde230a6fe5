//! Leaves out distances that no plan node reads. A plan computes its order's value for every row,
//! also where the index has that order and the value is dropped at the end. For a long vector,
//! stored out of line, that takes longer than the search.

use super::reuse_distance;
use crate::pg::catalog;
use pgrx::{PgList, pg_guard, pg_sys};

static mut PREVIOUS: pg_sys::planner_hook_type = None;

/// Sets the hook; called once when the library is loaded.
pub fn register() {
    // SAFETY: PostgreSQL runs on one thread, and libraries are loaded on it: nothing reads the
    // variables meanwhile.
    unsafe {
        PREVIOUS = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(plan_without_unused);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn plan_without_unused(
    query: *mut pg_sys::Query,
    text: *const std::ffi::c_char,
    options: i32,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: PostgreSQL passes a planner's arguments, which go on unchanged. The result is null or
    // a valid plan, which no other code refers to yet. `PREVIOUS` is written only while the library
    // is loaded.
    unsafe {
        let planned = match PREVIOUS {
            // The boundary turns its errors into panics.
            Some(previous) => {
                pg_sys::ffi::pg_guard_ffi_boundary(|| previous(query, text, options, parameters))
            }
            None => pg_sys::standard_planner(query, text, options, parameters),
        };
        leave_out(planned.as_ref().map_or(std::ptr::null_mut(), |planned| planned.planTree));
        if let Some(planned) = planned.as_ref() {
            PgList::<pg_sys::Plan>::from_pg(planned.subplans).iter_ptr().for_each(|plan| leave_out(plan));
        }
        planned
    }
}

/// Searches a plan for limits of ordered index scans, and for ordered index scans.
///
/// # Safety
/// `plan` is null, or points to a finished plan that no other code refers to.
unsafe fn leave_out(plan: *mut pg_sys::Plan) {
    // SAFETY: `plan` is null or a valid plan by this function's contract, and so are its parts.
    // Each cast follows the tag, which names the struct. Lists of plans hold plans.
    unsafe {
        if plan.is_null() {
            return;
        }
        // Copied: a reference would not outlive the scan that `own_scan` returns for the same node.
        let (tag, left, right) = ((*plan).type_, (*plan).lefttree, (*plan).righttree);
        let children =
            |list| PgList::<pg_sys::Plan>::from_pg(list).iter_ptr().for_each(|plan| leave_out(plan));
        match tag {
            pg_sys::NodeTag::T_Append => children((*plan.cast::<pg_sys::Append>()).appendplans),
            pg_sys::NodeTag::T_MergeAppend => children((*plan.cast::<pg_sys::MergeAppend>()).mergeplans),
            pg_sys::NodeTag::T_SubqueryScan => leave_out((*plan.cast::<pg_sys::SubqueryScan>()).subplan),
            pg_sys::NodeTag::T_IndexScan => {
                own_scan(plan).into_iter().for_each(|scan| reuse_distance::hand_over(scan));
            }
            // WITH TIES compares the values that it orders by.
            pg_sys::NodeTag::T_Limit
                if (*plan.cast::<pg_sys::Limit>()).limitOption == pg_sys::LimitOption::LIMIT_OPTION_COUNT =>
            {
                own_scan(left).into_iter().for_each(|scan| leave_out_of_scan(scan));
            }
            _ => {}
        }
        leave_out(left);
        leave_out(right);
    }
}

/// A plan as a scan of an index of ours in its order, if it is one.
///
/// # Safety
/// `plan` is null, or points to a finished plan that no other code refers to.
unsafe fn own_scan<'a>(plan: *mut pg_sys::Plan) -> Option<&'a mut pg_sys::IndexScan> {
    // SAFETY: `plan` is null or a valid plan by this function's contract. Its tag says that it is
    // an IndexScan, so the cast reads the right struct, and no other code refers to it.
    unsafe {
        plan.as_ref().filter(|plan| plan.type_ == pg_sys::NodeTag::T_IndexScan)?;
        let scan = &mut *plan.cast::<pg_sys::IndexScan>();
        // Most scans have no order: no catalog is read for them.
        (!scan.indexorderbyorig.is_null() && is_own(scan.indexid)).then_some(scan)
    }
}

/// Replaces the values that a scan only orders by: a limit above it does not return them.
///
/// # Safety
/// `scan` is of an index of ours, directly below a limit, in a plan that no other code refers to.
unsafe fn leave_out_of_scan(scan: &mut pg_sys::IndexScan) {
    // SAFETY: the scan is part of a valid plan by this function's contract, so its order is a list
    // of nodes. Its target list holds entries with expressions. Nothing else refers to the entries
    // that change.
    unsafe {
        let ordered = PgList::<pg_sys::Node>::from_pg(scan.indexorderbyorig);
        for entry in PgList::<pg_sys::TargetEntry>::from_pg(scan.scan.plan.targetlist).iter_ptr() {
            let expression: *mut pg_sys::Node = (*entry).expr.cast();
            let is_order = |&other: &*mut pg_sys::Node| pg_sys::equal(expression.cast(), other.cast());
            if (*entry).resjunk && ordered.iter_ptr().any(|other| is_order(&other)) {
                let null = pg_sys::makeNullConst(
                    pg_sys::exprType(expression),
                    pg_sys::exprTypmod(expression),
                    pg_sys::exprCollation(expression),
                );
                (*entry).expr = null.cast();
            }
        }
    }
}

/// Whether an index belongs to one of our access methods.
fn is_own(index: pg_sys::Oid) -> bool {
    catalog::class_row(index).is_some_and(catalog::ClassRow::is_own_index)
}
