//! Segments of every structure over pages in memory: what is sealed and merged is what is found.

use super::in_memory::{MemoryIndex, Row, Search};
use crate::distance::{ElementKind, Metric, Space};
use crate::filter::Test;
use crate::search::rerank::IterativeScan;
use crate::structure::{GraphLayout, GraphOptions, ListOptions, Quantizer, Rerank, Structure};
use crate::util::random::Random;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReportWithLevel;
use std::panic::{AssertUnwindSafe, catch_unwind};

const DIMS: u32 = 24;

/// An effort with which every structure looks at nearly all there is.
const THOROUGH: usize = 400;

fn graph(layout: GraphLayout, rerank: Rerank) -> Structure {
    Structure::Graph(GraphOptions { m: 8, ef_construction: 40, layout, rerank })
}

fn lists(bits: u8, rerank: Rerank) -> Structure {
    Structure::Lists(ListOptions { lists: 12, bits, rerank })
}

/// Every way in which rows lie in segments.
fn layouts() -> Vec<(Structure, Quantizer)> {
    let (index, heap) = (Rerank::Index, Rerank::Heap);
    vec![
        (graph(GraphLayout::Wide, index), Quantizer::None),
        (graph(GraphLayout::Wide, index), Quantizer::Rabitq),
        (graph(GraphLayout::Compact, index), Quantizer::Rabitq),
        (graph(GraphLayout::Compact, heap), Quantizer::Rabitq),
        (lists(1, index), Quantizer::None),
        (lists(1, index), Quantizer::Rabitq),
        (lists(4, index), Quantizer::Rabitq),
        (lists(1, heap), Quantizer::Rabitq),
        (lists(1, index), Quantizer::Sq8),
    ]
}

fn index_of((structure, quantizer): (Structure, Quantizer), metric: Metric) -> MemoryIndex {
    MemoryIndex::new(Space { kind: ElementKind::F32, metric, dims: DIMS }, structure, quantizer)
}

/// Rows in clusters, every tenth equal to the one before it; keys count to seven.
fn rows(random: &mut Random, count: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for number in 0..count {
        let centre = (number % 5) as f64;
        let vector: Vec<f32> = (0..DIMS).map(|_| (random.fraction() + centre) as f32 - 2.0).collect();
        let vector = if number % 10 == 9 { rows[number - 1].0.clone() } else { vector };
        rows.push((vector, number as u64 % 7));
    }
    rows
}

/// The share of the true nearest rows that are found, on average of some queries. Every hit must
/// have its exact score, and no row may be found twice.
fn recall(index: &MemoryIndex, random: &mut Random, search: Search) -> f64 {
    const QUERIES: usize = 20;
    let Search { limit, ref condition, .. } = search;
    let mut found = 0;
    for (query, _) in rows(random, QUERIES) {
        let is_match = |key| condition.as_ref().is_none_or(|test| test.accepts(Some(key)));
        let exact = index.exact(&query, is_match);
        let (hits, _) = index.search(&query, search.clone());
        let mut tids: Vec<_> = hits.iter().map(|hit| hit.tid).collect();
        tids.sort_unstable();
        tids.dedup();
        assert_eq!(tids.len(), hits.len(), "a row is found once");
        for hit in &hits {
            assert!(exact.contains(hit), "{hit:?} is no live row that matches, or has another score");
        }
        let farthest = exact[limit - 1].score;
        found += hits.iter().filter(|hit| hit.score <= farthest).count().min(limit);
    }
    found as f64 / (QUERIES * limit) as f64
}

#[test]
fn sealed_rows_are_found_and_sound() {
    for layout in layouts() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let (mut index, mut random) = (index_of(layout, metric), Random::new(1));
            index.seal(&rows(&mut random, 300));
            assert_eq!(index.findings(), [], "{layout:?} {metric:?}");
            let recall = recall(&index, &mut random, Search::new(10, THOROUGH));
            assert!(recall >= 0.98, "{layout:?} {metric:?}: {recall}");
        }
    }
}

#[test]
fn merged_segments_have_the_live_rows() {
    for layout in layouts() {
        for retrain in [false, true] {
            let has_vectors = match layout.0 {
                Structure::Graph(options) => options.rerank == Rerank::Index,
                Structure::Lists(options) => options.rerank == Rerank::Index,
            };
            if retrain && !has_vectors {
                // Only exact vectors are assigned again.
                continue;
            }
            let (mut index, mut random) = (index_of(layout, Metric::L2), Random::new(2));
            for count in [250, 150, 7] {
                index.seal(&rows(&mut random, count));
            }
            index.kill(|row| row % 3 == 0);
            let live = index.rows.len();
            index.merge(retrain);
            assert_eq!(index.segments().len(), 1);
            assert_eq!(index.segments()[0].rows as usize, live, "{layout:?}");
            assert_eq!(index.findings(), [], "{layout:?} {retrain}");
            let recall = recall(&index, &mut random, Search::new(10, THOROUGH));
            assert!(recall >= 0.98, "{layout:?} {retrain}: {recall}");
        }
    }
}

#[test]
fn a_merge_of_dead_rows_makes_no_segment() {
    for layout in layouts() {
        let (mut index, mut random) = (index_of(layout, Metric::L2), Random::new(3));
        index.seal(&rows(&mut random, 120));
        index.kill(|_| true);
        index.merge(false);
        assert!(index.segments().is_empty(), "{layout:?}");
    }
}

#[test]
fn conditions_and_dead_rows_shorten_no_answer() {
    for layout in layouts() {
        let (mut index, mut random) = (index_of(layout, Metric::L2), Random::new(4));
        index.seal(&rows(&mut random, 400));
        index.seal(&rows(&mut random, 100));
        index.kill(|row| row % 4 == 1);
        let search = Search { condition: Some(Test::OneOf(vec![2, 5])), ..Search::new(10, THOROUGH) };
        let recall = recall(&index, &mut random, search);
        assert!(recall >= 0.98, "{layout:?}: {recall}");
    }
}

#[test]
fn a_listing_finds_what_lies_within_a_score() {
    for layout in layouts() {
        let (mut index, mut random) = (index_of(layout, Metric::L2), Random::new(5));
        index.seal(&rows(&mut random, 400));
        index.kill(|row| row % 5 == 2);
        for (query, _) in rows(&mut random, 20) {
            let exact = index.exact(&query, |_| true);
            let within = exact[40].score;
            let mut near: Vec<_> =
                exact.iter().filter(|hit| hit.score <= within).map(|hit| hit.tid).collect();
            near.sort_unstable();
            assert_eq!(index.listed(&query, within), near, "{layout:?}");
        }
    }
}

/// The layouts of graphs, each over rows enough that a search of little effort walks.
fn walked_graphs() -> Vec<((Structure, Quantizer), MemoryIndex)> {
    const ROWS: usize = 8000;
    let graphs = layouts().into_iter().filter(|(structure, _)| matches!(structure, Structure::Graph(_)));
    let index = |layout| {
        let mut index = index_of(layout, Metric::L2);
        index.seal(&rows(&mut Random::new(7), ROWS));
        (layout, index)
    };
    graphs.map(index).collect()
}

#[test]
fn a_graph_is_walked_and_may_be_walked_on() {
    for (layout, mut index) in walked_graphs() {
        assert_eq!(index.findings(), [], "{layout:?}");
        index.kill(|row| row % 10 == 3);
        let mut random = Random::new(8);
        let (query, _) = rows(&mut random, 1).remove(0);
        let (_, steps) = index.search(&query, Search::new(10, 10));
        assert_eq!(steps, ["graph"], "{layout:?}");
        let few = recall(&index, &mut random, Search::new(10, 10));
        assert!(few >= 0.6, "{layout:?}: {few}");
        // A search that goes on finds what one of more effort finds.
        let many = recall(&index, &mut random, Search::new(100, 10));
        assert!(many >= 0.6, "{layout:?}: {many}");
        let off = |limit| Search { iterative_scan: IterativeScan::Off, ..Search::new(limit, 10) };
        let (hits, _) = index.search(&query, off(100));
        assert!((1..=20).contains(&hits.len()), "{layout:?}: {} rows", hits.len());
        let condition = Some(Test::OneOf(vec![1, 4, 6]));
        let filtered = recall(&index, &mut random, Search { condition, ..Search::new(10, 10) });
        assert!(filtered >= 0.6, "{layout:?}: {filtered}");
    }
}

#[test]
fn a_walk_within_a_score_goes_on_past_the_graph() {
    for (layout, index) in walked_graphs() {
        let (query, _) = rows(&mut Random::new(9), 1).remove(0);
        let exact = index.exact(&query, |_| true);
        let within = exact[150].score;
        let search = Search { within: Some(within), ..Search::new(usize::MAX, 10) };
        let (hits, steps) = index.search(&query, search);
        let has_codes = layout.1.has_codes();
        // Without codes a walk finds all: nothing past the graph would be faster.
        assert_eq!(steps, if has_codes { vec!["graph", "flat"] } else { vec!["graph"] }, "{layout:?}");
        let near = hits.iter().filter(|hit| hit.score <= within).count();
        // In strict order a walk leaves out what it finds late. How much varies with the graph,
        // which threads build differently each time.
        let least = if has_codes { 143 } else { 128 };
        assert!(near >= least, "{layout:?}: {near} of 151");
        assert!(hits.iter().all(|hit| exact.contains(hit)), "{layout:?}");
    }
}

#[test]
fn few_matches_far_from_a_query_are_found_past_the_graph() {
    for (layout, mut index) in walked_graphs() {
        // A cluster of its own, far away, with a key of its own: too many to compare at once.
        let far: Vec<Row> = (0..4000)
            .map(|number| {
                ((0..DIMS).map(|dim| 50.0 + (number * (dim + 1) % 97) as f32 / 50.0).collect(), 100)
            })
            .collect();
        index.seal(&far);
        index.merge(false);
        let condition = Some(Test::OneOf(vec![100]));
        let query = vec![0.0; DIMS as usize];
        let (hits, steps) = index.search(&query, Search { condition, ..Search::new(10, 10) });
        assert_eq!(steps.last(), Some(&"flat"), "{layout:?}: {steps:?}");
        let exact = index.exact(&query, |key| key == 100);
        assert!(hits.iter().filter(|hit| hit.score <= exact[9].score).count() >= 9, "{layout:?}: {hits:?}");
    }
}

/// Whether work ends in the error that an index is corrupt; any other panic fails the test.
fn is_refused(work: impl FnOnce()) -> bool {
    let Err(payload) = catch_unwind(AssertUnwindSafe(work)) else { return false };
    let report = payload.downcast_ref::<ErrorReportWithLevel>().expect("an error, not a fault of the code");
    assert_eq!(report.sql_error_code(), PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED);
    true
}

#[test]
fn damaged_pages_are_refused_or_found() {
    let mut refused = 0;
    for layout in layouts() {
        let mut found = 0;
        let (mut index, mut random) = (index_of(layout, Metric::L2), Random::new(6));
        index.seal(&rows(&mut random, 300));
        let query = rows(&mut random, 1).remove(0).0;
        let parts = index.segments()[0].parts();
        let blocks: Vec<u32> = parts.into_iter().flat_map(|(_, part)| part.pages.blocks()).collect();
        for &block in &blocks {
            let before = index.pages.page(block);
            index.pages.change(block, |payload| payload.iter_mut().for_each(|byte| *byte = !*byte));
            refused += usize::from(is_refused(|| drop(index.search(&query, Search::new(10, 40)))));
            let mut findings = Vec::new();
            let is_unreadable = is_refused(|| findings = index.findings());
            found += usize::from(is_unreadable || !findings.is_empty());
            index.pages.replace(block, &before);
        }
        // Pages of upper layers and of tombstones may have no content.
        assert!(2 * found >= blocks.len(), "{layout:?}: {found} of {}", blocks.len());
        assert_eq!(index.findings(), [], "what was put back is sound");
    }
    // Most damage gives wrong estimates or scores; numbers of rows, nodes and lists are refused.
    assert!(refused >= 5, "{refused} searches were refused");
}
