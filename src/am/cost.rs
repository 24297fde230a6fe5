//! What an index scan costs, told to the planner.

use crate::config::settings;
use crate::pg::relation::Relation;
use crate::segment::lists::search::SCANNED_PER_RETURNED;
use crate::storage::manifest::Snapshot;
use crate::storage::meta::{GraphOptions, Quantizer, Structure};
use pgrx::{pg_guard, pg_sys};

/// Work of searching one graph.
///
/// Measured on GloVe (340k × 100, m = 16): without codes a search with `ef` visits about `ef + 30` nodes and compares
/// 0.55 · 2m vectors for each. With codes it visits about 3 · ef, for estimates promise more than they keep, and for
/// each compares one vector and passes over the codes of its neighbours, which costs about as much again.
fn graph_work(ef: usize, options: GraphOptions, quantizer: Quantizer, nodes: f64) -> Work {
    let m = f64::from(options.m);
    let (hops, distances_per_hop) = match quantizer {
        Quantizer::None => (ef as f64 + 30.0, 2.0 * m * 0.55),
        Quantizer::Rabitq | Quantizer::Sq8 => (3.0 * ef as f64 + 30.0, 2.0),
    };
    let hops = hops.min(nodes);
    // Each node is compared once at most, with its codes a second time.
    Work { pages: hops, distances: (hops * distances_per_hop).min(2.0 * nodes) }
}

/// Codes that are evaluated in the time of one distance.
const CODES_PER_DISTANCE: f64 = 30.0;

/// Work of searching lists, some of which are probed; `rows` is the number of all their rows.
fn list_work(probes: usize, lists: f64, quantizer: Quantizer, rows: f64) -> Work {
    let scanned = rows * (probes as f64 / lists).min(1.0);
    let distances = match quantizer {
        Quantizer::None => scanned,
        // Few rows are left to be compared.
        Quantizer::Sq8 => scanned / 2.0,
        Quantizer::Rabitq => scanned / CODES_PER_DISTANCE + scanned.sqrt(),
    };
    Work { pages: probes as f64 + distances / 4.0, distances: lists / CODES_PER_DISTANCE + distances }
}

/// Pages read and vectors compared.
#[derive(Clone, Copy, Debug)]
struct Work {
    pages: f64,
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

        let effort = settings::effort(&snapshot);
        let sealed: f64 = snapshot.manifest.sealed.iter().map(|segment| f64::from(segment.rows)).sum();
        let mut work = Work { pages: 0.0, distances: (tuples - sealed).max(0.0) };
        let mut add = |one: Work| {
            work.pages += one.pages;
            work.distances += one.distances;
        };
        let quantizer = snapshot.meta.quantizer;
        // Rows after the first so many make the search go on; each costs about what one of the first did.
        let first_rows = match snapshot.meta.structure {
            Structure::Graph(options) => {
                for segment in &snapshot.manifest.sealed {
                    add(graph_work(effort.ef, options, quantizer, segment.rows.into()));
                }
                effort.ef as f64
            }
            Structure::Lists(_) => {
                let lists = snapshot.manifest.codebook().map_or(1.0, |codebook| codebook.lists.into());
                add(list_work(effort.probes, lists, quantizer, sealed));
                sealed * effort.probes as f64 / lists / SCANNED_PER_RETURNED as f64
            }
        };
        // A distance costs as many operators as its SQL function declares. Every vector and every neighbour list is
        // on some page of its own, most likely in memory: that costs about what looking at a heap tuple does.
        let distance = DISTANCE_OPERATORS * pg_sys::cpu_operator_cost;
        let search = work.distances * distance
            + (work.distances + work.pages) * pg_sys::cpu_tuple_cost
            + ROOT_PAGES * pg_sys::seq_page_cost;
        let per_row = search / first_rows.min(tuples).max(1.0);
        *startup_cost = search;
        *total_cost =
            search + (tuples - first_rows).max(0.0) * per_row + tuples * pg_sys::cpu_index_tuple_cost;
        *selectivity = costs.indexSelectivity;
        *correlation = 0.0;
        *pages = costs.numIndexPages;
    }
}

/// Pages that every scan begins with, however small the index: the meta page and the lanes.
const ROOT_PAGES: f64 = 5.0;

/// COST of the distance functions in `sql/operators.sql`.
const DISTANCE_OPERATORS: f64 = 10.0;
