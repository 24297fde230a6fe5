//! One search over all segments of an index: a merge of their streams.

use super::growing::stream as growing_rows;
use super::matching;
use super::passes::{Passes, Returned};
use super::report::{self, Report, StepReport};
use super::request::{Effort, HeapRows, Hit, Request, SearchLimits};
use super::stream::{Run, SearchView};
use crate::codec::encoder::CodedQuery;
use crate::distance::{PreparedQuery, Space};
use crate::filter::{Bitset, Condition};
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::search::rerank::IterativeScan;
use crate::storage::snapshot::Snapshot;
use pgrx::PgSqlErrorCode;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// A search under way. Between two calls it holds neither pins nor locks.
pub struct IndexSearch {
    index: u32,
    input: SearchInput,
    limits: SearchLimits,
    conditions: Vec<Condition>,
    returned: u64,
    runs: Vec<Run>,
    /// Steps of the runs that passes have replaced.
    ended: Vec<StepReport>,
    /// The next hit of each run that has one, with the run's number.
    heads: BinaryHeap<Reverse<(Hit, usize)>>,
    /// The run whose head was returned last, until its next hit is pulled.
    taken: Option<usize>,
    started: bool,
    /// The rows returned so far.
    last: Returned,
    /// Goes on in place of the runs once these have taken too much memory.
    passes: Option<Box<Passes>>,
}

/// What streams read in each call.
struct SearchInput {
    snapshot: Snapshot,
    query: PreparedQuery,
    /// The query as codes see it, if the index has any.
    coded: Option<CodedQuery>,
    /// The matching rows of each sealed segment; `None` for all.
    matching: Vec<Option<Rc<Bitset>>>,
}

impl SearchInput {
    fn view<'a>(&'a self, relation: &'a Relation) -> SearchView<'a> {
        let Self { snapshot, query, coded, matching } = self;
        SearchView { pages: relation, snapshot, query, coded: coded.as_ref(), matching }
    }
}

impl IndexSearch {
    /// Scans the growing segments and prepares the search of the sealed ones.
    pub fn new(relation: Relation, snapshot: Snapshot, request: Request) -> Self {
        let Request { query, conditions, limits } = request;
        let meta = &snapshot.meta;
        let coded = super::coded_query(meta, &query);
        let sealed = snapshot.manifest.sealed.iter();
        let matching =
            sealed.map(|segment| matching::matching(relation, meta, segment, &conditions)).collect();
        let input = SearchInput { snapshot, query, coded, matching };
        let view = input.view(&relation);
        let mut runs = growing_rows::runs(relation, view, &conditions, limits);
        runs.extend(super::structure_of(&view.snapshot.meta.structure).runs(view, limits));
        Self {
            index: relation.oid().to_u32(),
            input,
            limits,
            conditions,
            returned: 0,
            runs,
            ended: Vec::new(),
            heads: BinaryHeap::new(),
            taken: None,
            started: false,
            last: Returned::default(),
            passes: None,
        }
    }

    pub fn space(&self) -> Space {
        self.input.snapshot.meta.space
    }

    /// The next nearest row.
    pub fn next(&mut self, relation: Relation, heap: &mut HeapRows) -> Option<Hit> {
        if self.returned >= self.limits.effort.rows {
            pgrx::debug1!("vdb: a scan ends after {} rows, by vdb.max_scan_tuples", self.returned);
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
        // Not before the caller asks for another row: a stream may have to search further for its
        // next.
        if let Some(number) = self.taken.take() {
            self.pull(relation, heap, number);
        }
        let Reverse((hit, number)) = self.heads.pop()?;
        if self.limits.within.is_some_and(|within| hit.score > within) {
            return None;
        }
        if self.bytes() > self.limits.effort.bytes {
            self.save_memory(relation);
            return self.next(relation, heap);
        }
        self.returned += 1;
        self.last.note(hit);
        self.runs[number].count_returned();
        self.taken = Some(number);
        Some(hit)
    }

    /// Adds a run's next hit to the heads.
    fn pull(&mut self, relation: Relation, heap: &mut HeapRows, number: usize) {
        let hit = self.runs[number].next(self.input.view(&relation), heap);
        self.heads.extend(hit.map(|hit| Reverse((hit, number))));
    }

    /// Bytes in memory.
    fn bytes(&self) -> usize {
        self.last.bytes() + self.runs.iter().map(Run::bytes).sum::<usize>()
    }

    /// Drops the runs and goes on in passes. Any order but the strict one is an error: only strict
    /// order determines which rows are left.
    fn save_memory(&mut self, relation: Relation) {
        let Effort { iterative_scan, bytes, .. } = self.limits.effort;
        if iterative_scan != IterativeScan::Strict {
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
        pgrx::debug1!("vdb: a scan goes on in passes after {} rows, by vdb.scan_mem", self.returned);
        self.ended.extend(self.runs.drain(..).flat_map(|run| run.steps().collect::<Vec<_>>()));
        self.heads.clear();
        self.taken = None;
        let SearchInput { snapshot, query, .. } = &self.input;
        let passes = Passes::after(
            std::mem::take(&mut self.last),
            snapshot.clone(),
            query.clone(),
            self.conditions.clone(),
            self.limits.within,
            bytes,
        );
        self.passes = Some(Box::new(passes));
    }

    /// What it has done so far.
    pub fn steps(&self) -> impl Iterator<Item = StepReport> {
        let passes = self.passes.iter().flat_map(|passes| passes.steps());
        self.ended.iter().cloned().chain(self.runs.iter().flat_map(Run::steps)).chain(passes)
    }
}

impl Drop for IndexSearch {
    fn drop(&mut self) {
        // A search that was never asked for a row has done nothing.
        if self.started {
            let steps = self.steps().collect();
            let generation = self.input.snapshot.meta.generation;
            report::remember(Report { index: self.index, generation, steps });
        }
    }
}
