//! Segments of every structure over pages in memory: what is sealed and merged is what is found.

use super::in_memory::{MemoryIndex, Row};
use crate::distance::{ElementKind, Metric, Space};
use crate::filter::Test;
use crate::structure::{GraphLayout, GraphOptions, ListOptions, Quantizer, Rerank, Structure};
use crate::util::random::Random;
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
fn recall(index: &MemoryIndex, random: &mut Random, effort: usize, condition: Option<Test>) -> f64 {
    const QUERIES: usize = 20;
    const LIMIT: usize = 10;
    let mut found = 0;
    for (query, _) in rows(random, QUERIES) {
        let is_match = |key| condition.as_ref().is_none_or(|test| test.accepts(Some(key)));
        let exact = index.exact(&query, is_match);
        let hits = index.nearest(&query, LIMIT, effort, condition.clone());
        let mut tids: Vec<_> = hits.iter().map(|hit| hit.tid).collect();
        tids.sort_unstable();
        tids.dedup();
        assert_eq!(tids.len(), hits.len(), "a row is found once");
        for hit in &hits {
            assert!(exact.contains(hit), "{hit:?} is no live row that matches, or has another score");
        }
        let limit = exact[LIMIT - 1].score;
        found += hits.iter().filter(|hit| hit.score <= limit).count().min(LIMIT);
    }
    found as f64 / (QUERIES * LIMIT) as f64
}

#[test]
fn sealed_rows_are_found_and_sound() {
    for layout in layouts() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let (mut index, mut random) = (index_of(layout, metric), Random::new(1));
            index.seal(&rows(&mut random, 300));
            assert_eq!(index.findings(), [], "{layout:?} {metric:?}");
            let recall = recall(&index, &mut random, THOROUGH, None);
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
            let recall = recall(&index, &mut random, THOROUGH, None);
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
        let recall = recall(&index, &mut random, THOROUGH, Some(Test::OneOf(vec![2, 5])));
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

#[test]
fn damaged_pages_are_refused_or_found() {
    let (mut refused, mut found) = (0, 0);
    for layout in layouts() {
        let (mut index, mut random) = (index_of(layout, Metric::L2), Random::new(6));
        index.seal(&rows(&mut random, 300));
        let query = rows(&mut random, 1).remove(0).0;
        let parts: Vec<_> = index.segments()[0]
            .parts()
            .into_iter()
            .flat_map(|(kind, part)| part.pages.blocks().map(move |block| (kind, block)))
            .collect();
        for (_, block) in parts {
            let before = index.pages.page(block);
            index.pages.change(block, |payload| payload.iter_mut().for_each(|byte| *byte = !*byte));
            let search = AssertUnwindSafe(|| index.nearest(&query, 10, 40, None));
            refused += usize::from(catch_unwind(search).is_err());
            let check = AssertUnwindSafe(|| index.findings());
            found += usize::from(catch_unwind(check).map_or(true, |findings| !findings.is_empty()));
            index.pages.replace(block, &before);
        }
        assert_eq!(index.findings(), [], "what was put back is sound");
    }
    assert!(refused >= 10 && found >= 30, "{refused} refused, {found} found");
}
