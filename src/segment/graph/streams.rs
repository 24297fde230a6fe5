//! The streams of an index's graphs: a walk through a graph, or a flat search.

use super::flat::FlatSearch;
use super::layout::NodeLayout;
use super::read::{SealedGraph, SlotQuery};
use super::view::GraphView;
use super::walk::Walk;
use crate::filter::Bitset;
use crate::graph::search::Search;
use crate::search::cost_model::{GraphCodes, GraphFacts, Range};
use crate::search::rerank::{IterativeScan, Work};
use crate::search::strategy::{self, GraphStrategy};
use crate::segment::graph::node_codes::NodeQuery;
use crate::segment::report::StepReport;
use crate::segment::request::{HeapRows, Hit, SearchLimits};
use crate::segment::rows::NodeRows;
use crate::segment::stream::{Run, SearchView, Stream};
use crate::storage::sealed::SealedRef;
use crate::structure::GraphOptions;
use std::collections::VecDeque;
use std::rc::Rc;

/// The runs of all segments that have matching rows.
pub fn runs(options: GraphOptions, view: SearchView, limits: SearchLimits) -> Vec<Run> {
    let meta = &view.snapshot.meta;
    let layout = NodeLayout::new(meta.space, options, meta.quantizer);
    let node_query = layout.node_query(meta.space, view.coded).map(Rc::new);
    let run = |(number, _)| {
        run(options, view, SegmentPlace { number, layout, node_query: node_query.clone() }, limits)
    };
    view.segments().filter_map(run).collect()
}

/// How the segment with this number is searched; `None` if no row of it matches.
fn run(options: GraphOptions, view: SearchView, place: SegmentPlace, limits: SearchLimits) -> Option<Run> {
    let SearchLimits { effort, within, leave_out } = limits;
    let (sealed, matching) = (view.sealed(place.number), view.matching[place.number].as_ref());
    let facts = GraphFacts {
        space: view.snapshot.meta.space,
        options,
        codes: place.layout.into(),
        rows: sealed.rows as usize,
        matches: matching.map(|matching| matching.count()),
        range: within.map(|_| Range::InOrder),
    };
    let mut report = StepReport::new(Some(sealed.id), "graph", "graph");
    (report.rows, report.matches) = (facts.rows as u64, facts.matches.map(|matches| matches as u64));
    match strategy::choose(facts, effort.ef) {
        GraphStrategy::Nothing => None,
        GraphStrategy::Flat => {
            report.step = "flat";
            report.expect(facts.flat_cost());
            let search = FlatSearch::new(within, effort.iterative_scan);
            Some(Run::new(FlatStream { place, search }, report))
        }
        GraphStrategy::Graph { ef, budget } => {
            report.effort = Some(ef as u64);
            report.expect(facts.graph_cost(ef));
            let nodes = matching.map(|matching| nodes_of(sealed, matching));
            let leave_out = leave_out.filter(|&(id, _)| id == sealed.id).map(|(_, node)| node);
            let search = Search::new(ef, budget).leave_out(leave_out);
            // Where there are codes, a flat search finds the rest of the rows within the score.
            let until = within.filter(|_| facts.codes != GraphCodes::None);
            let walk = match facts.codes {
                GraphCodes::Own { .. } => {
                    WalkState::Compact(Box::new(Walk::new(search, nodes, until, effort.iterative_scan)))
                }
                GraphCodes::None | GraphCodes::Neighbours => {
                    WalkState::Wide { search: Box::new(search.within(until)), nodes }
                }
            };
            let flat = FlatSearch::new(within, effort.iterative_scan);
            Some(Run::new(
                GraphStream { place, walk, flat: Some(flat), iterative_scan: effort.iterative_scan },
                report,
            ))
        }
    }
}

/// The nodes of some rows.
fn nodes_of(sealed: SealedRef, rows: &Rc<Bitset>) -> Rc<Bitset> {
    let parts = sealed.graph();
    if parts.nodes == sealed.rows {
        return rows.clone();
    }
    let mut nodes = Bitset::clone(rows);
    let mut node_rows = NodeRows::new(sealed, parts);
    for row in rows.iter_from(parts.nodes) {
        let node = node_rows.node(row);
        if node >= parts.nodes {
            sealed.corrupt(format!("There is no node {node}."));
        }
        nodes.insert(node as usize);
    }
    Rc::new(nodes)
}

/// The segment of a stream, and what reading it takes.
#[derive(Clone)]
struct SegmentPlace {
    /// The segment's number in the manifest.
    number: usize,
    layout: NodeLayout,
    node_query: Option<Rc<NodeQuery>>,
}

impl SegmentPlace {
    fn view<'a>(&'a self, view: SearchView<'a>) -> GraphView<'a> {
        let SearchView { snapshot, query, coded, .. } = view;
        let sealed = view.sealed(self.number);
        GraphView {
            sealed,
            space: snapshot.meta.space,
            layout: self.layout,
            parts: sealed.graph(),
            query,
            coded,
            node_query: self.node_query.as_deref(),
            matching: view.matching(self.number),
        }
    }
}

/// The rows of one segment, through its graph.
struct GraphStream {
    place: SegmentPlace,
    walk: WalkState,
    /// Goes on where the walk gives up.
    flat: Option<FlatSearch>,
    iterative_scan: IterativeScan,
}

enum WalkState {
    Compact(Box<Walk>),
    /// Of a wide or plain graph; with the matching nodes, `None` for all.
    Wide {
        search: Box<Search>,
        nodes: Option<Rc<Bitset>>,
    },
}

impl Stream for GraphStream {
    fn advance(&mut self, view: SearchView, heap: &mut HeapRows, ready: &mut VecDeque<Hit>) {
        let graph = self.place.view(view);
        match &mut self.walk {
            WalkState::Compact(walk) => ready.extend(walk.next(graph, heap)),
            WalkState::Wide { search, nodes } => {
                advance_wide(graph, search, nodes.as_deref(), self.iterative_scan, ready);
            }
        }
    }

    fn has_tie(&self, score: f64) -> bool {
        match &self.walk {
            WalkState::Compact(walk) => walk.has_tie(score),
            WalkState::Wide { search, .. } => search.has_tie(score),
        }
    }

    fn work(&self) -> Work {
        match &self.walk {
            WalkState::Compact(walk) => walk.work(),
            WalkState::Wide { search, .. } => search.work(),
        }
    }

    fn bytes(&self) -> usize {
        match &self.walk {
            WalkState::Compact(walk) => walk.bytes(),
            WalkState::Wide { search, .. } => search.bytes(),
        }
    }

    fn successor(&mut self, view: SearchView) -> Option<(&'static str, Box<dyn Stream>)> {
        let returned = match &mut self.walk {
            WalkState::Compact(walk) if walk.has_given_up() => walk.returned_rows(),
            WalkState::Wide { search, .. } if search.has_given_up() => {
                let mut rows = self.place.view(view).rows();
                let (nodes, score) = search.returned_nodes();
                let mut returned = Vec::with_capacity(nodes.len());
                nodes.into_iter().for_each(|node| rows.for_each_live(node, |row, _| returned.push(row)));
                (returned, score)
            }
            WalkState::Compact(_) | WalkState::Wide { .. } => return None,
        };
        let search = self.flat.take()?.after(returned);
        Some(("flat", Box::new(FlatStream { place: self.place.clone(), search })))
    }
}

/// Finds the next rows by a walk through a wide or plain graph.
fn advance_wide(
    view: GraphView,
    search: &mut Search,
    nodes: Option<&Bitset>,
    iterative_scan: IterativeScan,
    ready: &mut VecDeque<Hit>,
) {
    let codes = match (view.coded, view.layout) {
        (Some(coded), NodeLayout::Wide { base, upper }) => {
            Some(SlotQuery { query: &coded.tables, base, upper })
        }
        (_, NodeLayout::Plain | NodeLayout::Wide { .. } | NodeLayout::Compact { .. }) => None,
    };
    let before = ready.len();
    while ready.len() == before {
        let mut graph = SealedGraph::new(view.sealed, view.parts, view.query, codes, nodes);
        let Some(nearest) = search.next(&mut graph, iterative_scan) else { break };
        view.rows().for_each_live(nearest.node, |row, tid| {
            if view.matches(row) {
                ready.push_back(Hit { score: nearest.score, tid });
            }
        });
    }
}

/// The rows of one segment, by a flat search.
struct FlatStream {
    place: SegmentPlace,
    search: FlatSearch,
}

impl Stream for FlatStream {
    fn advance(&mut self, view: SearchView, heap: &mut HeapRows, ready: &mut VecDeque<Hit>) {
        ready.extend(self.search.next(self.place.view(view), heap));
    }

    fn has_tie(&self, score: f64) -> bool {
        self.search.has_tie(score)
    }

    fn work(&self) -> Work {
        self.search.work()
    }

    fn bytes(&self) -> usize {
        self.search.bytes()
    }
}
