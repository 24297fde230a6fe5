//! Index scans: ORDER BY a distance.

use super::attributes::{self, Conditions};
use super::opclass;
use crate::config::settings;
use crate::distance::{Metric, PreparedQuery};
use crate::filter::Condition;
use crate::pg::error::Problem;
use crate::pg::heap::HeapRows;
use crate::pg::relation::Relation;
use crate::segment::columns;
use crate::segment::search::{IndexSearch, Listing};
use crate::storage::manifest::Snapshot;
use pgrx::{PgMemoryContexts, PgSqlErrorCode, pg_guard, pg_sys};

/// What a scan does next.
enum State {
    /// `amrescan` has set a query; nothing was read yet.
    Idle,
    Searching(Box<IndexSearch>),
    /// Without a query, or with one that has no direction, every distance is the same to us.
    Listing(Listing),
    /// No row can meet the conditions.
    Done,
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
    // SAFETY: PostgreSQL passes as many keys as counted, and `ambeginscan`'s scan with room for them.
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
                State::Searching(search) => {
                    let space = search.space();
                    let mut heap = None;
                    break search.next(relation, &mut |tid, visit| {
                        let rows: &mut HeapRows = heap.get_or_insert_with(|| HeapRows::new(scan));
                        rows.fetch(tid, |value| opclass::with_row(space, value, &mut *visit));
                    });
                }
                State::Listing(listing) => break listing.next(relation),
                State::Done => break None,
            }
        };
        let Some(tid) = tid else { return false };
        *(&raw mut (*scan).xs_heaptid).cast::<crate::segment::Tid>() = tid;
        // The rows come in exact order.
        (*scan).xs_recheckorderby = false;
        true
    }
}

/// # Safety
/// `scan` is a scan of `relation` on which `amrescan` was called.
unsafe fn begin(scan: pg_sys::IndexScanDesc, relation: Relation) -> State {
    // SAFETY: the caller's promise; `orderByData` has `numberOfOrderBys` keys.
    let key = unsafe {
        if (*scan).numberOfOrderBys == 0 {
            Problem::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("cannot scan index \"{}\" without an order", relation.name()),
            )
            .hint("A vdb index answers ORDER BY column <operator> value.")
            .raise();
        }
        &*(*scan).orderByData
    };
    #[cfg(not(feature = "pg18"))]
    // SAFETY: statistics of an open relation.
    unsafe {
        count_scan(relation);
    }
    let snapshot = Snapshot::read(relation);
    let space = snapshot.meta.space;
    // SAFETY: `keyData` has `numberOfKeys` keys, of this index.
    let conditions = unsafe {
        let keys = match (*scan).numberOfKeys {
            0 => &[],
            count => std::slice::from_raw_parts((*scan).keyData, count as usize),
        };
        attributes::conditions(relation, &snapshot.meta.filters, keys)
    };
    let Some(Conditions { conditions, is_exact }) = conditions else { return State::Done };
    // A listing leaves all conditions to the executor.
    let recheck = |is_needed| unsafe { (*scan).xs_recheck = is_needed };
    recheck(true);
    if key.sk_flags & pg_sys::SK_ISNULL as i32 != 0 {
        return State::Listing(Listing::new(relation, snapshot));
    }
    // SAFETY: the operator's right argument is of the operator class's type and not null.
    let query = unsafe { opclass::with_row(space, key.sk_argument, |row| query_of(space, row)) };
    match query {
        Some(query) => {
            let effort = settings::effort(&snapshot);
            let sealed = &snapshot.manifest.sealed;
            let are_exact = |condition: &Condition| {
                sealed.iter().all(|segment| columns::is_exact(segment, condition.column))
            };
            recheck(!(is_exact && conditions.iter().all(are_exact)));
            State::Searching(Box::new(IndexSearch::new(relation, snapshot, query, &conditions, effort)))
        }
        None => State::Listing(Listing::new(relation, snapshot)),
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

/// Counts the scan in pg_stat_user_indexes, as PostgreSQL's macro does that is not in the bindings.
///
/// # Safety
/// The relation is open.
#[cfg(not(feature = "pg18"))]
unsafe fn count_scan(relation: Relation) {
    // SAFETY: the caller's promise; the counters are this backend's own.
    unsafe {
        let raw = relation.raw();
        if (*raw).pgstat_info.is_null() && (*raw).pgstat_enabled {
            pg_sys::pgstat_assoc_relation(raw);
        }
        if !(*raw).pgstat_info.is_null() {
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            {
                (*(*raw).pgstat_info).t_counts.t_numscans += 1;
            }
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            {
                (*(*raw).pgstat_info).counts.numscans += 1;
            }
        }
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: the state is `ambeginscan`'s. What it holds is given back now; it is dropped with its memory context.
    unsafe { *(*scan).opaque.cast::<State>() = State::Idle };
}
