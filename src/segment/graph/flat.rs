//! Flat search of a segment with a graph, row by row: codes, if there are any, decide which rows
//! are compared.
//!
//! The result is exact, up to the bounds of the codes. A flat search is faster than a walk where
//! few rows match, or the segment is small.

use super::stored::codes_of;
use super::view::GraphView;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::{BlockLayout, Centre, Estimates};
use crate::codec::rabitq::Query;
use crate::filter::Bitset;
use crate::memory;
use crate::search::rerank::{IterativeScan, Reranker, Step, Work};
use crate::segment::estimates::for_each_estimate;
use crate::segment::graph::node_codes::{NodeCodes, NodeQuery};
use crate::segment::request::{HeapRows, Hit};
use crate::segment::rows::NodeRows;
use crate::storage::part_reader::PartReader;
use crate::structure::PageKind;
use std::collections::HashSet;
use std::ops::Range;

/// The state of a search between two calls. It holds no pins.
pub struct FlatSearch {
    started: bool,
    /// Rows that another search has returned.
    returned: HashSet<u32>,
    rows: Reranker<u32>,
    /// For each block, the limit under which its rows were offered (see [`Reranker::offer`]).
    limits: Vec<f32>,
}

/// The purpose that errors about memory name.
const ROWS: &str = "rows of a search";

/// Rows compared at once where there are no codes.
const CHUNK: usize = 256;

impl FlatSearch {
    /// A search `within` a score, if one is given.
    pub fn new(within: Option<f64>, iterative_scan: IterativeScan) -> Self {
        let rows = Reranker::new(within, iterative_scan);
        Self { started: false, returned: HashSet::new(), rows, limits: Vec::new() }
    }

    /// Goes on where another search has given up, after the rows that it has returned and their
    /// greatest score.
    pub fn after(mut self, (rows, score): (Vec<u32>, f64)) -> Self {
        memory::reserve_set(&mut self.returned, rows.len(), ROWS);
        self.returned.extend(rows);
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
    pub fn next(&mut self, view: GraphView, heap: &mut HeapRows) -> Option<Hit> {
        if !self.started {
            self.started = true;
            self.begin(view, heap);
        }
        loop {
            match self.rows.step() {
                Step::Next(row, score) => {
                    let mut rows = view.rows();
                    let is_given = !self.returned.is_empty() && self.returned.contains(&row);
                    if !is_given && let Some(tid) = rows.live_tid(row) {
                        return Some(Hit { score, tid });
                    }
                }
                Step::Compare(rows) => self.compare(view, heap, &rows),
                Step::Reconsider => {
                    let mut limits = std::mem::take(&mut self.limits);
                    let mut limit_of_block = limits.iter_mut();
                    self.scan(view, |reranker, Estimates { scores, errors }, rows, matching| {
                        let limit = limit_of_block.next().expect("a limit for each block");
                        let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                        let row = |place| (matching >> place & 1 == 1).then(|| rows.row(place));
                        *limit = reranker.reconsider(scores, errors, *limit, row);
                    });
                    self.limits = limits;
                }
                Step::Empty => return None,
            }
        }
    }

    fn begin(&mut self, view: GraphView, heap: &mut HeapRows) {
        if view.coded.is_some() {
            let mut limits = Vec::new();
            let offer = |reranker: &mut Reranker<u32>, estimates: Estimates, rows: Together, matching| {
                let Estimates { scores, errors } = estimates;
                let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                limits.push(reranker.offer(scores, errors, matching, |place| Some(rows.row(place))));
            };
            match view.node_query {
                Some(query) => self.scan_nodes(view, query, offer),
                None => {
                    let (blocks, mut reader) = Blocks::of(view, all_rows(view));
                    match self.share_blocks(&blocks, &mut reader) {
                        Some(shared) => limits = shared,
                        None => self.scan_blocks(&blocks, &mut reader, offer),
                    }
                }
            }
            self.limits = limits;
            return;
        }
        for rows in matching_rows(view, all_rows(view)).chunks(CHUNK) {
            view.sealed.poll();
            self.compare(view, heap, rows);
        }
    }

    /// Calls `visit` for all matching rows, at most 32 at a time and always in the same order. It
    /// gets estimates, the rows, and the bits of those that match.
    fn scan(&mut self, view: GraphView, visit: impl FnMut(&mut Reranker<u32>, Estimates, Together, u32)) {
        match view.node_query {
            Some(query) => self.scan_nodes(view, query, visit),
            None => {
                let (blocks, mut reader) = Blocks::of(view, all_rows(view));
                self.scan_blocks(&blocks, &mut reader, visit);
            }
        }
    }

    /// [`Self::scan`] by the codes of nodes.
    fn scan_nodes(
        &mut self,
        view: GraphView,
        query: &NodeQuery,
        mut visit: impl FnMut(&mut Reranker<u32>, Estimates, Together, u32),
    ) {
        let mut nodes = NodeEstimates::new(view, query);
        for rows in matching_rows(view, all_rows(view)).chunks(BLOCK) {
            view.sealed.poll();
            visit(&mut self.rows, nodes.estimate(rows), Together::Listed(rows), u32::MAX);
        }
    }

    /// [`Self::scan`] by the rows' blocks of codes.
    fn scan_blocks(
        &mut self,
        blocks: &Blocks,
        reader: &mut PartReader,
        mut visit: impl FnMut(&mut Reranker<u32>, Estimates, Together, u32),
    ) {
        blocks.for_each(reader, |estimates, rows, matching| {
            visit(&mut self.rows, estimates, Together::InARow(rows), matching);
        });
    }

    /// Offers all rows by their blocks of codes, on several threads, and returns the blocks'
    /// limits; `None` if that is not worth while.
    fn share_blocks(&mut self, blocks: &Blocks, reader: &mut PartReader) -> Option<Vec<f32>> {
        let reranker = &self.rows;
        let begin = || (reranker.share(), Vec::new());
        let offer = |(rows, limits): &mut (Reranker<u32>, Vec<_>), number: usize, bytes: &[u8]| {
            let (Estimates { scores, errors }, together, matching) = blocks.look_at(number, bytes);
            let (scores, errors) = (&scores[..together.len()], &errors[..together.len()]);
            let row = |place| Some((together.start + place) as u32);
            limits.push((number, rows.offer(scores, errors, matching, row)));
        };
        let shares = reader.share_rows(&blocks.numbers, blocks.layout.bytes(), begin, offer)?;
        let mut limits = vec![0.0; blocks.numbers.len()];
        for (rows, of_share) in shares {
            self.rows.absorb(rows);
            of_share.into_iter().for_each(|(number, limit)| limits[number] = limit);
        }
        Some(limits)
    }

    /// Compares rows exactly.
    fn compare(&mut self, view: GraphView, heap: &mut HeapRows, rows: &[u32]) {
        let mut node_rows = view.rows();
        let rows: Vec<(u32, u32)> = rows.iter().map(|&row| (row, node_rows.node(row))).collect();
        view.compare(heap, &rows, |row, score| self.rows.compared(row, score));
    }
}

/// Estimates of rows by the codes of their nodes.
///
/// Holds pins, so it must not outlive the callback in which it was made.
pub(super) struct NodeEstimates<'a> {
    view: GraphView<'a>,
    query: &'a NodeQuery,
    layout: NodeCodes,
    codes: PartReader<'a>,
    rows: NodeRows<'a>,
}

impl<'a> NodeEstimates<'a> {
    pub(super) fn new(view: GraphView<'a>, query: &'a NodeQuery) -> Self {
        let GraphView { sealed, space, parts, .. } = view;
        let codes = codes_of(sealed, parts);
        Self {
            view,
            query,
            layout: NodeCodes::new(space),
            codes: sealed.part(codes, PageKind::NodeCodes),
            rows: view.rows(),
        }
    }

    /// Estimates of at most 32 rows.
    pub(super) fn estimate(&mut self, rows: &[u32]) -> Estimates {
        let Self { view, query, layout, .. } = *self;
        let nodes: Vec<u32> = rows.iter().map(|&row| self.rows.node(row)).collect();
        view.check(&nodes);
        let mut estimates = Estimates { scores: [0.0; BLOCK], errors: [0.0; BLOCK] };
        for_each_estimate(
            &mut self.codes,
            layout,
            &nodes,
            query,
            |_| (),
            |place, _, (score, error)| {
                (estimates.scores[place], estimates.errors[place]) = (score, error);
            },
        );
        estimates
    }
}

/// The blocks of rows' codes that have a matching row.
pub(super) struct Blocks<'a> {
    layout: BlockLayout,
    numbers: Vec<u32>,
    /// Of the segment.
    rows: usize,
    matching: Option<&'a Bitset>,
    tables: &'a Query,
    centre: Centre,
}

impl<'a> Blocks<'a> {
    /// The blocks of `stretch`, which begins with a block, and a reader of their codes.
    pub(super) fn of(view: GraphView<'a>, stretch: Range<u32>) -> (Self, PartReader<'a>) {
        let GraphView { sealed, space, matching, .. } = view;
        let (Some(coded), Some(codes)) = (view.coded, &view.parts.row_codes) else {
            sealed.corrupt("Its rows have no codes.")
        };
        let rows = sealed.rows as usize;
        let has_matching =
            |&block: &u32| matching.is_none_or(|matching| matching.has_any_in(rows_of_block(block, rows)));
        let blocks = Self {
            layout: BlockLayout::new(space.dims as usize),
            numbers: (stretch.start / BLOCK as u32..stretch.end.div_ceil(BLOCK as u32))
                .filter(has_matching)
                .collect(),
            rows,
            matching,
            tables: &coded.tables,
            centre: Centre::origin(space.metric, &coded.vector),
        };
        (blocks, sealed.part(codes, PageKind::RowCodes))
    }

    /// Calls `visit` with each block's estimates, its rows, and the bits of those that match.
    pub(super) fn for_each(
        &self,
        reader: &mut PartReader,
        mut visit: impl FnMut(Estimates, Range<usize>, u32),
    ) {
        let (mut numbers, pages) = (0.., reader.pages());
        reader.for_each_row(&self.numbers, self.layout.bytes(), |_, bytes| {
            pages.poll();
            let (estimates, rows, matching) = self.look_at(numbers.next().expect("endless"), bytes);
            visit(estimates, rows, matching);
        });
    }

    /// Estimates of the block at a place in `numbers`, its rows, and the bits of those that match.
    fn look_at(&self, place: usize, bytes: &[u8]) -> (Estimates, Range<usize>, u32) {
        let rows = rows_of_block(self.numbers[place], self.rows);
        let estimates = self.layout.estimate(bytes, self.tables, self.centre);
        let estimates = estimates.expect("a row of as many bytes as were asked for");
        let matching = self.matching.map_or(u32::MAX, |matching| matching.bits_from(rows.start));
        (estimates, rows, matching)
    }
}

fn rows_of_block(block: u32, rows: usize) -> Range<usize> {
    let first = block as usize * BLOCK;
    first..rows.min(first + BLOCK)
}

/// Rows estimated together.
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

fn all_rows(view: GraphView) -> Range<u32> {
    0..view.sealed.rows
}

/// The matching rows of a stretch, ascending.
pub(super) fn matching_rows(view: GraphView, stretch: Range<u32>) -> Vec<u32> {
    match view.matching {
        Some(matching) => {
            let mut rows = Vec::new();
            for row in matching.iter_from(stretch.start).take_while(|&row| row < stretch.end) {
                memory::push(&mut rows, row, ROWS);
            }
            rows
        }
        None => memory::collect(stretch, ROWS),
    }
}
