//! Calibration: how much effort an index needs for a recall, measured on its own table.

use super::opclass;
use super::table::for_each_visible_row;
use crate::distance::PreparedQuery;
use crate::memory;
use crate::pg::heap::HeapRows;
use crate::pg::relation::Relation;
use crate::search::recall_curve::{Curve, K, Nearest};
use crate::search::rerank::IterativeScan;
use crate::segment::request::{Effort, Request, SearchLimits};
use crate::segment::rows::SealedRows;
use crate::segment::search::IndexSearch;
use crate::segment::{Entry, Tid, structure_of};
use crate::storage::edit::Edit;
use crate::storage::manifest::Calibration;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::util::random::Random;
use pgrx::pg_sys;
use std::collections::HashMap;

/// A row of the table that is searched for as if it were not there.
struct SampleQuery {
    tid: Tid,
    prepared: PreparedQuery,
    nearest: Nearest<Tid>,
    /// Its segment, and its node or row there, if a search can skip that.
    place: Option<(u32, u32)>,
}

/// Measures the recall of increasing efforts with `sample` rows of the table, until it hardly
/// grows. It stores the curve in the index, which is locked for changes.
pub fn calibrate(relation: Relation, sample: usize) -> Curve {
    let snapshot = Snapshot::read(relation);
    let mut queries = sample_rows(relation, sample);
    place(relation, &snapshot, &mut queries);
    let mut truth = |entry: Entry| {
        for query in queries.iter_mut().filter(|query| query.tid != entry.tid) {
            if let Some(score) = query.prepared.score(entry.row) {
                query.nearest.offer(entry.tid, score);
            }
        }
    };
    for_each_visible_row(relation, &mut truth);
    let curve = measure(relation, &snapshot, &queries);
    let mut edit = Edit::open(relation);
    let segments = snapshot.manifest.sealed.iter().map(|segment| segment.id).collect();
    edit.manifest.calibration =
        Some(Calibration { curve: curve.clone(), segments, queries: queries.len() as u32 });
    edit.publish();
    curve
}

/// Calibrates an index again if its segments have changed since.
pub fn calibrate_again(relation: Relation) {
    let snapshot = Snapshot::read(relation);
    let Some(calibration) = &snapshot.manifest.calibration else { return };
    if !snapshot.manifest.sealed.iter().map(|segment| &segment.id).eq(&calibration.segments) {
        calibrate(relation, calibration.queries as usize);
    }
}

/// Rows of the table, each equally likely.
fn sample_rows(relation: Relation, sample: usize) -> Vec<SampleQuery> {
    let space = opclass::space_of(relation);
    let mut random = Random::new(0x5EED);
    let (mut kept, mut met): (Vec<(Tid, Vec<u8>)>, usize) = (Vec::new(), 0);
    let mut keep = |entry: Entry| {
        met += 1;
        memory::check();
        if kept.len() < sample {
            kept.push((entry.tid, entry.row.to_vec()));
        } else {
            let place = (random.fraction() * met as f64) as usize;
            if let Some(kept) = kept.get_mut(place) {
                *kept = (entry.tid, entry.row.to_vec());
            }
        }
    };
    for_each_visible_row(relation, &mut keep);
    let query = |(tid, row): (Tid, Vec<u8>)| {
        let prepared = PreparedQuery::new(space, &row)?;
        Some(SampleQuery { tid, prepared, nearest: Nearest::new(), place: None })
    };
    kept.into_iter().filter_map(query).collect()
}

/// Finds the places of those rows in lists, or their nodes. A node must belong to one row and lie
/// on the base layer of a graph. Rows with other nodes are left out.
fn place(relation: Relation, snapshot: &Snapshot, queries: &mut Vec<SampleQuery>) {
    let mut by_tid: HashMap<Tid, usize> =
        queries.iter().enumerate().map(|(number, query)| (query.tid, number)).collect();
    let structure = structure_of(&snapshot.meta.structure);
    let mut unfit = Vec::new();
    for segment in &snapshot.manifest.sealed {
        let sealed = SealedRef::new(&relation, segment);
        let mut rows = SealedRows::new(sealed);
        for row in 0..segment.rows {
            let Some(number) = rows.live_tid(row).and_then(|tid| by_tid.remove(&tid)) else { continue };
            match structure.place_of(sealed, row) {
                Some(place) => queries[number].place = Some((segment.id, place)),
                None => unfit.push(queries[number].tid),
            }
        }
    }
    queries.retain(|query| !unfit.contains(&query.tid));
}

/// The recall of increasing efforts.
fn measure(relation: Relation, snapshot: &Snapshot, queries: &[SampleQuery]) -> Curve {
    /// Recall beyond which no more effort is tried, and the factor between two efforts.
    const ENOUGH: f64 = 0.9985;
    const STEP: f64 = 1.3;
    /// Recall hardly grows if `STEPS` steps raise it by no more than `GROWTH`.
    const STEPS: usize = 4;
    const GROWTH: f64 = 0.001;
    const HIGH: f64 = 0.95;
    // SAFETY: the index is open and locked, in a transaction, so its table exists. The table is
    // closed below, or by the transaction's abort.
    let heap = unsafe {
        let table = pg_sys::IndexGetRelation(relation.oid(), false);
        pg_sys::table_open(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE)
    };
    let (first, most) = structure_of(&snapshot.meta.structure).efforts(&snapshot.manifest);
    // SAFETY: the table and the index are open until `rows` is dropped below. A query or a command
    // runs, so a snapshot is active, and stays so meanwhile.
    let mut rows = unsafe { HeapRows::new(heap, relation, pg_sys::GetActiveSnapshot()) };
    let mut curve = Curve::default();
    let mut effort = first.min(most);
    loop {
        let limits = |query: &SampleQuery| {
            let (ef, probes) = (effort as usize, effort as usize);
            let effort = Effort {
                ef,
                probes,
                iterative_scan: IterativeScan::Strict,
                rows: u64::MAX,
                bytes: usize::MAX,
            };
            SearchLimits { effort, within: None, leave_out: query.place }
        };
        let mut sum = 0.0;
        for query in queries {
            pgrx::check_for_interrupts!();
            let request =
                Request { query: query.prepared.clone(), conditions: Vec::new(), limits: limits(query) };
            let mut search = IndexSearch::new(relation, snapshot.clone(), request);
            let space = search.space();
            let hits = std::iter::from_fn(|| {
                search.next(relation, &mut |tid, visit| {
                    // SAFETY: the value is the index's first column's, not null, so it is of the
                    // operator class's type.
                    rows.fetch(tid, |value| unsafe { opclass::with_row(space, value, &mut *visit) });
                })
            });
            // Beyond twice as many, most are dead.
            let others = hits.filter(|hit| hit.tid != query.tid).take(2 * K);
            sum += query.nearest.recall(others.map(|hit| (hit.tid, hit.score)));
        }
        let recall = sum / queries.len().max(1) as f64;
        curve.push(effort, recall);
        let before = curve.points().rev().nth(STEPS).map(|(_, recall)| recall);
        let has_settled = recall >= HIGH && before.is_some_and(|before| recall - before <= GROWTH);
        if recall >= ENOUGH || has_settled || effort >= most || queries.is_empty() {
            break;
        }
        effort = ((f64::from(effort) * STEP).ceil() as u32).min(most);
    }
    drop(rows);
    // SAFETY: the table was opened above, and `rows`, which used it, is dropped.
    unsafe { pg_sys::table_close(heap, pg_sys::AccessShareLock as pg_sys::LOCKMODE) };
    curve
}
