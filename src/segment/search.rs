//! One search over all segments of an index: a merge of their streams.

use super::encoder::CodedQuery;
use super::graph::read::{Codes, SealedGraph};
use super::graph::stored::slots_of;
use super::growing::search::GrowingSearch;
use super::lists::search::{ListSearch, Source};
use super::rows::{NodeRows, SealedRows};
use super::{Tid, corrupt, growing};
use crate::distance::{PreparedQuery, Space};
use crate::graph::search::Search;
use crate::pg::relation::Relation;
use crate::storage::manifest::{Parts, Snapshot};
use crate::storage::meta::{Quantizer, Structure};
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

/// A row's exact score and its heap tuple.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub score: f64,
    pub tid: Tid,
}

/// Fetches a row's bytes from the table: calls the visitor if the scan's snapshot sees the row.
pub type HeapRows<'a> = dyn FnMut(Tid, &mut dyn FnMut(&[u8])) + 'a;

/// How hard a search tries before it returns its first row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Candidates of a graph.
    pub ef: usize,
    /// Lists probed.
    pub probes: usize,
}

impl Eq for Hit {}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(self.tid.cmp(&other.tid))
    }
}

/// Rows of one or more segments in ascending order of score.
enum Stream {
    Growing(GrowingSearch),
    /// The segment's number in the manifest, the search of its graph, rows of the node found last.
    Graph {
        index: usize,
        search: Search,
        ready: VecDeque<Hit>,
    },
    /// All segments with lists.
    Lists(Box<ListSearch>),
}

/// A search under way. Between two calls it holds neither pins nor locks.
pub struct IndexSearch {
    snapshot: Snapshot,
    query: PreparedQuery,
    /// The query as codes see it, if the index has any.
    coded: Option<CodedQuery>,
    streams: Vec<Stream>,
    /// The next hit of each stream that has one, with the stream's number.
    heads: BinaryHeap<Reverse<(Hit, usize)>>,
    started: bool,
}

impl IndexSearch {
    /// Scans the growing segments and prepares the search of the sealed ones.
    pub fn new(relation: Relation, snapshot: Snapshot, query: PreparedQuery, effort: Effort) -> Self {
        let meta = &snapshot.meta;
        let coded = match (meta.structure, meta.quantizer) {
            (Structure::Graph(_), Quantizer::None) => None,
            // Lists are found by their centroids' codes.
            _ => Some(CodedQuery::new(meta.space, meta.seed, query.row())),
        };
        let growing = snapshot.manifest.flushing.iter().chain([&meta.growing]);
        let mut streams: Vec<Stream> = growing
            .map(|segment| {
                Stream::Growing(GrowingSearch::new(relation, meta, segment, &query, coded.as_ref()))
            })
            .collect();
        for (index, segment) in snapshot.manifest.sealed.iter().enumerate() {
            if let Parts::Graph(_) = segment.parts {
                let search = Search::new(effort.ef);
                streams.push(Stream::Graph { index, search, ready: VecDeque::new() });
            }
        }
        if let (Structure::Lists(_), Some(coded)) = (meta.structure, &coded) {
            let search = ListSearch::new(relation, &snapshot, coded, effort.probes);
            streams.push(Stream::Lists(Box::new(search)));
        }
        Self { snapshot, query, coded, streams, heads: BinaryHeap::new(), started: false }
    }

    pub fn space(&self) -> Space {
        self.snapshot.meta.space
    }

    /// The heap tuple of the next nearest row.
    pub fn next(&mut self, relation: Relation, heap: &mut HeapRows) -> Option<Tid> {
        if !self.started {
            self.started = true;
            for stream in 0..self.streams.len() {
                self.pull(relation, heap, stream);
            }
        }
        let Reverse((hit, stream)) = self.heads.pop()?;
        self.pull(relation, heap, stream);
        Some(hit.tid)
    }

    /// Brings a stream's next hit among the heads.
    fn pull(&mut self, relation: Relation, heap: &mut HeapRows, stream: usize) {
        let hit = match &mut self.streams[stream] {
            Stream::Growing(search) => {
                search.next(relation, &self.snapshot.meta, &self.query, self.coded.as_ref())
            }
            Stream::Lists(search) => {
                let coded = self.coded.as_ref().expect("an index with lists has it");
                search.next(Source { relation, snapshot: &self.snapshot, query: &self.query, coded }, heap)
            }
            Stream::Graph { index, search, ready } => {
                let segment = &self.snapshot.manifest.sealed[*index];
                let (Parts::Graph(parts), Structure::Graph(_)) =
                    (&segment.parts, self.snapshot.meta.structure)
                else {
                    corrupt(relation, segment, "It has a graph, but the index has lists.".into())
                };
                while ready.is_empty() {
                    let slots = self.coded.as_ref().zip(slots_of(&self.snapshot.meta));
                    let codes =
                        slots.map(|(coded, (base, upper))| Codes { query: &coded.tables, base, upper });
                    let mut graph = SealedGraph::new(relation, segment, parts, &self.query, codes);
                    let Some(nearest) = search.next(&mut graph) else { break };
                    let mut tids = Vec::new();
                    NodeRows::new(relation, segment, parts).live_tids(nearest.node, &mut tids);
                    ready.extend(tids.into_iter().map(|tid| Hit { score: nearest.score, tid }));
                }
                ready.pop_front()
            }
        };
        self.heads.extend(hit.map(|hit| Reverse((hit, stream))));
    }
}

/// All rows in no particular order: what a search without a query vector yields.
pub struct Listing {
    snapshot: Snapshot,
    growing: Vec<Tid>,
    segment: usize,
    row: u32,
}

impl Listing {
    pub fn new(relation: Relation, snapshot: Snapshot) -> Self {
        let mut tids = Vec::new();
        for segment in snapshot.manifest.flushing.iter().chain([&snapshot.meta.growing]) {
            growing::for_each_row(relation, &snapshot.meta, segment, |tid, _| tids.push(tid));
        }
        Self { snapshot, growing: tids, segment: 0, row: 0 }
    }

    pub fn next(&mut self, relation: Relation) -> Option<Tid> {
        if let Some(tid) = self.growing.pop() {
            return Some(tid);
        }
        while let Some(segment) = self.snapshot.manifest.sealed.get(self.segment) {
            let mut rows = SealedRows::new(relation, segment);
            while self.row < segment.rows {
                self.row += 1;
                if let Some(tid) = rows.live_tid(self.row - 1) {
                    return Some(tid);
                }
            }
            (self.segment, self.row) = (self.segment + 1, 0);
        }
        None
    }
}
