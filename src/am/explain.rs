//! EXPLAIN ANALYZE of an index scan shows the steps of its last search. PostgreSQL 18 is the first to let extensions.

use super::scan;
use crate::pg::method::is_own;
use crate::pg::relation::Relation;
use crate::segment::report::StepReport;
use pgrx::{PgList, pg_guard, pg_sys};
use std::ffi::CString;

static mut PREVIOUS: pg_sys::explain_per_node_hook_type = None;

/// Sets the hook; called once when the library is loaded.
pub fn register() {
    // SAFETY: PostgreSQL runs on one thread; hooks are set while a library is loaded.
    unsafe {
        PREVIOUS = pg_sys::explain_per_node_hook;
        pg_sys::explain_per_node_hook = Some(explain_steps);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn explain_steps(
    state: *mut pg_sys::PlanState,
    ancestors: *mut pg_sys::List,
    relationship: *const std::ffi::c_char,
    plan_name: *const std::ffi::c_char,
    explain: *mut pg_sys::ExplainState,
) {
    // SAFETY: PostgreSQL passes valid nodes, whose tags tell their types. A plan that was executed has not ended yet: the
    // scan, if there is one, is open.
    unsafe {
        if let Some(previous) = PREVIOUS {
            previous(state, ancestors, relationship, plan_name, explain);
        }
        if !(*explain).analyze || (*state).type_ != pg_sys::NodeTag::T_IndexScanState {
            return;
        }
        let scan = (*state.cast::<pg_sys::IndexScanState>()).iss_ScanDesc;
        if scan.is_null() || !is_own(Relation::from_raw((*scan).indexRelation)) {
            return;
        }
        let mut lines = PgList::<std::ffi::c_char>::new();
        for step in scan::steps(scan) {
            let line = CString::new(line(&step)).unwrap_or_default();
            lines.push(pg_sys::pstrdup(line.as_ptr()));
        }
        if !lines.is_empty() {
            pg_sys::ExplainPropertyList(c"Search Steps".as_ptr(), lines.into_pg(), explain);
        }
    }
}

/// A step in words, as in: `segment 3 graph graph (effort 100, 5000 of 340475 rows, expected 0.512 ms, …)`.
fn line(step: &StepReport) -> String {
    let StepReport { structure, step: way, rows, effort, returned, work, pages, expected, .. } = step;
    let place = step.segment.map_or_else(|| "all segments".into(), |segment| format!("segment {segment}"));
    let effort = effort.map(|effort| format!("effort {effort}, ")).unwrap_or_default();
    let matches = step.matches.map(|matches| format!("{matches} of ")).unwrap_or_default();
    format!(
        "{place} {structure} {way} ({effort}{matches}{rows} rows, expected {:.3} ms, returned {returned}, \
         estimated {}, compared {}, pages {pages})",
        expected.as_secs_f64() * 1e3,
        work.estimated,
        work.compared,
    )
}
