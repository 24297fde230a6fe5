//! Index scans: ORDER BY a distance.

use super::effort;
use super::planner::reuse_distance;
use super::{attributes, opclass};
use crate::distance::PreparedQuery;
use crate::pg::compat;
use crate::pg::context::Context;
use crate::pg::error::Problem;
use crate::pg::heap::{HeapRows, checked_tid};
use crate::pg::relation::Relation;
use crate::segment::listing::{Listing, RangeQuery};
use crate::segment::report::{self, Report, StepReport};
use crate::segment::request::{Request, SearchLimits};
use crate::segment::search::IndexSearch;
use crate::segment::threshold::Threshold;
use crate::storage::snapshot::Snapshot;
use crate::types::Sphere;
use pgrx::{PgMemoryContexts, PgSqlErrorCode, pg_guard, pg_sys};
use std::rc::Rc;

/// What a scan does next.
enum State {
    /// `amrescan` has set a query; nothing has been read yet.
    Idle,
    /// With the query as it was passed, if plans may ask for distances to it (see
    /// [`reuse_distance`]).
    Searching(Box<IndexSearch>, Option<Rc<[u8]>>),
    /// Without an order, or with one by a query that has no direction, rows come in storage order.
    Listing(Reported),
    /// No row can meet the conditions.
    Done,
}

/// A listing of an index; its steps are remembered when it ends.
struct Reported(Box<Listing>, pg_sys::Oid);

impl Reported {
    fn new(relation: Relation, listing: Listing) -> Self {
        Self(Box::new(listing), relation.oid())
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        let steps: Vec<_> = self.0.steps().collect();
        if !steps.is_empty() {
            report::remember(Report { index: self.1.to_u32(), generation: self.0.generation(), steps });
        }
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn ambeginscan(
    index: pg_sys::Relation,
    keys: i32,
    orderbys: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: PostgreSQL passes an open index. The state lives until the scan's memory context is
    // deleted, which is not before the scan ends.
    unsafe {
        let scan = pg_sys::RelationGetIndexScan(index, keys, orderbys);
        let state = PgMemoryContexts::CurrentMemoryContext.leak_and_drop_on_delete(State::Idle);
        (*scan).opaque = state.cast();
        scan
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn amrescan(
    scan: pg_sys::IndexScanDesc,
    keys: pg_sys::ScanKey,
    key_count: i32,
    orderbys: pg_sys::ScanKey,
    orderby_count: i32,
) {
    // SAFETY: PostgreSQL passes `ambeginscan`'s scan, which has room for its keys, and as many keys
    // as it states. `copy` allows overlap. No reference to the state is live.
    unsafe {
        if !keys.is_null() && key_count > 0 {
            std::ptr::copy(keys, (*scan).keyData, key_count as usize);
        }
        if !orderbys.is_null() && orderby_count > 0 {
            std::ptr::copy(orderbys, (*scan).orderByData, orderby_count as usize);
        }
        *(*scan).opaque.cast::<State>() = State::Idle;
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn amgettuple(
    scan: pg_sys::IndexScanDesc,
    _direction: pg_sys::ScanDirection::Type,
) -> bool {
    // SAFETY: PostgreSQL passes `ambeginscan`'s scan, whose index and table are open and whose
    // snapshot is registered or active. The state is ours, and this is the only reference to it.
    // Values of the table are not null and of the operator class's type.
    unsafe {
        let relation = Relation::from_raw((*scan).indexRelation);
        let state = &mut *(*scan).opaque.cast::<State>();
        let tid = loop {
            match state {
                // Frees copies of the keys: a search keeps no pointer to them.
                State::Idle => {
                    *state = Context::new(c"vdb scan keys").switch_to(|| begin(scan, relation));
                }
                State::Searching(search, query) => {
                    let space = search.space();
                    let mut heap = None;
                    let hit = search.next(relation, &mut |tid, visit| {
                        let rows: &mut HeapRows = heap.get_or_insert_with(|| {
                            HeapRows::new((*scan).heapRelation, relation, (*scan).xs_snapshot)
                        });
                        rows.fetch(tid, |value| opclass::with_row(space, value, &mut *visit));
                    });
                    break hit.map(|hit| {
                        if let Some(query) = query {
                            let distance = space.distance_of_score(hit.score);
                            reuse_distance::remember(relation.oid(), hit.tid, distance, query);
                        }
                        hit.tid
                    });
                }
                State::Listing(listing) => {
                    // Scores are not needed, so nothing is fetched from the table.
                    break listing.0.next(relation, &mut |_, _| ()).map(|hit| hit.tid);
                }
                State::Done => break None,
            }
        };
        let Some(tid) = tid else { return false };
        (*scan).xs_heaptid = checked_tid(relation, tid);
        // The rows come in exact order. The executor checks the conditions again: keys say less
        // than values, and a corrupt page must not let a row through.
        (*scan).xs_recheckorderby = false;
        (*scan).xs_recheck = true;
        true
    }
}

/// The steps of a scan's search so far.
///
/// # Safety
/// `scan` points to a scan of [`ambeginscan`] that has not ended, and no callback of it is running.
pub unsafe fn steps(scan: pg_sys::IndexScanDesc) -> Vec<StepReport> {
    // SAFETY: the scan is `ambeginscan`'s and has not ended, by this function's contract, so its
    // state is ours and valid. No callback runs that would change it.
    match unsafe { &*(*scan).opaque.cast::<State>() } {
        State::Searching(search, _) => search.steps().collect(),
        State::Listing(listing) => listing.0.steps().collect(),
        _ => Vec::new(),
    }
}

/// # Safety
/// `scan` is a scan of `relation` on which `amrescan` was called.
unsafe fn begin(scan: pg_sys::IndexScanDesc, relation: Relation) -> State {
    // SAFETY: the scan is valid by this function's contract. `amrescan` filled its arrays, whose
    // lengths are these numbers, and they do not change until the next `amrescan`.
    let (keys, order) = unsafe {
        let keys = keys_of((*scan).keyData, (*scan).numberOfKeys);
        (keys, keys_of((*scan).orderByData, (*scan).numberOfOrderBys).first())
    };
    // SAFETY: the relation is open and the scan has not ended, as both functions require.
    unsafe {
        compat::count_scan(relation.raw());
        compat::count_search(scan);
    }
    let snapshot = Snapshot::read(relation);
    let space = snapshot.meta.space;
    // SAFETY: the keys are those of a scan of this index. The meta page has the kinds of its filter
    // columns, as the build stored them.
    let conditions = unsafe { attributes::conditions(relation, &snapshot.meta.filters, keys) };
    let Some(conditions) = conditions else { return State::Done };
    // SAFETY: callers pass a sphere's centre, or the argument of the ordering operator. Both are of
    // the operator class's type, and not null.
    let query_at = |value| unsafe { opclass::with_row(space, value, |row| query_of(space, row)) };
    let sphere = match keys.iter().find(|key| attributes::is_sphere(key)) {
        None => None,
        // SAFETY: `conditions` has returned early for a null argument. The key is of the sphere
        // operator, whose right argument is a sphere.
        Some(key) => match unsafe { Sphere::from_datum(key.sk_argument) } {
            // No row meets a condition on null.
            None => return State::Done,
            Some(sphere) => Some((query_at(sphere.centre), sphere.radius)),
        },
    };
    // A NaN radius is greater than every number.
    let bound_of = |radius: f64| (!radius.is_nan()).then(|| space.score_of_distance(radius));
    let is_null = |order: &&pg_sys::ScanKeyData| order.sk_flags & pg_sys::SK_ISNULL as i32 != 0;
    let order = order.filter(|order| !is_null(order));
    let query = order.and_then(|order| query_at(order.sk_argument));
    let Some(query) = query else {
        // Without an order, with one by null, or by a query that has no direction, rows come in
        // storage order.
        let bound = sphere.and_then(|(centre, radius)| Some((centre?, bound_of(radius)?)));
        let bound = bound
            .map(|(centre, within)| RangeQuery::new(&snapshot, centre, Threshold { within, exact: false }));
        return State::Listing(Reported::new(relation, Listing::new(snapshot, conditions, bound)));
    };
    // The sphere bounds the search if it is around the query. Otherwise the executor picks out its
    // rows.
    let within = sphere.and_then(|(centre, radius)| {
        bound_of(radius).filter(|_| centre.is_some_and(|centre| centre.row() == query.row()))
    });
    if snapshot.manifest.calibration.is_none() {
        effort::warn_of_missing_calibration(relation);
    }
    let effort = effort::effort(&snapshot);
    let request = Request { query, conditions, limits: SearchLimits { effort, within, leave_out: None } };
    // SAFETY: the argument of the ordering operator is not null, and a vector of variable length.
    // It lives as long as the scan's keys.
    let asked_for =
        order.and_then(|order| unsafe { reuse_distance::query_of(space.dims, order.sk_argument) });
    State::Searching(Box::new(IndexSearch::new(relation, snapshot, request)), asked_for)
}

/// # Safety
/// `keys` points to `count` keys, if `count` is positive, which stay unchanged for `'a`.
unsafe fn keys_of<'a>(keys: pg_sys::ScanKey, count: i32) -> &'a [pg_sys::ScanKeyData] {
    match usize::try_from(count) {
        Ok(count) if count > 0 => {
            // SAFETY: `keys` points to `count` valid keys by this function's contract, as `count`
            // is positive.
            unsafe { std::slice::from_raw_parts(keys, count) }
        }
        _ => &[],
    }
}

fn query_of(space: crate::distance::Space, row: &[u8]) -> Option<PreparedQuery> {
    if !space.is_indexed(row) {
        return None;
    }
    let query = PreparedQuery::new(space, row);
    Some(query.unwrap_or_else(|| {
        Problem::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the query vector is malformed").raise()
    }))
}

#[pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: PostgreSQL passes `ambeginscan`'s scan, whose state is ours, and no reference to it
    // is live. The search is dropped now. The state left behind is dropped with its memory context.
    unsafe { *(*scan).opaque.cast::<State>() = State::Idle };
}
