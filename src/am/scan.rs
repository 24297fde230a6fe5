//! Index scans: ORDER BY a distance.

use super::effort;
use super::planner::reuse_distance;
use super::{attributes, opclass};
use crate::distance::{Metric, PreparedQuery};
use crate::pg::compat;
use crate::pg::error::Problem;
use crate::pg::heap::{HeapRows, checked_tid};
use crate::pg::relation::Relation;
use crate::segment::listing::{Listing, RangeQuery};
use crate::segment::report::{self, Report, StepReport};
use crate::segment::request::{Request, Terms};
use crate::segment::search::IndexSearch;
use crate::segment::threshold::Threshold;
use crate::storage::snapshot::Snapshot;
use crate::types::Sphere;
use pgrx::{PgMemoryContexts, PgSqlErrorCode, pg_guard, pg_sys};
use std::rc::Rc;

/// What a scan does next.
enum State {
    /// `amrescan` has set a query; nothing was read yet.
    Idle,
    /// With the query as it was passed, if distances to it may be asked for (see
    /// [`reuse_distance`]).
    Searching(Box<IndexSearch>, Option<Rc<[u8]>>),
    /// Without an order, or with one by a query that has no direction, rows come as they lie.
    Listing(Reported),
    /// No row can meet the conditions.
    Done,
}

/// A listing of an index; what it has done is remembered when it ends.
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
    // SAFETY: PostgreSQL passes an open index; the state is dropped with the scan's memory context.
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
    // SAFETY: PostgreSQL passes as many keys as counted, and `ambeginscan`'s scan with room for
    // them.
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
    // SAFETY: the scan is `ambeginscan`'s; its index is open and its state is ours.
    unsafe {
        let relation = Relation::from_raw((*scan).indexRelation);
        let state = &mut *(*scan).opaque.cast::<State>();
        let tid = loop {
            match state {
                State::Idle => *state = begin(scan, relation),
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
                    // Scores are not wanted, so that nothing is fetched from the table.
                    break listing.0.next(relation, &mut |_, _| ()).map(|hit| hit.tid);
                }
                State::Done => break None,
            }
        };
        let Some(tid) = tid else { return false };
        *(&raw mut (*scan).xs_heaptid).cast::<crate::segment::Tid>() = checked_tid(relation, tid);
        // The rows come in exact order. Whether they meet the conditions the executor looks at
        // again: keys tell less than values, and a corrupt page must not let a row through.
        (*scan).xs_recheckorderby = false;
        (*scan).xs_recheck = true;
        true
    }
}

/// What the search of a scan has done so far.
///
/// # Safety
/// `scan` is [`ambeginscan`]'s, and has not ended.
pub unsafe fn steps(scan: pg_sys::IndexScanDesc) -> Vec<StepReport> {
    // SAFETY: the caller's promise.
    match unsafe { &*(*scan).opaque.cast::<State>() } {
        State::Searching(search, _) => search.steps().collect(),
        State::Listing(listing) => listing.0.steps().collect(),
        _ => Vec::new(),
    }
}

/// # Safety
/// `scan` is a scan of `relation` on which `amrescan` was called.
unsafe fn begin(scan: pg_sys::IndexScanDesc, relation: Relation) -> State {
    // SAFETY: the caller's promise; there are as many keys as counted.
    let (keys, order) = unsafe {
        let keys = keys_of((*scan).keyData, (*scan).numberOfKeys);
        (keys, keys_of((*scan).orderByData, (*scan).numberOfOrderBys).first())
    };
    // SAFETY: statistics of an open relation; the scan has its own counters if anybody wants them.
    unsafe {
        compat::count_scan(relation.raw());
        compat::count_search(scan);
    }
    let snapshot = Snapshot::read(relation);
    let space = snapshot.meta.space;
    // SAFETY: the keys are of this index.
    let conditions = unsafe { attributes::conditions(relation, &snapshot.meta.filters, keys) };
    let Some(conditions) = conditions else { return State::Done };
    // SAFETY: a sphere's argument is one; the operators' right arguments are of the operator
    // class's type and not null.
    let query_at = |value| unsafe { opclass::with_row(space, value, |row| query_of(space, row)) };
    let sphere = match keys.iter().find(|key| attributes::is_sphere(key)) {
        None => None,
        // SAFETY: the operator's right argument is a sphere.
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
        // Without an order, with one by null, or by a query that has no direction: rows come as
        // they lie.
        let bound = sphere.and_then(|(centre, radius)| Some((centre?, bound_of(radius)?)));
        let bound = bound
            .map(|(centre, within)| RangeQuery::new(&snapshot, centre, Threshold { within, exact: false }));
        return State::Listing(Reported::new(relation, Listing::new(snapshot, conditions, bound)));
    };
    // The sphere bounds the search if it is around the query; else its rows are picked out by the
    // executor.
    let within = sphere.and_then(|(centre, radius)| {
        bound_of(radius).filter(|_| centre.is_some_and(|centre| centre.row() == query.row()))
    });
    if snapshot.manifest.calibration.is_none() {
        effort::warn_of_missing_calibration(relation);
    }
    let effort = effort::effort(&snapshot);
    let request = Request { query, conditions, terms: Terms { effort, within, without: None } };
    // SAFETY: the argument of an operator that takes a vector.
    let asked_for =
        order.and_then(|order| unsafe { reuse_distance::query_of(space.dims, order.sk_argument) });
    State::Searching(Box::new(IndexSearch::new(relation, snapshot, request)), asked_for)
}

/// # Safety
/// There are as many keys as counted; they outlive their use.
unsafe fn keys_of<'a>(keys: pg_sys::ScanKey, count: i32) -> &'a [pg_sys::ScanKeyData] {
    match usize::try_from(count) {
        Ok(count) if count > 0 => {
            // SAFETY: the caller's promise.
            unsafe { std::slice::from_raw_parts(keys, count) }
        }
        _ => &[],
    }
}

fn query_of(space: crate::distance::Space, row: &[u8]) -> Option<PreparedQuery> {
    if space.metric == Metric::Cosine && !opclass::is_indexed(space, row) {
        return None;
    }
    let query = PreparedQuery::new(space, row);
    Some(query.unwrap_or_else(|| {
        Problem::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the query vector is malformed").raise()
    }))
}

#[pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: the state is `ambeginscan`'s. What it holds is given back now; it is dropped with its
    // memory context.
    unsafe { *(*scan).opaque.cast::<State>() = State::Idle };
}
