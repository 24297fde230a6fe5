//! The cost of an index scan, for the planner.

use super::effort;
use crate::pg::compat;
use crate::pg::relation::Relation;
use crate::search::cost_model::{Cost, Range, growing_cost};
use crate::segment::structure_of;
use crate::storage::manifest::Sealed;
use crate::storage::snapshot::Snapshot;
use pgrx::{pg_guard, pg_sys};

/// Nanoseconds per unit of the planner's cost, with everything in memory. By it, a plan that reads
/// *n* rows by a btree and sorts them takes as long as it costs. docs/decisions.md has
/// the measurements.
const UNIT: f64 = 700.0;
/// The same for rows whose vectors lie out of line. Fetching those is not in the cost of such a
/// plan, but takes most of its time.
const UNIT_OUT_OF_LINE: f64 = 3500.0;
/// Vectors of more bytes than this lie out of line.
const LONGEST_IN_LINE: usize = 2000;

/// The cost of searching the sealed segments, if `share` of their rows matches.
fn sealed_cost(snapshot: &Snapshot, share: Option<f64>, range: Option<Range>) -> Cost {
    // Of a segment, the rows that a search must select, unless these are nearly all.
    let matches = |segment: &Sealed| {
        let live = segment.live();
        let share = share.or_else(|| segment.is_thinned().then_some(1.0))?;
        Some((f64::from(live) * share).ceil() as usize)
    };
    structure_of(&snapshot.meta.structure).cost(snapshot, &matches, effort::effort(snapshot), range)
}

/// How many spheres a path searches within; neither `IS NOT NULL` nor `ANY` of several counts.
///
/// # Safety
/// `path` is a valid path of the planner, so its clauses are, too.
pub unsafe fn spheres_of(path: &pg_sys::IndexPath) -> usize {
    // SAFETY: the path is valid by this function's contract. So its list holds valid IndexClauses,
    // each with a restriction and its clause, and reading a node's tag is allowed.
    unsafe {
        let clauses = pgrx::PgList::<pg_sys::IndexClause>::from_pg(path.indexclauses);
        let is_sphere = |clause: &*mut pg_sys::IndexClause| {
            (**clause).indexcol == 0 && (*(*(**clause).rinfo).clause).type_ == pg_sys::NodeTag::T_OpExpr
        };
        clauses.iter_ptr().filter(is_sphere).count()
    }
}

/// Whether a path looks for rows without a vector. Its own conditions may ask for them, or the
/// index's predicate, which may imply conditions that the path then lacks.
///
/// # Safety
/// `path` is a valid path of the planner, so its clauses and its index are, too.
pub unsafe fn asks_for_null(path: &pg_sys::IndexPath) -> bool {
    // SAFETY: the path is valid by this function's contract, and so are its clauses, its index and
    // the predicate. A tag says that a condition is a NullTest, so the cast reads the right struct.
    unsafe {
        let is_null_test = |condition: *mut pg_sys::Node| {
            (*condition).type_ == pg_sys::NodeTag::T_NullTest
                && (*condition.cast::<pg_sys::NullTest>()).nulltesttype == pg_sys::NullTestType::IS_NULL
        };
        let clauses = pgrx::PgList::<pg_sys::IndexClause>::from_pg(path.indexclauses);
        let mut of_vector = clauses.iter_ptr().filter(|&clause| (*clause).indexcol == 0);
        let predicate = pgrx::PgList::<pg_sys::Node>::from_pg((*path.indexinfo).indpred);
        of_vector.any(|clause| is_null_test((*(*clause).rinfo).clause.cast()))
            || predicate.iter_ptr().any(|condition| {
                is_null_test(condition)
                    && pg_sys::match_index_to_operand(
                        (*condition.cast::<pg_sys::NullTest>()).arg.cast(),
                        0,
                        path.indexinfo,
                    )
            })
    }
}

#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
pub unsafe extern "C-unwind" fn amcostestimate(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    loop_count: f64,
    startup_cost: *mut pg_sys::Cost,
    total_cost: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    // SAFETY: PostgreSQL passes valid planner nodes and out-parameters. The planner has locked the
    // index, so it can be opened without a lock. All-zero GenericCosts are valid.
    unsafe {
        *correlation = 0.0;
        let clauses = pgrx::PgList::<pg_sys::IndexClause>::from_pg((*path).indexclauses);
        let has_filters = clauses.iter_ptr().any(|clause| (*clause).indexcol != 0);
        let spheres = spheres_of(&*path);
        if (*path).indexorderbys.is_null() && spheres == 0 || asks_for_null(&*path) {
            // Rows without a vector are not in the index, so such paths are dropped later (see
            // `range_condition`). Until then they cost more than any other, so that the planner
            // does not drop others for them. The cost is finite, as sums of infinite costs can
            // become NaN.
            compat::disable(&mut (*path).path);
            *startup_cost = NEVER;
            *total_cost = NEVER;
            *selectivity = 1.0;
            *pages = f64::from((*(*path).indexinfo).pages);
            return;
        }
        let info = (*path).indexinfo;
        let tuples = (*info).tuples.max(0.0);
        if (*info).hypothetical {
            // A hypothetical index has no pages to read; assume a few.
            *startup_cost = ROOT_PAGES * pg_sys::random_page_cost;
            *total_cost = *startup_cost + tuples * pg_sys::cpu_index_tuple_cost;
            *selectivity = 1.0;
            *pages = ROOT_PAGES;
            return;
        }
        // The planner holds a lock already.
        let raw = pg_sys::index_open((*info).indexoid, pg_sys::NoLock as pg_sys::LOCKMODE);
        let snapshot = Snapshot::read(Relation::from_raw(raw));
        pg_sys::index_close(raw, pg_sys::NoLock as pg_sys::LOCKMODE);

        let mut costs = pg_sys::GenericCosts { ..std::mem::zeroed() };
        pg_sys::genericcostestimate(root, path, loop_count, &mut costs);
        // Each sphere is estimated at this selectivity, and does not save looking at the other
        // rows.
        let range = if (*path).indexorderbys.is_null() { Range::All } else { Range::InOrder };
        let in_filters = costs.indexSelectivity / SPHERE_SELECTIVITY.powi(spheres as i32);
        // With hundreds of spheres the divisor becomes zero.
        let in_filters = if in_filters.is_finite() { in_filters.clamp(0.0, 1.0) } else { 1.0 };
        let share = has_filters.then_some(in_filters);

        let sealed: f64 = snapshot.manifest.sealed.iter().map(|segment| f64::from(segment.rows)).sum();
        let matches = tuples * share.unwrap_or(1.0);
        let growing = (tuples - sealed).max(0.0);
        let cost = sealed_cost(&snapshot, share, (spheres > 0).then_some(range));
        let has_codes = snapshot.meta.quantizer.has_codes();
        let is_in_line = snapshot.meta.space.row_bytes().is_none_or(|bytes| bytes <= LONGEST_IN_LINE);
        let unit = if is_in_line { UNIT } else { UNIT_OUT_OF_LINE };
        let search =
            (cost.begin + growing_cost(growing, has_codes)) / unit + ROOT_PAGES * pg_sys::seq_page_cost;
        let further_rows = (matches - cost.rows - growing).max(0.0);
        *startup_cost = search;
        *total_cost = search + further_rows * cost.further / unit + matches * pg_sys::cpu_index_tuple_cost;
        *selectivity = costs.indexSelectivity;
        *pages = costs.numIndexPages;
    }
}

/// The cost of a path that must not be chosen, beyond PostgreSQL's own penalty for disabled paths.
const NEVER: f64 = 1e15;

/// The estimate of `contsel`.
const SPHERE_SELECTIVITY: f64 = 0.001;

/// Pages that every scan begins with, also of a small index: the meta page and the lanes.
const ROOT_PAGES: f64 = 5.0;
