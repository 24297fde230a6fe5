//! Search of a segment with a compact graph: codes lead the way, and their bounds decide which rows are compared.

use super::compact::{NodeCodes, NodeQuery};
use super::links::Links;
use super::source::Source;
use super::stored::codes_of;
use crate::codec::fastscan::BLOCK;
use crate::filter::Bitset;
use crate::graph::Candidate;
use crate::graph::search::{GraphReader, Search};
use crate::rerank::{Onward, Reranker, Step, Work};
use crate::segment::corrupt;
use crate::segment::search::{HeapRows, Hit};
use crate::storage::page::Kind;
use crate::storage::part::PartReader;
use std::rc::Rc;

/// The state of a search between two calls. It holds no pins.
pub struct Walk {
    search: Search,
    /// The nodes that are wanted, if not all are.
    nodes: Option<Rc<Bitset>>,
    /// Nodes by their codes, rows by their vectors; a node's number is that of its first row.
    rows: Reranker<u32>,
    /// All nodes that were offered, 32 at a time, and the limits under which they were (see [`Reranker::offer`]).
    offered: Vec<Estimates>,
    limits: Vec<f32>,
    onward: Onward,
    within: Option<f64>,
    /// Rows that may be returned before the search goes on.
    left: usize,
    started: bool,
    /// There are no further candidates.
    is_exhausted: bool,
    has_given_up: bool,
    /// Every row returned, and the greatest score of them.
    given: Vec<u32>,
    last: f64,
}

impl Walk {
    /// A search as `search` says, `within` a score if one is given: at rows beyond it, or after the first ones, it gives
    /// up.
    pub fn new(search: Search, nodes: Option<Rc<Bitset>>, within: Option<f64>, onward: Onward) -> Self {
        Self {
            search,
            nodes,
            rows: Reranker::new(None, onward),
            offered: Vec::new(),
            limits: Vec::new(),
            onward,
            within,
            left: 0,
            started: false,
            is_exhausted: false,
            has_given_up: false,
            given: Vec::new(),
            last: f64::NEG_INFINITY,
        }
    }

    /// Whether it has given up before the next result.
    pub fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// Every row that was returned, and the greatest score of them.
    pub fn given(&mut self) -> (Vec<u32>, f64) {
        (std::mem::take(&mut self.given), self.last)
    }

    pub fn work(&self) -> Work {
        Work { estimated: self.search.work().compared, ..self.rows.work() }
    }

    /// Whether the next row is known to have this score, too.
    pub fn has_tie(&self, score: f64) -> bool {
        self.left > 0 && self.rows.has_tie(score)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let offered = self.offered.capacity() * size_of::<Estimates>();
        self.search.bytes() + self.rows.bytes() + offered
    }

    /// The next nearest row; `None` when every row was returned, or when the search gives up, or would have to go on and
    /// is not to.
    pub fn next(&mut self, source: Source, heap: &mut HeapRows) -> Option<Hit> {
        loop {
            if self.has_given_up || self.left == 0 && !self.go_on(source) {
                return None;
            }
            match self.rows.step() {
                Step::Next(row, score) => {
                    if self.within.is_some_and(|within| score > within) {
                        self.has_given_up = true;
                        return None;
                    }
                    if let Some(tid) = source.rows().live_tid(row) {
                        self.left -= 1;
                        self.given.push(row);
                        self.last = self.last.max(score);
                        return Some(Hit { score, tid });
                    }
                }
                Step::Compare(nodes) => self.compare(source, heap, &nodes),
                Step::Recall => {
                    for (offered, limit) in self.offered.iter().zip(&mut self.limits) {
                        let node = |place| Some(offered.nodes[place]);
                        *limit = self.rows.recall(offered.scores(), offered.errors(), *limit, node);
                    }
                }
                Step::Empty if self.is_exhausted => return None,
                Step::Empty => self.left = 0,
            }
        }
    }

    /// Makes candidates of the nodes that the graph leads to next; `false` if there are none, or if it is not to go on.
    fn go_on(&mut self, source: Source) -> bool {
        if self.started && self.onward == Onward::Stop {
            return false;
        }
        if self.started && self.within.is_some() {
            self.has_given_up = true;
            return false;
        }
        self.started = true;
        let nodes = self.nodes.clone();
        let mut graph = CompactGraph::new(source, nodes.as_deref());
        if !self.search.round(&mut graph) {
            self.has_given_up = self.search.has_given_up();
            self.is_exhausted = true;
            self.left = usize::MAX;
            return !self.has_given_up;
        }
        let is_wanted = |&&Estimate { node, .. }: &&Estimate| graph.is_wanted(node);
        let mut wanted = graph.estimates.iter().filter(is_wanted).peekable();
        while wanted.peek().is_some() {
            let offered = Estimates::of(wanted.by_ref().take(BLOCK));
            let node = |place| Some(offered.nodes[place]);
            self.limits.push(self.rows.offer(offered.scores(), offered.errors(), u32::MAX, node));
            self.offered.push(offered);
        }
        self.left = self.search.ef();
        true
    }

    /// Compares the rows of some nodes exactly.
    fn compare(&mut self, source: Source, heap: &mut HeapRows, nodes: &[u32]) {
        let mut node_rows = source.rows();
        let mut rows = Vec::with_capacity(nodes.len());
        for &node in nodes {
            node_rows.for_each_live(node, |row, _| {
                if source.is_wanted(row) {
                    rows.push((row, node));
                }
            });
        }
        source.compare(heap, &rows, |row, score| self.rows.compared(row, score));
    }
}

/// A node's score as its code tells, and how far it may be off.
#[derive(Clone, Copy)]
struct Estimate {
    node: u32,
    score: f32,
    error: f32,
}

/// At most 32 estimates.
struct Estimates {
    nodes: [u32; BLOCK],
    scores: [f32; BLOCK],
    errors: [f32; BLOCK],
    count: usize,
}

impl Estimates {
    fn of<'a>(estimates: impl Iterator<Item = &'a Estimate>) -> Self {
        let mut all = Self { nodes: [0; BLOCK], scores: [0.0; BLOCK], errors: [0.0; BLOCK], count: 0 };
        for &Estimate { node, score, error } in estimates {
            (all.nodes[all.count], all.scores[all.count], all.errors[all.count]) = (node, score, error);
            all.count += 1;
        }
        all
    }

    fn scores(&self) -> &[f32] {
        &self.scores[..self.count]
    }

    fn errors(&self) -> &[f32] {
        &self.errors[..self.count]
    }
}

/// A compact graph as one query sees it; distances are estimates.
///
/// Holds pins, so it must not outlive the callback in which it was made.
struct CompactGraph<'a> {
    source: Source<'a>,
    query: &'a NodeQuery,
    nodes: Option<&'a Bitset>,
    links: Links<'a>,
    layout: NodeCodes,
    codes: PartReader<'a>,
    /// Of all nodes on the base layer that the search has asked for.
    estimates: Vec<Estimate>,
}

impl<'a> CompactGraph<'a> {
    fn new(source: Source<'a>, nodes: Option<&'a Bitset>) -> Self {
        let Source { relation, meta, segment, parts, node_query, .. } = source;
        let codes = codes_of(relation, segment, parts);
        Self {
            source,
            query: node_query.expect("the query of a compact graph"),
            nodes,
            links: Links::new(relation, segment, parts),
            layout: NodeCodes::new(meta.space),
            codes: PartReader::new(relation, codes, Kind::NodeCodes, segment.id),
            estimates: Vec::new(),
        }
    }
}

impl GraphReader for CompactGraph<'_> {
    fn nodes(&self) -> u32 {
        self.source.parts.nodes
    }

    fn upper_layers(&self) -> usize {
        self.source.parts.layers.len()
    }

    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        self.links.read(layer, node, neighbours);
    }

    fn announce(&mut self, node: u32) {
        self.links.announce(node);
    }

    fn score(&mut self, nodes: &[u32], scores: &mut Vec<f64>) {
        let Source { relation, segment, .. } = self.source;
        let (layout, query, estimates) = (self.layout, self.query, &mut self.estimates);
        self.codes.glance_at_each(nodes, layout.bytes(), |node, bytes| {
            let Some((score, error)) = layout.estimate(bytes, query) else {
                corrupt(relation, segment, format!("The code of node {node} makes no sense."))
            };
            scores.push(score.into());
            estimates.push(Estimate { node, score, error });
        });
    }

    fn entered(&mut self, nearest: Candidate) {
        let entry = self.estimates.iter().find(|estimate| estimate.node == nearest.node).copied();
        self.estimates.clear();
        self.estimates.extend(entry);
    }

    fn is_wanted(&self, node: u32) -> bool {
        self.nodes.is_none_or(|wanted| wanted.has(node as usize))
    }

    fn poll(&mut self) {
        pgrx::check_for_interrupts!();
    }
}
