//! One search over all segments of an index: a merge of their streams.

use super::graph::compact::NodeQuery;
use super::graph::flat::FlatSearch;
use super::graph::read::{Codes, SealedGraph};
use super::graph::source::Source;
use super::graph::walk::Walk;
use super::growing::search::{self as growing_rows, GrowingSearch};
use super::lists::search::{self as lists, ListSearch};
use super::matching;
use super::passes::{Passes, Returned};
use super::report::{self, Report, StepReport};
use super::request::{Effort, HeapRows, Hit, Request, Terms};
use super::rows::NodeRows;
use crate::codec::encoder::CodedQuery;
use crate::distance::{PreparedQuery, Space};
use crate::filter::{Bitset, Condition};
use crate::graph::search::{Onward, Search, Work};
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::search::cost_model;
use crate::search::cost_model::{GraphCodes, Range};
use crate::search::strategy::{self, GraphStrategy, ListStrategy};
use crate::segment::graph::layout::NodeLayout;
use crate::storage::manifest::Sealed;
use crate::storage::meta::{Growing, Meta};
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::{GraphOptions, Quantizer, Structure};
use pgrx::PgSqlErrorCode;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

/// Rows of one or more segments in ascending order of score.
enum Stream {
    Growing(GrowingSearch),
    /// The segment's number in the manifest, the search of its graph, the nodes that are wanted if
    /// not all are.
    Graph {
        index: usize,
        search: Search,
        nodes: Option<Rc<Bitset>>,
    },
    /// The same of a compact graph.
    Compact {
        index: usize,
        search: Box<Walk>,
    },
    /// A segment with a graph that is not made use of.
    Flat {
        index: usize,
        search: FlatSearch,
    },
    /// All segments with lists.
    Lists(Box<ListSearch>),
}

impl Stream {
    /// Bytes in memory.
    fn bytes(&self) -> usize {
        match self {
            Stream::Growing(search) => search.bytes(),
            Stream::Graph { search, .. } => search.bytes(),
            Stream::Compact { search, .. } => search.bytes(),
            Stream::Flat { search, .. } => search.bytes(),
            Stream::Lists(search) => search.bytes(),
        }
    }

    fn work(&self) -> Work {
        match self {
            Stream::Growing(search) => search.work(),
            Stream::Graph { search, .. } => search.work(),
            Stream::Compact { search, .. } => search.work(),
            Stream::Flat { search, .. } => search.work(),
            Stream::Lists(search) => search.work(),
        }
    }

    /// Whether the next row is known to have this score, too.
    fn has_tie(&self, score: f64) -> bool {
        match self {
            Stream::Growing(search) => search.has_tie(score),
            Stream::Graph { search, .. } => search.has_tie(score),
            Stream::Compact { search, .. } => search.has_tie(score),
            Stream::Flat { search, .. } => search.has_tie(score),
            Stream::Lists(search) => search.has_tie(score),
        }
    }
}

/// A stream, and what became of it.
struct Run {
    stream: Stream,
    /// Rows that were found and are not among the heads.
    ready: VecDeque<Hit>,
    report: StepReport,
}

impl Run {
    fn new(stream: Stream, report: StepReport) -> Self {
        Self { stream, ready: VecDeque::new(), report }
    }
}

/// A search under way. Between two calls it holds neither pins nor locks.
pub struct IndexSearch {
    index: u32,
    snapshot: Snapshot,
    query: PreparedQuery,
    /// The query as codes see it, if the index has any.
    coded: Option<CodedQuery>,
    /// The query as the codes of compact graphs' nodes see it, if the index has any.
    node_query: Option<NodeQuery>,
    /// For each sealed segment the rows that may meet the conditions, if there are any.
    wanted: Vec<Option<Rc<Bitset>>>,
    terms: Terms,
    returned: u64,
    runs: Vec<Run>,
    /// Of walks that were given up.
    ended: Vec<StepReport>,
    /// The next hit of each stream that has one, with the stream's number.
    heads: BinaryHeap<Reverse<(Hit, usize)>>,
    /// The stream whose head was returned last, if it has none yet.
    taken: Option<usize>,
    started: bool,
    conditions: Vec<Condition>,
    /// What was returned last.
    last: Returned,
    /// Goes on in place of the streams once these have taken too much memory.
    passes: Option<Box<Passes>>,
}

impl IndexSearch {
    /// Scans the growing segments and prepares the search of the sealed ones.
    pub fn new(relation: Relation, snapshot: Snapshot, request: Request) -> Self {
        let Request { query, conditions: all_conditions, terms } = request;
        let conditions = &all_conditions[..];
        let meta = &snapshot.meta;
        let coded = super::coded_query(meta, &query);
        let node_query = NodeLayout::node_query(meta, coded.as_ref());
        let mut runs = Vec::new();
        for (segment, structure) in with_states(&snapshot) {
            let source = growing_rows::Source { relation, meta, query: &query, coded: coded.as_ref() };
            let mut report = StepReport::new(Some(segment.segment), structure, "scan");
            let (within, onward) = (terms.within, terms.effort.onward);
            let search = report.observe(|| GrowingSearch::new(source, segment, conditions, within, onward));
            report.rows = search.rows() as u64;
            report.expect(cost_model::growing_cost(report.rows as f64, meta.quantizer != Quantizer::None));
            runs.push(Run::new(Stream::Growing(search), report));
        }
        let sealed = &snapshot.manifest.sealed;
        let wanted = |segment| matching::matching(relation, meta, segment, conditions);
        let wanted: Vec<_> = sealed.iter().map(wanted).collect();
        if let Structure::Graph(options) = meta.structure {
            for (index, (segment, wanted)) in sealed.iter().zip(&wanted).enumerate() {
                runs.extend(graph_run(relation, meta, options, (index, segment), wanted.as_ref(), terms));
            }
        }
        if let (Structure::Lists(_), Some(coded)) = (meta.structure, &coded) {
            runs.extend(list_run(relation, &snapshot, coded, &wanted, terms));
        }
        Self {
            index: relation.oid().to_u32(),
            snapshot,
            query,
            coded,
            node_query,
            wanted,
            terms,
            returned: 0,
            runs,
            ended: Vec::new(),
            heads: BinaryHeap::new(),
            taken: None,
            started: false,
            conditions: all_conditions,
            last: Returned::default(),
            passes: None,
        }
    }

    pub fn space(&self) -> Space {
        self.snapshot.meta.space
    }

    /// The next nearest row.
    pub fn next(&mut self, relation: Relation, heap: &mut HeapRows) -> Option<Hit> {
        if self.returned >= self.terms.effort.rows {
            pgrx::debug1!("vdb: a scan ends after {} rows, as vdb.max_scan_tuples says", self.returned);
            return None;
        }
        if let Some(passes) = &mut self.passes {
            let hit = passes.next(relation, heap)?;
            self.returned += 1;
            return Some(hit);
        }
        if !self.started {
            self.started = true;
            for number in 0..self.runs.len() {
                self.pull(relation, heap, number);
            }
        }
        // Not before somebody asks: what comes next may be beyond what a stream has at hand.
        if let Some(number) = self.taken.take() {
            self.pull(relation, heap, number);
        }
        let Reverse((hit, number)) = self.heads.pop()?;
        if self.terms.within.is_some_and(|within| hit.score > within) {
            return None;
        }
        if self.bytes() > self.terms.effort.bytes {
            self.save_memory(relation);
            return self.next(relation, heap);
        }
        self.returned += 1;
        self.last.note(hit);
        self.runs[number].report.returned += 1;
        self.taken = Some(number);
        Some(hit)
    }

    /// Bytes in memory.
    fn bytes(&self) -> usize {
        let of_run = |run: &Run| run.stream.bytes() + run.ready.capacity() * size_of::<Hit>();
        self.last.bytes() + self.runs.iter().map(of_run).sum::<usize>()
    }

    /// Drops the streams and goes on in passes. Only strict order tells which rows are left.
    fn save_memory(&mut self, relation: Relation) {
        let Effort { onward, bytes, .. } = self.terms.effort;
        if onward != Onward::Strict {
            let (name, needed) = (relation.name(), self.bytes() >> 10);
            Problem::new(
                PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                format!("a search of index \"{name}\" needs more memory than vdb.scan_mem allows"),
            )
            .detail(format!(
                "{needed} kB after {} rows, and vdb.scan_mem is {} kB.",
                self.returned,
                bytes >> 10
            ))
            .hint("Increase vdb.scan_mem, or set vdb.iterative_scan to strict, which takes less.")
            .raise();
        }
        pgrx::debug1!("vdb: a scan goes on in passes after {} rows, as vdb.scan_mem says", self.returned);
        self.ended.extend(self.runs.drain(..).map(|Run { stream, report, .. }| {
            let work = stream.work();
            StepReport { work, ..report }
        }));
        self.heads.clear();
        self.taken = None;
        let (snapshot, query, conditions) =
            (self.snapshot.clone(), self.query.clone(), self.conditions.clone());
        let passes = Passes::after(
            std::mem::take(&mut self.last),
            snapshot,
            query,
            conditions,
            self.terms.within,
            bytes,
        );
        self.passes = Some(Box::new(passes));
    }

    /// Brings a stream's next hit among the heads. Of rows with equal scores, as far as they are
    /// known, the one with the least TID comes first.
    fn pull(&mut self, relation: Relation, heap: &mut HeapRows, number: usize) {
        if self.runs[number].ready.is_empty() {
            self.advance(relation, heap, number);
            while let Run { stream, ready, .. } = &self.runs[number]
                && let Some(score) = ready.back().map(|hit| hit.score)
                && stream.has_tie(score)
            {
                self.advance(relation, heap, number);
            }
            self.runs[number].ready.make_contiguous().sort_unstable();
        }
        let hit = self.runs[number].ready.pop_front();
        self.heads.extend(hit.map(|hit| Reverse((hit, number))));
    }

    /// Finds a stream's next row, or the next few.
    fn advance(&mut self, relation: Relation, heap: &mut HeapRows, number: usize) {
        let Self { snapshot, query, coded, node_query, wanted, .. } = self;
        let Run { stream, ready, report } = &mut self.runs[number];
        let (meta, coded, node_query) = (&*snapshot.meta, coded.as_ref(), node_query.as_ref());
        let source_of = |index: usize| {
            let sealed = SealedRef::new(&relation, &snapshot.manifest.sealed[index]);
            let wanted = wanted[index].as_deref();
            Source { sealed, meta, parts: sealed.graph(), query, coded, node_query, wanted }
        };
        report.observe(|| match stream {
            Stream::Growing(search) => {
                ready.extend(search.next(growing_rows::Source { relation, meta, query, coded }));
            }
            Stream::Lists(search) => {
                let coded = coded.expect("an index with lists has it");
                ready.extend(
                    search.next(lists::Source { pages: &relation, snapshot, query, coded, wanted }, heap),
                );
            }
            Stream::Flat { index, search } => ready.extend(search.next(source_of(*index), heap)),
            Stream::Compact { index, search } => ready.extend(search.next(source_of(*index), heap)),
            Stream::Graph { index, search, nodes } => {
                let sealed = SealedRef::new(&relation, &snapshot.manifest.sealed[*index]);
                let parts = sealed.graph();
                let codes = match (coded, NodeLayout::of(meta)) {
                    (Some(coded), NodeLayout::Wide { base, upper }) => {
                        Some(Codes { query: &coded.tables, base, upper })
                    }
                    _ => None,
                };
                let before = ready.len();
                while ready.len() == before {
                    let mut graph = SealedGraph::new(sealed, parts, query, codes, nodes.as_deref());
                    let Some(nearest) = search.next(&mut graph, self.terms.effort.onward) else { break };
                    let wanted = wanted[*index].as_ref();
                    NodeRows::new(sealed, parts).for_each_live(nearest.node, |row, tid| {
                        if wanted.is_none_or(|wanted| wanted.has(row as usize)) {
                            ready.push_back(Hit { score: nearest.score, tid });
                        }
                    });
                }
            }
        });
        if !ready.is_empty() {
            return;
        }
        let given_up = match stream {
            Stream::Graph { index, search, .. } if search.has_given_up() => {
                let sealed = SealedRef::new(&relation, &snapshot.manifest.sealed[*index]);
                let mut rows = NodeRows::new(sealed, sealed.graph());
                let (nodes, score) = search.given();
                let mut given = Vec::with_capacity(nodes.len());
                nodes.into_iter().for_each(|node| rows.for_each_live(node, |row, _| given.push(row)));
                Some((*index, (given, score)))
            }
            Stream::Compact { index, search } if search.has_given_up() => Some((*index, search.given())),
            _ => None,
        };
        if let Some((index, given)) = given_up {
            let flat = FlatSearch::new(self.terms.within, self.terms.effort.onward).after(given);
            let next = StepReport { step: "flat", ..report.begin_anew() };
            let walk = std::mem::replace(report, next);
            self.ended.push(StepReport { work: stream.work(), ..walk });
            *stream = Stream::Flat { index, search: flat };
            self.advance(relation, heap, number);
        }
    }
}

/// Growing segments, and what they are called.
fn with_states(snapshot: &Snapshot) -> impl Iterator<Item = (&Growing, &'static str)> {
    let flushing = snapshot.manifest.flushing.iter().map(|segment| (segment, "flushing"));
    flushing.chain([(&snapshot.meta.growing, "growing")])
}

impl IndexSearch {
    /// What it has done so far.
    pub fn steps(&self) -> impl Iterator<Item = StepReport> {
        let runs = self.runs.iter().map(|Run { stream, report, .. }| {
            let work = stream.work();
            StepReport { work, ..report.clone() }
        });
        let passes = self.passes.iter().flat_map(|passes| passes.steps());
        self.ended.iter().cloned().chain(runs).chain(passes)
    }
}

impl Drop for IndexSearch {
    fn drop(&mut self) {
        // A search that nobody has asked for a row has done nothing.
        if self.started {
            let steps = self.steps().collect();
            let (index, generation) = (self.index, self.snapshot.meta.generation);
            report::remember(Report { index, generation, steps });
        }
    }
}

/// How one of the segments with graphs is searched, if it has rows that are wanted.
fn graph_run(
    relation: Relation,
    meta: &Meta,
    options: GraphOptions,
    (index, segment): (usize, &Sealed),
    wanted: Option<&Rc<Bitset>>,
    Terms { effort, within, without }: Terms,
) -> Option<Run> {
    let sealed = SealedRef::new(&relation, segment);
    let facts = cost_model::GraphFacts {
        space: meta.space,
        options,
        codes: NodeLayout::of(meta).into(),
        rows: segment.rows as usize,
        matches: wanted.map(|wanted| wanted.count()),
        range: within.map(|_| Range::InOrder),
    };
    let mut report = StepReport::new(Some(segment.id), "graph", "graph");
    (report.rows, report.matches) = (facts.rows as u64, facts.matches.map(|matches| matches as u64));
    let stream = match strategy::choose(facts, effort.ef) {
        GraphStrategy::Nothing => return None,
        GraphStrategy::Flat => {
            report.step = "flat";
            report.expect(facts.flat_cost());
            Stream::Flat { index, search: FlatSearch::new(within, effort.onward) }
        }
        GraphStrategy::Graph { ef, budget } => {
            report.effort = Some(ef as u64);
            report.expect(facts.graph_cost(ef));
            let nodes = wanted.map(|wanted| nodes_of(sealed, wanted));
            let without = without.filter(|&(id, _)| id == segment.id).map(|(_, node)| node);
            // Past the graph codes tell what else there is.
            let within = within.filter(|_| facts.codes != GraphCodes::None);
            let search = Search::new(ef, budget).without(without);
            match facts.codes {
                GraphCodes::Own { .. } => {
                    let search = Box::new(Walk::new(search, nodes, within, effort.onward));
                    Stream::Compact { index, search }
                }
                GraphCodes::None | GraphCodes::Neighbours => {
                    Stream::Graph { index, search: search.within(within), nodes }
                }
            }
        }
    };
    Some(Run::new(stream, report))
}

/// The nodes that some rows have.
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

/// The search of all segments with lists, if they have rows that are wanted.
fn list_run(
    relation: Relation,
    snapshot: &Snapshot,
    coded: &CodedQuery,
    wanted: &[Option<Rc<Bitset>>],
    terms: Terms,
) -> Option<Run> {
    let is_filtered = wanted.iter().any(Option::is_some);
    let of_segment = |(segment, wanted): (&Sealed, &Option<Rc<Bitset>>)| {
        wanted.as_ref().map_or(segment.rows as usize, |wanted| wanted.count())
    };
    let matches = || snapshot.manifest.sealed.iter().zip(wanted).map(of_segment).sum();
    let facts = super::lists::facts(snapshot, is_filtered.then(matches));
    let probes = terms.effort.probes;
    let step = facts.choose(probes);
    let name = match step {
        ListStrategy::Nothing => return None,
        ListStrategy::Flat => "flat",
        ListStrategy::Lists(_) => "lists",
    };
    let mut report = StepReport::new(None, "lists", name);
    (report.rows, report.matches) = (facts.rows as u64, facts.matches.map(|matches| matches as u64));
    if let ListStrategy::Lists(probing) = step {
        report.effort = Some(probing.probes as u64);
    }
    report.expect(facts.cost(probes).begin);
    let search = report.observe(|| ListSearch::new(&relation, snapshot, coded, (facts, step), terms));
    Some(Run::new(Stream::Lists(Box::new(search)), report))
}
