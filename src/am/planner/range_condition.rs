//! Shows plain comparisons of a distance, `embedding <-> q < r`, to the planner as spheres that an
//! index can answer.
//!
//! The comparison's operator is PostgreSQL's own, so no operator class can contain it. While the
//! paths of a table are made, each such condition gets a sphere beside it. The condition itself
//! stays and is checked on every row.

use crate::am::{cost, opclass};
use crate::distance::Geometry;
use crate::pg::compat;
use crate::pg::method;
use crate::pg::planner;
use pgrx::{PgList, pg_guard, pg_sys};

static mut PREVIOUS: pg_sys::set_rel_pathlist_hook_type = None;

/// Sets the hook; called once when the library is loaded.
pub fn register() {
    // SAFETY: PostgreSQL runs on one thread, and libraries are loaded on it: nothing reads the
    // variables meanwhile.
    unsafe {
        PREVIOUS = pg_sys::set_rel_pathlist_hook;
        pg_sys::set_rel_pathlist_hook = Some(add_range_paths);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn add_range_paths(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    number: pg_sys::Index,
    entry: *mut pg_sys::RangeTblEntry,
) {
    // SAFETY: PostgreSQL passes valid planner nodes, in a transaction. The lists that are replaced
    // for `create_index_paths` are put back after it. `PREVIOUS` is written only while the library
    // is loaded.
    unsafe {
        if let Some(previous) = PREVIOUS {
            // The boundary turns its errors into panics.
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous(root, rel, number, entry));
        }
        let own = own_indexes(rel);
        if own.is_empty() {
            return;
        }
        // The paths that PostgreSQL has made; those of spheres follow below.
        drop_unordered_paths(rel);
        let mut indexes = PgList::<pg_sys::IndexOptInfo>::new();
        let mut originals = Vec::new();
        for index in own {
            let conditions = PgList::<pg_sys::RestrictInfo>::from_pg((*index).indrestrictinfo);
            let spheres: Vec<_> =
                conditions.iter_ptr().filter_map(|condition| sphere_beside(root, index, condition)).collect();
            if spheres.is_empty() {
                continue;
            }
            let mut all = PgList::<pg_sys::RestrictInfo>::new();
            conditions.iter_ptr().chain(spheres).for_each(|condition| all.push(condition));
            originals.push((index, (*index).indrestrictinfo));
            (*index).indrestrictinfo = all.into_pg();
            indexes.push(index);
        }
        if originals.is_empty() {
            return;
        }
        let all_indexes = std::mem::replace(&mut (*rel).indexlist, indexes.into_pg());
        drop_unbounded_paths(rel);
        pg_sys::create_index_paths(root, rel);
        (*rel).indexlist = all_indexes;
        for (index, conditions) in originals {
            (*index).indrestrictinfo = conditions;
        }
        drop_unordered_paths(rel);
    }
}

/// The indexes of a table that are ours.
///
/// # Safety
/// `rel` points to a valid table of the planner.
unsafe fn own_indexes(rel: *mut pg_sys::RelOptInfo) -> Vec<*mut pg_sys::IndexOptInfo> {
    // SAFETY: `rel` is valid by this function's contract, and its index list holds valid
    // IndexOptInfos.
    unsafe {
        let indexes = PgList::<pg_sys::IndexOptInfo>::from_pg((*rel).indexlist);
        indexes.iter_ptr().filter(|&index| is_own(index)).collect()
    }
}

/// # Safety
/// `index` points to a valid IndexOptInfo, and the caller is in a transaction.
unsafe fn is_own(index: *mut pg_sys::IndexOptInfo) -> bool {
    // SAFETY: `index` is valid by this function's contract. The index of a partitioned table has no
    // `amcostestimate`.
    unsafe { (*index).amcostestimate.is_some() && method::is_own_method((*index).relam) }
}

/// Drops two kinds of paths over an index of ours. Some read it without an order or a sphere, for
/// other conditions or a join. Others look for rows without a vector, which are not in the index.
///
/// # Safety
/// `rel` points to a valid table of the planner.
unsafe fn drop_unordered_paths(rel: *mut pg_sys::RelOptInfo) {
    // SAFETY: `rel` is valid by this function's contract. `keep_paths` passes valid index paths,
    // and each has a valid `indexinfo`.
    unsafe {
        keep_paths(rel, |path| {
            let is_bounded = !path.indexorderbys.is_null() || cost::spheres_of(path) > 0;
            !is_own(path.indexinfo) || is_bounded && !cost::asks_for_null(path)
        });
    }
}

/// Keeps paths that are no index scans, and the index scans for which `is_kept` holds.
///
/// # Safety
/// `rel` points to a valid table of the planner.
unsafe fn keep_paths(rel: *mut pg_sys::RelOptInfo, is_kept: impl Fn(&pg_sys::IndexPath) -> bool) {
    // SAFETY: `rel` is valid by this function's contract, and its path list holds valid paths. The
    // tag says that a path is an IndexPath, so the cast reads the right struct.
    unsafe {
        let mut kept = PgList::<pg_sys::Path>::new();
        let paths = PgList::<pg_sys::Path>::from_pg((*rel).pathlist);
        let is_kept = |path: *mut pg_sys::Path| {
            (*path).type_ != pg_sys::NodeTag::T_IndexPath || is_kept(&*path.cast::<pg_sys::IndexPath>())
        };
        paths.iter_ptr().filter(|&path| is_kept(path)).for_each(|path| kept.push(path));
        (*rel).pathlist = kept.into_pg();
    }
}

/// Drops the paths that read the table's indexes in order without a sphere. They would read to the
/// end if a sphere contains fewer rows than the query asks for.
///
/// # Safety
/// `rel` points to a valid table of the planner, whose index list has the indexes with spheres.
unsafe fn drop_unbounded_paths(rel: *mut pg_sys::RelOptInfo) {
    // SAFETY: `rel` is valid by this function's contract, and so are the indexes of its list and
    // its paths.
    unsafe {
        let indexes = PgList::<pg_sys::IndexOptInfo>::from_pg((*rel).indexlist);
        keep_paths(rel, |path| {
            path.indexorderbys.is_null() || !indexes.iter_ptr().any(|index| index == path.indexinfo)
        });
    }
}

/// Whether an index lacks the rows whose distance is NaN: zero vectors, under cosine.
///
/// # Safety
/// `index` points to a valid IndexOptInfo of ours, `family` is that of its first column, and the
/// caller is in a transaction.
unsafe fn loses_nan(index: *mut pg_sys::IndexOptInfo, family: pg_sys::Oid) -> bool {
    // SAFETY: `index` is valid by this function's contract, with an array of at least one type: an
    // index has at least one column. The family is of an access method of ours, as `metric_of`
    // requires.
    let metric = unsafe { opclass::metric_of(family, *(*index).opcintype) };
    metric.is_some_and(|metric| metric.geometry() == Geometry::Angle)
}

/// Whether an expression is a constant that is neither null nor NaN.
///
/// # Safety
/// `node` points to a valid expression of type double precision.
unsafe fn is_number(node: planner::Expression) -> bool {
    // SAFETY: `node` is valid by this function's contract. Its tag says that it is a Const, so the
    // cast reads the right struct.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Const {
            return false;
        }
        let constant = &*node.cast::<pg_sys::Const>();
        !constant.constisnull && !f64::from_bits(constant.constvalue.value() as u64).is_nan()
    }
}

/// The sphere that contains every row that meets a condition on the distance from an index's
/// vector.
///
/// # Safety
/// All point to valid nodes of the planner. `index` is of ours, `condition` is one of its table's,
/// and the caller is in a transaction.
unsafe fn sphere_beside(
    root: *mut pg_sys::PlannerInfo,
    index: *mut pg_sys::IndexOptInfo,
    condition: *mut pg_sys::RestrictInfo,
) -> Option<*mut pg_sys::RestrictInfo> {
    const SPHERE_STRATEGY: i16 = 2;
    // SAFETY: the nodes are valid by this function's contract, and an index has an operator family
    // for its first column. Operators come from valid expressions or the catalog, so they exist.
    // The new expressions have the types of the operators and functions above them.
    unsafe {
        let family = *(*index).opfamily;
        let (comparison, [left, right]) = planner::operator_of((*condition).clause.cast())?;
        let (distance, radius, is_closed, is_swapped) = match pg_sys::get_opcode(comparison).to_u32() {
            pg_sys::F_FLOAT8LT => (left, right, false, false),
            pg_sys::F_FLOAT8LE => (left, right, true, false),
            pg_sys::F_FLOAT8GT => (right, left, false, true),
            pg_sys::F_FLOAT8GE => (right, left, true, true),
            _ => return None,
        };
        let (operator, [one, other]) = planner::operator_of(distance)?;
        if pg_sys::get_op_opfamily_sortfamily(operator, family) == pg_sys::InvalidOid {
            return None;
        }
        // Distances are the same from either end.
        let is_column = |node| pg_sys::match_index_to_operand(node, 0, index);
        let (column, centre) = if is_column(one) { (one, other) } else { (other, one) };
        let is_constant = |node| pg_sys::is_pseudo_constant_for_index(root, node, index);
        if !is_column(column) || !is_constant(centre) || !is_constant(radius) {
            return None;
        }
        let within = planner::operator_of_strategy(family, SPHERE_STRATEGY)?;
        if !compat::may_call(pg_sys::get_opcode(within)) {
            return None;
        }
        if is_closed && loses_nan(index, family) && !is_number(radius) {
            return None;
        }
        let radius = if is_closed {
            let function = planner::function_beside(within, c"vdb_radius_to", &[pg_sys::FLOAT8OID])?;
            planner::call(function, pg_sys::FLOAT8OID, &[radius])
        } else {
            radius
        };
        let sphere = planner::row(planner::right_type(within), [centre, radius]);
        let clause = planner::operation(within, pg_sys::BOOLOID, column, sphere);
        Some(planner::restriction_like(condition, clause, is_swapped))
    }
}
