//! Search of a segment with a compact graph: codes guide the walk, and their bounds decide which
//! rows are compared.

use super::links::Links;
use super::stored::codes_of;
use super::view::GraphView;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::filter::Bitset;
use crate::graph::Candidate;
use crate::graph::search::{GraphReader, Search};
use crate::memory;
use crate::search::rerank::{IterativeScan, Reranker, Step, Work};
use crate::segment::graph::node_codes::{NodeCodes, NodeQuery};
use crate::segment::request::{HeapRows, Hit, SeenShare};
use crate::storage::part_reader::PartReader;
use crate::structure::PageKind;
use std::ops::Range;
use std::rc::Rc;

/// The state of a search between two calls. It holds no pins.
pub struct Walk {
    search: Search,
    /// The matching nodes; `None` for all.
    nodes: Option<Rc<Bitset>>,
    /// Nodes by their codes, rows by their vectors; a node's number is that of its first row.
    rows: Reranker<u32>,
    /// All nodes offered, and the limit under which each range of them was (see
    /// [`Reranker::offer`]).
    estimates: Estimates,
    offers: Vec<(Range<usize>, f32)>,
    iterative_scan: IterativeScan,
    within: Option<f64>,
    state: State,
    /// Candidates that the search would have looked at by now if the snapshot saw them all.
    target: usize,
    seen: SeenShare,
    /// Every row returned, and the greatest score of them.
    returned_rows: Vec<u32>,
    last: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Fresh,
    /// `left` rows may be returned before the search goes on.
    Round {
        left: usize,
    },
    /// There are no further candidates.
    Exhausted,
    GivenUp,
}

impl Walk {
    /// A walk by `search`. With a score `within` it gives up at rows beyond that, or after the
    /// first round.
    pub fn new(
        search: Search,
        nodes: Option<Rc<Bitset>>,
        within: Option<f64>,
        iterative_scan: IterativeScan,
    ) -> Self {
        Self {
            search,
            nodes,
            rows: Reranker::new(None, iterative_scan),
            estimates: Estimates::default(),
            offers: Vec::new(),
            iterative_scan,
            within,
            state: State::Fresh,
            target: 0,
            seen: SeenShare::default(),
            returned_rows: Vec::new(),
            last: f64::NEG_INFINITY,
        }
    }

    /// Whether it has given up before the next result.
    pub fn has_given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    /// Every row that was returned, and the greatest score of them.
    pub fn returned_rows(&mut self) -> (Vec<u32>, f64) {
        (std::mem::take(&mut self.returned_rows), self.last)
    }

    pub fn work(&self) -> Work {
        Work { estimated: self.search.work().compared, ..self.rows.work() }
    }

    /// Whether the next row is known to have this score, too.
    pub fn has_tie(&self, score: f64) -> bool {
        self.state != State::Round { left: 0 } && self.rows.has_tie(score)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.search.bytes() + self.rows.bytes() + self.estimates.bytes()
    }

    /// The next nearest row; `None` when every row was returned, when the search gives up, or when
    /// it does not go on after its first rows.
    pub fn next(&mut self, view: GraphView, heap: &mut HeapRows) -> Option<Hit> {
        loop {
            let is_due = matches!(self.state, State::Fresh | State::Round { left: 0 });
            if self.state == State::GivenUp || is_due && !self.go_on(view) {
                return None;
            }
            let last = self.rows.last();
            match self.rows.step() {
                // The snapshot sees too few of the candidates so far: the next ones may have nearer
                // rows.
                Step::Next(row, score) if self.is_thin() => {
                    self.rows.take_back(row, score, last);
                    self.round(view);
                }
                Step::Empty if self.is_thin() => {
                    self.round(view);
                }
                Step::Next(row, score) => {
                    if self.within.is_some_and(|within| score > within) {
                        self.state = State::GivenUp;
                        return None;
                    }
                    if let Some(tid) = view.rows().live_tid(row) {
                        if let State::Round { left } = &mut self.state {
                            *left -= 1;
                        }
                        memory::push(&mut self.returned_rows, row, NODES);
                        self.last = self.last.max(score);
                        return Some(Hit { score, tid });
                    }
                }
                Step::Compare(nodes) => self.compare(view, heap, &nodes),
                Step::Reconsider => {
                    for (range, limit) in &mut self.offers {
                        let (nodes, scores, errors) = self.estimates.get(range.clone());
                        *limit = self.rows.reconsider(scores, errors, *limit, |place| Some(nodes[place]));
                    }
                }
                Step::Empty if self.state == State::Exhausted => return None,
                Step::Empty => self.state = State::Round { left: 0 },
            }
        }
    }

    /// Makes candidates of the nodes that the graph leads to next; `false` if the search
    /// does not go on, or gives up.
    fn go_on(&mut self, view: GraphView) -> bool {
        if self.state != State::Fresh && self.iterative_scan == IterativeScan::Off {
            return false;
        }
        if self.state != State::Fresh && self.within.is_some() {
            self.state = State::GivenUp;
            return false;
        }
        let before = self.estimates.nodes.len();
        let goes_on = self.round(view);
        self.target += self.estimates.nodes.len() - before;
        goes_on
    }

    /// Whether the snapshot sees far fewer candidates than the search aims at.
    fn is_thin(&self) -> bool {
        let seen = self.seen.of(self.estimates.nodes.len() as u64);
        matches!(self.state, State::Round { .. }) && 4 * seen < 3 * self.target as u64
    }

    /// Makes candidates of the nodes that the graph leads to next; `false` if the search gives up.
    fn round(&mut self, view: GraphView) -> bool {
        let first = self.estimates.nodes.len();
        let mut graph = CompactGraph::new(view, self.nodes.as_deref(), &mut self.estimates);
        self.state = match self.search.round(&mut graph) {
            true => State::Round { left: self.search.ef() },
            false if self.search.has_given_up() => State::GivenUp,
            false => State::Exhausted,
        };
        if self.state == State::GivenUp {
            return false;
        }
        let end = self.estimates.nodes.len();
        for start in (first..end).step_by(BLOCK) {
            let range = start..end.min(start + BLOCK);
            let (nodes, scores, errors) = self.estimates.get(range.clone());
            let limit = self.rows.offer(scores, errors, u32::MAX, |place| Some(nodes[place]));
            self.offers.push((range, limit));
        }
        true
    }

    /// Compares the rows of some nodes exactly.
    fn compare(&mut self, view: GraphView, heap: &mut HeapRows, nodes: &[u32]) {
        let mut node_rows = view.rows();
        let mut rows = Vec::with_capacity(nodes.len());
        for &node in nodes {
            node_rows.for_each_live(node, |row, _| {
                if view.matches(row) {
                    rows.push((row, node));
                }
            });
        }
        let before = self.rows.work().compared;
        view.compare(heap, &rows, |row, score| self.rows.compared(row, score));
        self.seen.note(rows.len() as u64, self.rows.work().compared - before);
    }
}

/// The purpose that errors about memory name.
const NODES: &str = "candidates of a search";

/// Nodes' scores estimated by their codes, and bounds on the errors.
#[derive(Default)]
struct Estimates {
    nodes: Vec<u32>,
    scores: Vec<f32>,
    errors: Vec<f32>,
}

impl Estimates {
    fn push(&mut self, node: u32, score: f32, error: f32) {
        memory::push(&mut self.nodes, node, NODES);
        memory::push(&mut self.scores, score, NODES);
        memory::push(&mut self.errors, error, NODES);
    }

    /// Keeps the first `first`, and of those after them the ones of `nodes`.
    fn keep(&mut self, first: usize, nodes: &[Candidate]) {
        let after = first..self.nodes.len();
        let is_kept = |&place: &usize| nodes.iter().any(|node| node.node == self.nodes[place]);
        let kept: Vec<_> = after
            .filter(is_kept)
            .map(|place| (self.nodes[place], self.scores[place], self.errors[place]))
            .collect();
        self.nodes.truncate(first);
        self.scores.truncate(first);
        self.errors.truncate(first);
        kept.into_iter().for_each(|(node, score, error)| self.push(node, score, error));
    }

    fn get(&self, range: Range<usize>) -> (&[u32], &[f32], &[f32]) {
        (&self.nodes[range.clone()], &self.scores[range.clone()], &self.errors[range])
    }

    /// Bytes in memory.
    fn bytes(&self) -> usize {
        self.nodes.capacity() * (size_of::<u32>() + 2 * size_of::<f32>())
    }
}

/// A compact graph as one query sees it; distances are estimates.
///
/// Holds pins, so it must not outlive the callback in which it was made.
struct CompactGraph<'a> {
    view: GraphView<'a>,
    query: &'a NodeQuery,
    nodes: Option<&'a Bitset>,
    links: Links<'a>,
    layout: NodeCodes,
    codes: PartReader<'a>,
    /// Of earlier rounds, the first `before`; then of the matching nodes that this round has scored
    /// on the base layer.
    estimates: &'a mut Estimates,
    before: usize,
}

impl<'a> CompactGraph<'a> {
    fn new(view: GraphView<'a>, nodes: Option<&'a Bitset>, estimates: &'a mut Estimates) -> Self {
        let GraphView { sealed, space, parts, node_query, .. } = view;
        let codes = codes_of(sealed, parts);
        Self {
            view,
            query: node_query.expect("the query of a compact graph"),
            nodes,
            links: Links::new(sealed, parts),
            layout: NodeCodes::new(space),
            codes: sealed.part(codes, PageKind::NodeCodes),
            before: estimates.nodes.len(),
            estimates,
        }
    }
}

impl GraphReader for CompactGraph<'_> {
    fn nodes(&self) -> u32 {
        self.view.parts.nodes
    }

    fn upper_layers(&self) -> usize {
        self.view.parts.layers.len()
    }

    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        self.links.read(layer, node, neighbours);
    }

    fn announce(&mut self, node: u32) {
        self.links.announce(node);
    }

    fn score(&mut self, nodes: &[u32], scores: &mut Vec<f64>) {
        let sealed = self.view.sealed;
        let (layout, query, matching) = (self.layout, self.query, self.nodes);
        let estimates = &mut *self.estimates;
        self.codes.read_each_optimistically(nodes, layout.bytes(), |node, bytes| {
            let Some((score, error)) = layout.estimate(bytes, query, ()) else {
                sealed.corrupt(format!("The code of node {node} is invalid."))
            };
            scores.push(score.into());
            if matching.is_none_or(|matching| matching.has(node as usize)) {
                estimates.push(node, score, error);
            }
        });
    }

    fn entered(&mut self, nearest: &[Candidate]) {
        self.estimates.keep(self.before, nearest);
    }

    fn matches(&self, node: u32) -> bool {
        self.nodes.is_none_or(|matching| matching.has(node as usize))
    }

    fn poll(&mut self) {
        self.view.sealed.poll();
    }
}
