//! Rows in no particular order: every row that meets the conditions and lies within a score,
//! whatever the structure.
//!
//! Codes tell of most rows that they are within the bound or beyond it; the rest is compared
//! exactly, where vectors are in the index. The executor checks every row again, so that a row too
//! many does no harm; a row too few would. A listing goes through segments stretch by stretch (some
//! rows of a graph, a list, a lane) and keeps no more than the rows of one.

use super::graph::compact::NodeQuery;
use super::graph::layout::NodeLayout;
use super::graph::listing as graph_rows;
use super::graph::source::Source as GraphSource;
use super::growing::listing as growing_rows;
use super::growing::search::Source as GrowingSource;
use super::lists::codebook::CentroidReader;
use super::lists::listing::{self as list_rows, Source as ListSource};
use super::matching;
use super::report::StepReport;
use super::rows::SealedRows;
use super::threshold::{Listed, ROWS, Threshold};
use crate::codec::encoder::CodedQuery;
use crate::distance::PreparedQuery;
use crate::filter::{Bitset, Condition};
use crate::memory;
use crate::pg::interrupts;
use crate::pg::relation::Relation;
use crate::search::rerank::Work;
use crate::segment::request::{HeapRows, Hit};
use crate::storage::manifest::{Parts, Sealed};
use crate::storage::meta::Growing;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use std::rc::Rc;

/// What rows are to be near.
#[derive(Clone)]
pub struct RangeQuery {
    query: PreparedQuery,
    /// The query as codes see it, if there are any.
    coded: Option<CodedQuery>,
    node_query: Option<NodeQuery>,
    threshold: Threshold,
}

impl RangeQuery {
    pub fn new(snapshot: &Snapshot, query: PreparedQuery, threshold: Threshold) -> Self {
        let coded = super::coded_query(&snapshot.meta, &query);
        let node_query = NodeLayout::node_query(&snapshot.meta, coded.as_ref());
        Self { query, coded, node_query, threshold }
    }
}

/// Rows of a segment listed together.
const STRETCH: u32 = 4096;

/// A listing under way. Between two calls it holds neither pins nor locks.
pub struct Listing {
    snapshot: Snapshot,
    conditions: Vec<Condition>,
    bound: Option<RangeQuery>,
    /// Growing segments that are left, and the lane of the first of these that is next.
    growing: Vec<Growing>,
    lane: usize,
    /// The sealed segment that is next, and the row or the list of it.
    segment: usize,
    next: u32,
    /// The query for the codes of that segment, if it has lists and these a shift.
    shifted: Option<CodedQuery>,
    /// The rows of that segment that meet the conditions, if there are any.
    wanted: Option<Rc<Bitset>>,
    /// Rows listed, with their scores where these are wanted.
    ready: Vec<Hit>,
    steps: Vec<StepReport>,
}

impl Listing {
    pub fn new(snapshot: Snapshot, conditions: Vec<Condition>, bound: Option<RangeQuery>) -> Self {
        let growing = snapshot.manifest.flushing.iter().chain([&snapshot.meta.growing]);
        Self {
            growing: growing.cloned().collect(),
            snapshot,
            conditions,
            bound,
            lane: 0,
            segment: 0,
            next: 0,
            shifted: None,
            wanted: None,
            ready: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Another row, until there are none left. Its score is told if scores are wanted.
    pub fn next(&mut self, relation: Relation, heap: &mut HeapRows) -> Option<Hit> {
        loop {
            if let Some(hit) = self.ready.pop() {
                self.steps.last_mut().into_iter().for_each(|step| step.returned += 1);
                return Some(hit);
            }
            interrupts::check();
            if !self.fill(relation, heap) {
                return None;
            }
        }
    }

    /// Leaves out what is beyond a lesser score from now on. Nothing is beyond NaN.
    pub fn narrow(&mut self, within: f64) {
        if within.is_nan() {
            return;
        }
        self.bound.iter_mut().for_each(|bound| bound.threshold.within = within);
    }

    /// The generation that it reads.
    pub fn generation(&self) -> u64 {
        self.snapshot.meta.generation
    }

    /// What it has done so far.
    pub fn steps(&self) -> impl Iterator<Item = StepReport> {
        self.steps.iter().cloned()
    }

    /// Lists the next stretch; `false` if there is none.
    fn fill(&mut self, relation: Relation, heap: &mut HeapRows) -> bool {
        if !self.growing.is_empty() {
            self.list_lane(relation);
            return true;
        }
        let snapshot = self.snapshot.clone();
        let Some(segment) = snapshot.manifest.sealed.get(self.segment) else { return false };
        if self.next == 0 {
            self.begin_segment(relation, segment);
        }
        let step = self.steps.last_mut().expect("a segment begins with its step");
        let wanted = self.wanted.as_deref();
        let (ready, bound) = (&mut self.ready, self.bound.as_ref());
        let (next, end) = step.observe(|| {
            let sealed = SealedRef::new(&relation, segment);
            let mut rows = SealedRows::new(sealed);
            let mut add = |row: u32, score: f64| {
                if let Some(tid) = rows.live_tid(row) {
                    memory::push(ready, Hit { score, tid }, ROWS);
                }
            };
            match (&segment.parts, bound) {
                (Parts::Lists(parts), Some(RangeQuery { query, coded: Some(coded), threshold, .. })) => {
                    let source = ListSource {
                        sealed,
                        snapshot: &snapshot,
                        parts,
                        query,
                        vector: &coded.vector,
                        coded: self.shifted.as_ref().unwrap_or(coded),
                        wanted,
                    };
                    (self.next + 1, list_rows::list(source, self.next, *threshold, heap, &mut add))
                }
                (Parts::Graph(parts), Some(bound)) => {
                    let source = GraphSource {
                        sealed,
                        meta: &snapshot.meta,
                        parts,
                        query: &bound.query,
                        coded: bound.coded.as_ref(),
                        node_query: bound.node_query.as_ref(),
                        wanted,
                    };
                    let stretch = self.next..segment.rows.min(self.next.saturating_add(STRETCH));
                    (stretch.end, graph_rows::list(source, stretch, bound.threshold, heap, &mut add))
                }
                _ => {
                    let stretch = self.next..segment.rows.min(self.next.saturating_add(STRETCH));
                    let is_wanted = |row: &u32| wanted.is_none_or(|wanted| wanted.has(*row as usize));
                    stretch.clone().filter(is_wanted).for_each(|row| add(row, f64::NAN));
                    (stretch.end, Listed { is_last: stretch.end == segment.rows, work: Work::default() })
                }
            }
        });
        step.work.estimated += end.work.estimated;
        step.work.compared += end.work.compared;
        if end.is_last {
            (self.segment, self.next) = (self.segment + 1, 0);
        } else {
            self.next = next;
        }
        true
    }

    /// Lists the next lane of a growing segment.
    fn list_lane(&mut self, relation: Relation) {
        let segment = &self.growing[0];
        if self.lane == 0 {
            let name = if self.growing.len() > 1 { "flushing" } else { "growing" };
            self.steps.push(StepReport::new(Some(segment.segment), name, "scan"));
        }
        if self.lane >= segment.lanes.len() {
            self.growing.remove(0);
            self.lane = 0;
            return;
        }
        let step = self.steps.last_mut().expect("a segment begins with its step");
        let meta = &*self.snapshot.meta;
        let (lane, conditions, ready) = (self.lane, &self.conditions, &mut self.ready);
        let bound = self.bound.as_ref().map(|bound| {
            let coded = bound.coded.as_ref();
            (GrowingSource { relation, meta, query: &bound.query, coded }, bound.threshold)
        });
        let listed = step.observe(|| {
            let mut add = |tid, score| memory::push(ready, Hit { score, tid }, ROWS);
            growing_rows::list(relation, meta, segment, lane, conditions, bound, &mut add)
        });
        step.rows += listed.rows;
        step.work.estimated += listed.work.estimated;
        step.work.compared += listed.work.compared;
        self.lane += 1;
    }

    fn begin_segment(&mut self, relation: Relation, segment: &Sealed) {
        let structure = match segment.parts {
            Parts::Graph(_) => "graph",
            Parts::Lists(_) => "lists",
        };
        let mut step = StepReport::new(Some(segment.id), structure, "flat");
        step.rows = segment.rows.into();
        let (meta, conditions) = (&self.snapshot.meta, &self.conditions);
        self.wanted = step.observe(|| matching::matching(relation, meta, segment, conditions));
        step.matches = self.wanted.as_ref().map(|wanted| wanted.count() as u64);
        let query = self.bound.as_ref().and_then(|bound| bound.coded.as_ref());
        self.shifted = match (&segment.parts, query) {
            (Parts::Lists(parts), Some(query)) if parts.codes.is_some() => {
                let centroids = || CentroidReader::of(&relation, &self.snapshot, parts);
                step.observe(|| centroids()?.shifted(&self.snapshot.meta, query))
            }
            _ => None,
        };
        self.steps.push(step);
    }
}
