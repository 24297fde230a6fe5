//! Search of a segment with a graph row by row, past the graph: codes decide which rows are compared, if there are any.
//!
//! The answer is exact, up to the bounds of the codes. It is the better way where few rows are wanted, or there are few.

use super::compact::{NodeCodes, NodeQuery};
use super::source::Source;
use super::stored::codes_of;
use crate::codec::fastscan::BLOCK;
use crate::rerank::{Onward, Reranker, Step, Work};
use crate::segment::block::{BlockLayout, Centre, Estimates};
use crate::segment::corrupt;
use crate::segment::search::{HeapRows, Hit};
use crate::storage::page::Kind;
use crate::storage::part::PartReader;
use std::collections::HashSet;
use std::ops::Range;

/// The state of a search between two calls. It holds no pins.
pub struct FlatSearch {
    started: bool,
    /// Rows that another search has returned.
    given: HashSet<u32>,
    rows: Reranker<u32>,
    /// For each block that was read the limit under which its rows were offered (see [`Reranker::offer`]).
    limits: Vec<f32>,
}

/// Rows compared at once where there are no codes.
const CHUNK: usize = 256;

impl FlatSearch {
    /// A search `within` a score, if one is given.
    pub fn new(within: Option<f64>, onward: Onward) -> Self {
        let rows = Reranker::new(within, onward);
        Self { started: false, given: HashSet::new(), rows, limits: Vec::new() }
    }

    /// Goes on where another search has given up: after the rows that it has returned, up to a score.
    pub fn after(mut self, (rows, score): (Vec<u32>, f64)) -> Self {
        self.given = rows.into_iter().collect();
        self.rows.go_on_from(score);
        self
    }

    pub fn work(&self) -> Work {
        self.rows.work()
    }

    /// Whether the next row is known to have this score, too.
    pub fn has_tie(&self, score: f64) -> bool {
        self.rows.has_tie(score)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// The next nearest row.
    pub fn next(&mut self, source: Source, heap: &mut HeapRows) -> Option<Hit> {
        if !self.started {
            self.started = true;
            self.begin(source, heap);
        }
        loop {
            match self.rows.step() {
                Step::Next(row, score) => {
                    let mut rows = source.rows();
                    let is_given = !self.given.is_empty() && self.given.contains(&row);
                    if !is_given && let Some(tid) = rows.live_tid(row) {
                        return Some(Hit { score, tid });
                    }
                }
                Step::Compare(rows) => self.compare(source, heap, &rows),
                Step::Recall => {
                    let mut limits = std::mem::take(&mut self.limits);
                    let mut limit_of_block = limits.iter_mut();
                    self.scan(source, |reranker, Estimates { scores, errors }, rows, wanted| {
                        let limit = limit_of_block.next().expect("a limit for each block");
                        let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                        let row = |place| (wanted >> place & 1 == 1).then(|| rows.row(place));
                        *limit = reranker.recall(scores, errors, *limit, row);
                    });
                    self.limits = limits;
                }
                Step::Empty => return None,
            }
        }
    }

    fn begin(&mut self, source: Source, heap: &mut HeapRows) {
        if source.coded.is_some() {
            let mut limits = Vec::new();
            self.scan(source, |reranker, Estimates { scores, errors }, rows, wanted| {
                let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                limits.push(reranker.offer(scores, errors, wanted, |place| Some(rows.row(place))));
            });
            self.limits = limits;
            return;
        }
        for rows in wanted_rows(source).chunks(CHUNK) {
            pgrx::check_for_interrupts!();
            self.compare(source, heap, rows);
        }
    }

    /// Calls `visit` with estimates of at most 32 rows after another, those rows, and the bits of those that are wanted:
    /// of all rows that are, and always in the same order.
    fn scan(&mut self, source: Source, visit: impl FnMut(&mut Reranker<u32>, Estimates, Together, u32)) {
        match source.node_query {
            Some(query) => self.scan_nodes(source, query, visit),
            None => self.scan_blocks(source, visit),
        }
    }

    /// By the codes of nodes.
    fn scan_nodes(
        &mut self,
        source: Source,
        query: &NodeQuery,
        mut visit: impl FnMut(&mut Reranker<u32>, Estimates, Together, u32),
    ) {
        let Source { relation, meta, segment, parts, .. } = source;
        let layout = NodeCodes::new(meta.space);
        let codes = codes_of(relation, segment, parts);
        let mut reader = PartReader::new(relation, codes, Kind::NodeCodes, segment.id);
        let mut node_rows = source.rows();
        for rows in wanted_rows(source).chunks(BLOCK) {
            pgrx::check_for_interrupts!();
            let nodes: Vec<u32> = rows.iter().map(|&row| node_rows.node(row)).collect();
            source.check(&nodes);
            let mut estimates = Estimates { scores: [0.0; BLOCK], errors: [0.0; BLOCK] };
            let mut places = estimates.scores.iter_mut().zip(&mut estimates.errors);
            reader.for_each_row(&nodes, layout.bytes(), |node, bytes| {
                let (score, error) = places.next().expect("as many places as nodes");
                (*score, *error) = layout.estimate(bytes, query).unwrap_or_else(|| {
                    corrupt(relation, segment, format!("The code of node {node} makes no sense."))
                });
            });
            visit(&mut self.rows, estimates, Together::Listed(rows), u32::MAX);
        }
    }

    /// By the rows' blocks of codes: those that have a row wanted.
    fn scan_blocks(
        &mut self,
        source: Source,
        mut visit: impl FnMut(&mut Reranker<u32>, Estimates, Together, u32),
    ) {
        let Source { relation, meta, segment, wanted, .. } = source;
        let (Some(coded), Some(codes)) = (source.coded, &source.parts.row_codes) else {
            corrupt(relation, segment, "Its rows have no codes.".into())
        };
        let layout = BlockLayout::new(meta.space.dims as usize);
        let centre = Centre::origin(meta.space.metric, &coded.vector);
        let total = segment.rows as usize;
        let rows_of = |block: u32| block as usize * BLOCK..total.min((block as usize + 1) * BLOCK);
        let blocks: Vec<u32> = (0..total.div_ceil(BLOCK) as u32)
            .filter(|&block| wanted.is_none_or(|wanted| wanted.has_any_in(rows_of(block))))
            .collect();
        let mut reader = PartReader::new(relation, codes, Kind::RowCodes, segment.id);
        reader.for_each_row(&blocks, layout.bytes(), |block, bytes| {
            pgrx::check_for_interrupts!();
            let rows = rows_of(block);
            let estimates = layout.estimate(bytes, &coded.tables, centre);
            let estimates = estimates.expect("a row of as many bytes as were asked for");
            let bits = wanted.map_or(u32::MAX, |wanted| wanted.bits_from(rows.start));
            visit(&mut self.rows, estimates, Together::InARow(rows), bits);
        });
    }

    /// Compares rows exactly.
    fn compare(&mut self, source: Source, heap: &mut HeapRows, rows: &[u32]) {
        let mut node_rows = source.rows();
        let rows: Vec<(u32, u32)> = rows.iter().map(|&row| (row, node_rows.node(row))).collect();
        source.compare(heap, &rows, |row, score| self.rows.compared(row, score));
    }
}

/// Rows whose codes are looked at together.
enum Together<'a> {
    InARow(Range<usize>),
    Listed(&'a [u32]),
}

impl Together<'_> {
    fn len(&self) -> usize {
        match self {
            Together::InARow(rows) => rows.len(),
            Together::Listed(rows) => rows.len(),
        }
    }

    fn row(&self, place: usize) -> u32 {
        match self {
            Together::InARow(rows) => (rows.start + place) as u32,
            Together::Listed(rows) => rows[place],
        }
    }
}

/// The rows that are wanted, ascending.
fn wanted_rows(source: Source) -> Vec<u32> {
    match source.wanted {
        Some(wanted) => wanted.iter().take_while(|&row| row < source.segment.rows).collect(),
        None => (0..source.segment.rows).collect(),
    }
}
