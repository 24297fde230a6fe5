//! What an index scan costs, told to the planner.

use super::effort;
use crate::pg::compat;
use crate::pg::relation::Relation;
use crate::search::cost_model::{Cost, Range, growing_cost};
use crate::segment::structure_of;
use crate::storage::manifest::Sealed;
use crate::storage::snapshot::Snapshot;
use pgrx::{pg_guard, pg_sys};

/// Nanoseconds of one unit of the planner's cost, where everything is in memory: a plan that reads
/// *n* rows by a btree and sorts them takes as long as it costs (see docs/decisions.md for what
/// was measured).
const UNIT: f64 = 700.0;
/// The same of rows whose vectors lie out of line: fetching those is no part of what such a plan
/// costs, but most of what it takes.
const UNIT_OUT_OF_LINE: f64 = 3500.0;
/// Rows are made no longer than so many bytes.
const LONGEST_IN_LINE: usize = 2000;

/// What searching the sealed segments costs, of whose rows a share matches.
fn sealed_cost(snapshot: &Snapshot, share: Option<f64>, range: Option<Range>) -> Cost {
    // Of a segment, the rows that a search has to look out for, if these are not nearly all.
    let matches = |segment: &Sealed| {
        let live = segment.rows.saturating_sub(segment.tombstones);
        let share = share.or_else(|| segment.is_thinned().then_some(1.0))?;
        Some((f64::from(live) * share).ceil() as usize)
    };
    structure_of(&snapshot.meta.structure).cost(snapshot, &matches, effort::effort(snapshot), range)
}

/// The spheres that a path looks within: not `IS NOT NULL`, and not one of several.
///
/// # Safety
/// The node is the planner's.
pub unsafe fn spheres_of(path: &pg_sys::IndexPath) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let clauses = pgrx::PgList::<pg_sys::IndexClause>::from_pg(path.indexclauses);
        let is_sphere = |clause: &*mut pg_sys::IndexClause| {
            (**clause).indexcol == 0 && (*(*(**clause).rinfo).clause).type_ == pg_sys::NodeTag::T_OpExpr
        };
        clauses.iter_ptr().filter(is_sphere).count()
    }
}

/// Whether a path looks for rows that have no vector, by its own conditions or by the index's
/// predicate, which implies some that are then not among them.
///
/// # Safety
/// The node is the planner's.
pub unsafe fn asks_for_null(path: &pg_sys::IndexPath) -> bool {
    // SAFETY: the caller's promise; a clause's tag tells its type.
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
    // SAFETY: PostgreSQL passes valid planner nodes and out-parameters; the index is locked by the
    // planner.
    unsafe {
        let clauses = pgrx::PgList::<pg_sys::IndexClause>::from_pg((*path).indexclauses);
        let has_filters = clauses.iter_ptr().any(|clause| (*clause).indexcol != 0);
        let spheres = spheres_of(&*path);
        if (*path).indexorderbys.is_null() && spheres == 0 || asks_for_null(&*path) {
            // Rows without a vector are not in the index, so that such paths are dropped (see
            // `range`). Until then they cost more than any other, lest the planner drops these; but
            // a finite sum, for of infinite ones it would make numbers that are none.
            compat::disable(&mut (*path).path);
            *startup_cost = NEVER;
            *total_cost = NEVER;
            *selectivity = 1.0;
            *correlation = 0.0;
            *pages = f64::from((*(*path).indexinfo).pages);
            return;
        }
        let info = (*path).indexinfo;
        let tuples = (*info).tuples.max(0.0);
        if (*info).hypothetical {
            // There is nothing to be read of an index that is only thought of: a few pages, say.
            *startup_cost = ROOT_PAGES * pg_sys::random_page_cost;
            *total_cost = *startup_cost + tuples * pg_sys::cpu_index_tuple_cost;
            *selectivity = 1.0;
            *correlation = 0.0;
            *pages = ROOT_PAGES;
            return;
        }
        // The planner holds a lock already.
        let raw = pg_sys::index_open((*info).indexoid, pg_sys::NoLock as pg_sys::LOCKMODE);
        let snapshot = Snapshot::read(Relation::from_raw(raw));
        pg_sys::index_close(raw, pg_sys::NoLock as pg_sys::LOCKMODE);

        let mut costs = pg_sys::GenericCosts { ..std::mem::zeroed() };
        pg_sys::genericcostestimate(root, path, loop_count, &mut costs);
        // Each sphere is estimated to hold so many rows, and does not spare looking at the others.
        let range = if (*path).indexorderbys.is_null() { Range::All } else { Range::InOrder };
        let in_filters = costs.indexSelectivity / SPHERE_SELECTIVITY.powi(spheres as i32);
        // Of hundreds of spheres nothing is left to divide by.
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
        *correlation = 0.0;
        *pages = costs.numIndexPages;
    }
}

/// The cost of a path that is not to be taken, beyond PostgreSQL's own penalty of what is disabled.
const NEVER: f64 = 1e15;

/// What `contsel` says.
const SPHERE_SELECTIVITY: f64 = 0.001;

/// Pages that every scan begins with, however small the index: the meta page and the lanes.
const ROOT_PAGES: f64 = 5.0;
