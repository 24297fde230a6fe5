//! EXPLAIN ANALYZE of an index scan shows the steps of its last search.

use super::scan;
use crate::pg::compat;
use crate::pg::method::is_own;
use crate::pg::relation::Relation;
use crate::segment::report::StepReport;
use pgrx::pg_sys;

/// Has EXPLAIN show steps; called once when the library is loaded.
pub fn register() {
    compat::register_explain(c"Search Steps", steps_of);
}

/// The steps of a scan in words; none for an index of another kind.
///
/// # Safety
/// `scan` points to a scan that was executed and has not ended.
unsafe fn steps_of(scan: pg_sys::IndexScanDesc) -> Vec<String> {
    // SAFETY: the scan has not ended by this function's contract, so its index is open. If the
    // index is ours, `ambeginscan` made the scan.
    unsafe {
        match is_own(Relation::from_raw((*scan).indexRelation)) {
            true => scan::steps(scan).iter().map(line).collect(),
            false => Vec::new(),
        }
    }
}

/// A step in words, as in:
/// `segment 3 graph graph (effort 100, 5000 of 340475 rows, expected 0.512 ms, …)`.
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
