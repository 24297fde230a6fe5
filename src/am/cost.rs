//! What an index scan costs, told to the planner.

use crate::pg::relation::Relation;
use crate::storage::manifest::Snapshot;
use crate::storage::meta::{Meta, Quantizer};
use pgrx::{pg_guard, pg_sys};

/// Hops and distances of a search, from what is known before it.
///
/// Measured on GloVe (340k × 100, m = 16): without codes a search with `ef` visits about `ef + 30` nodes and compares
/// 0.55 · 2m vectors for each. With codes it visits about 3 · ef, for estimates promise more than they keep, and for
/// each compares one vector and passes over the codes of its neighbours, which costs about as much again.
fn search_work(ef: usize, meta: &Meta, nodes: f64) -> Work {
    let m = f64::from(meta.graph.m);
    let (hops, distances_per_hop) = match meta.quantizer {
        Quantizer::None => (ef as f64 + 30.0, 2.0 * m * 0.55),
        Quantizer::Rabitq => (3.0 * ef as f64 + 30.0, 2.0),
    };
    let hops = hops.min(nodes);
    // Each node is compared once at most, with its codes a second time.
    Work { hops, distances: (hops * distances_per_hop).min(2.0 * nodes) }
}

/// Nodes visited and vectors compared.
#[derive(Clone, Copy, Debug)]
struct Work {
    hops: f64,
    distances: f64,
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
    // SAFETY: PostgreSQL passes valid planner nodes and out-parameters; the index is locked by the planner.
    unsafe {
        if (*path).indexorderbys.is_null() {
            // The index cannot be read without an order.
            *startup_cost = f64::INFINITY;
            *total_cost = f64::INFINITY;
            *selectivity = 0.0;
            *correlation = 0.0;
            *pages = 0.0;
            return;
        }
        let info = (*path).indexinfo;
        let tuples = (*info).tuples.max(0.0);
        // The planner holds a lock already.
        let raw = pg_sys::index_open((*info).indexoid, pg_sys::NoLock as pg_sys::LOCKMODE);
        let snapshot = Snapshot::read(Relation::from_raw(raw));
        pg_sys::index_close(raw, pg_sys::NoLock as pg_sys::LOCKMODE);

        let mut costs = pg_sys::GenericCosts { ..std::mem::zeroed() };
        pg_sys::genericcostestimate(root, path, loop_count, &mut costs);

        let ef = super::options::ef_search();
        let sealed: f64 = snapshot.manifest.sealed.iter().map(|segment| f64::from(segment.rows)).sum();
        let mut work = Work { hops: 0.0, distances: (tuples - sealed).max(0.0) };
        for segment in &snapshot.manifest.sealed {
            let one = search_work(ef, &snapshot.meta, segment.nodes.into());
            work.hops += one.hops;
            work.distances += one.distances;
        }
        // A distance costs as many operators as its SQL function declares. Every vector and every neighbour list is
        // on some page of its own, most likely in memory: that costs about what looking at a heap tuple does.
        let distance = DISTANCE_OPERATORS * pg_sys::cpu_operator_cost;
        let search = work.distances * distance
            + (work.distances + work.hops) * pg_sys::cpu_tuple_cost
            + ROOT_PAGES * pg_sys::seq_page_cost;
        // Rows after the first `ef` make the search go on; each costs about what one of the first did.
        let per_row = search / (ef as f64).min(tuples.max(1.0));
        *startup_cost = search;
        *total_cost =
            search + (tuples - ef as f64).max(0.0) * per_row + tuples * pg_sys::cpu_index_tuple_cost;
        *selectivity = costs.indexSelectivity;
        *correlation = 0.0;
        *pages = costs.numIndexPages;
    }
}

/// Pages that every scan begins with, however small the index: the meta page and the lanes.
const ROOT_PAGES: f64 = 5.0;

/// COST of the distance functions in `sql/operators.sql`.
const DISTANCE_OPERATORS: f64 = 10.0;
