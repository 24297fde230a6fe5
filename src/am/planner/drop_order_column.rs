//! Distances that nobody looks at. A plan computes what it orders by for every row, also where the
//! order is the index's own and the value is dropped at the end. For a long vector, which is stored
//! out of line, that takes longer than the search: such values are left out of the plan.

use super::reuse_distance;
use crate::pg::catalog;
use pgrx::{PgList, pg_guard, pg_sys};

static mut PREVIOUS: pg_sys::planner_hook_type = None;

/// Sets the hook; called once when the library is loaded.
pub fn register() {
    // SAFETY: PostgreSQL runs on one thread; hooks are set while a library is loaded.
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
    // SAFETY: PostgreSQL passes what a planner wants, and returns a plan that nobody else has seen
    // yet.
    unsafe {
        let planned = match PREVIOUS {
            Some(previous) => previous(query, text, options, parameters),
            None => pg_sys::standard_planner(query, text, options, parameters),
        };
        leave_out(planned.as_ref().map_or(std::ptr::null_mut(), |planned| planned.planTree));
        if let Some(planned) = planned.as_ref() {
            PgList::<pg_sys::Plan>::from_pg(planned.subplans).iter_ptr().for_each(|plan| leave_out(plan));
        }
        planned
    }
}

/// Looks through a plan for limits of ordered index scans.
///
/// # Safety
/// A plan, or null.
unsafe fn leave_out(plan: *mut pg_sys::Plan) {
    // SAFETY: the caller's promise; a node's tag tells its type.
    unsafe {
        let Some(node) = plan.as_ref() else { return };
        let children =
            |list| PgList::<pg_sys::Plan>::from_pg(list).iter_ptr().for_each(|plan| leave_out(plan));
        match node.type_ {
            pg_sys::NodeTag::T_Append => children((*plan.cast::<pg_sys::Append>()).appendplans),
            pg_sys::NodeTag::T_MergeAppend => children((*plan.cast::<pg_sys::MergeAppend>()).mergeplans),
            pg_sys::NodeTag::T_SubqueryScan => leave_out((*plan.cast::<pg_sys::SubqueryScan>()).subplan),
            pg_sys::NodeTag::T_IndexScan => {
                own_scan(plan).into_iter().for_each(|scan| reuse_distance::hand_over(scan));
            }
            // WITH TIES looks at what is ordered by.
            pg_sys::NodeTag::T_Limit
                if (*plan.cast::<pg_sys::Limit>()).limitOption == pg_sys::LimitOption::LIMIT_OPTION_COUNT =>
            {
                own_scan(node.lefttree).into_iter().for_each(|scan| leave_out_of_scan(scan));
            }
            _ => {}
        }
        leave_out(node.lefttree);
        leave_out(node.righttree);
    }
}

/// A plan as a scan of an index of ours in its order, if it is one.
///
/// # Safety
/// A plan that nobody else refers to, or null.
unsafe fn own_scan<'a>(plan: *mut pg_sys::Plan) -> Option<&'a mut pg_sys::IndexScan> {
    // SAFETY: the caller's promise; a node's tag tells its type.
    unsafe {
        plan.as_ref().filter(|plan| plan.type_ == pg_sys::NodeTag::T_IndexScan)?;
        let scan = &mut *plan.cast::<pg_sys::IndexScan>();
        // Most scans have no order: nothing is looked up for them.
        (!scan.indexorderbyorig.is_null() && is_own(scan.indexid)).then_some(scan)
    }
}

/// Replaces what a scan only orders by: a limit above it passes it on to nobody.
///
/// # Safety
/// A scan of an index of ours under a limit.
unsafe fn leave_out_of_scan(scan: &mut pg_sys::IndexScan) {
    // SAFETY: the caller's promise; target lists hold target entries.
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

/// Whether an index is of one of our access methods.
fn is_own(index: pg_sys::Oid) -> bool {
    catalog::class_row(index).is_some_and(catalog::ClassRow::is_own_index)
}
