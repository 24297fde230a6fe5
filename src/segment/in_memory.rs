//! An index in memory, for unit tests: its segments are sealed, merged, searched, listed and
//! checked without a server.

use super::findings::{Finding, Findings};
use super::request::{Effort, Hit, SearchLimits};
use super::stream::SearchView;
use super::structures::{RangeView, TrainingRows};
use super::threshold::Threshold;
use super::{Entry, Plan, Tid, columns, rows, structure_of};
use crate::distance::{PreparedQuery, Space};
use crate::filter::key::KeyKind;
use crate::filter::{self, Condition};
use crate::search::rerank::IterativeScan;
use crate::storage::draft::Draft;
use crate::storage::manifest::{Manifest, Sealed};
use crate::storage::meta::Meta;
use crate::storage::pages::memory::MemoryPages;
use crate::storage::part::Layout;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::{Quantizer, Structure};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A vector and the key of the filter column.
pub type Row = (Vec<f32>, u64);

/// How an index is searched.
#[derive(Clone)]
pub struct Search {
    pub limit: usize,
    /// Candidates of a graph, or lists probed.
    pub effort: usize,
    /// On the filter column.
    pub condition: Option<filter::Test>,
    pub within: Option<f64>,
    pub iterative_scan: IterativeScan,
}

impl Search {
    pub fn new(limit: usize, effort: usize) -> Self {
        Self { limit, effort, condition: None, within: None, iterative_scan: IterativeScan::Strict }
    }
}

pub struct MemoryIndex {
    pub pages: Rc<MemoryPages>,
    meta: Rc<Meta>,
    manifest: Manifest,
    /// Live rows, whether the index has their vectors or not.
    pub rows: BTreeMap<Tid, Row>,
    next_tid: u32,
    next_segment: u32,
}

/// Rows that centroids are found from.
struct Training<'a>(&'a [Row]);

impl TrainingRows for Training<'_> {
    fn sample(&mut self, sample: &mut dyn FnMut(&[u8]) -> bool, _enough: &dyn Fn(u64) -> usize) -> u64 {
        assert!(self.0.iter().all(|(vector, _)| sample(bytemuck::cast_slice(vector))));
        self.0.len() as u64
    }

    fn memory(&self) -> usize {
        1 << 20
    }
}

impl MemoryIndex {
    pub fn new(space: Space, structure: Structure, quantizer: Quantizer) -> Self {
        Self {
            pages: Rc::default(),
            meta: Rc::new(Meta::new(space, structure, quantizer, vec![KeyKind::Int4], 42)),
            manifest: Manifest::default(),
            rows: BTreeMap::new(),
            next_tid: 0,
            next_segment: 1,
        }
    }

    fn plan(&self) -> Plan {
        Plan {
            structure: self.meta.structure,
            quantizer: self.meta.quantizer,
            columns: 1,
            seed: self.meta.seed,
            threads: 2,
            memory: 1 << 24,
            show_progress: false,
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { meta: Rc::clone(&self.meta), manifest: Rc::new(self.manifest.clone()) }
    }

    /// Seals rows into a segment, as a flush does.
    pub fn seal(&mut self, rows: &[Row]) {
        let (snapshot, plan) = (self.snapshot(), self.plan());
        let (pages, segment) = (Rc::clone(&self.pages), self.next_segment);
        self.next_segment += 2;
        let draft = move || Draft::in_memory(&pages, segment + 1);
        let known = (&*self.pages as _, &snapshot);
        let structure = structure_of(&plan.structure);
        let mut target =
            structure.target(self.meta.space, plan, Some(known), &mut Training(rows), Box::new(draft));
        let mut batch = target.batch();
        for (vector, key) in rows {
            let tid = self.tid();
            let attributes = filter::attributes([Some(*key)].into_iter());
            let row = bytemuck::cast_slice(vector);
            assert!(batch.push(Entry { tid, row, attributes: &attributes }));
            self.rows.insert(tid, (vector.clone(), *key));
        }
        assert!(batch.rows() == rows.len() && batch.bytes() > 0);
        let sealed = batch.seal(&mut Draft::in_memory(&self.pages, segment));
        self.manifest.sealed.push(sealed);
        self.manifest.codebooks.extend(target.take_codebook());
    }

    fn tid(&mut self) -> Tid {
        self.next_tid += 1;
        let [a, b, c, d] = self.next_tid.to_be_bytes();
        [0, 0, a, b, c, d]
    }

    pub fn segments(&self) -> &[Sealed] {
        &self.manifest.sealed
    }

    /// Marks those rows dead whose number in their segment `is_dead` picks, as a vacuum does.
    pub fn kill(&mut self, is_dead: impl Fn(u32) -> bool) {
        for segment in &mut self.manifest.sealed {
            let sealed = SealedRef::new(&*self.pages, segment);
            let dead: Vec<(u32, Tid)> = {
                let mut rows = rows::SealedRows::new(sealed);
                (0..segment.rows).filter(|&row| is_dead(row)).map(|row| (row, rows.tid(row))).collect()
            };
            for (row, tid) in &dead {
                let (page, at) = Layout::tape(u64::from(row / 8));
                let block = segment.tombstone_bits.pages.block(page).expect("a page of tombstones");
                self.pages.change(block, |payload| payload[at] |= 1 << (row % 8));
                self.rows.remove(tid);
            }
            segment.tombstones = dead.len() as u32;
        }
    }

    /// Merges all segments into one, as a compaction does.
    pub fn merge(&mut self, retrain: bool) {
        let (snapshot, plan) = (self.snapshot(), self.plan());
        let sources: Vec<SealedRef> =
            snapshot.manifest.sealed.iter().map(|segment| SealedRef::new(&*self.pages, segment)).collect();
        let mut id = self.next_segment;
        let mut draft = || {
            id += 1;
            Draft::in_memory(&self.pages, id)
        };
        let merged = structure_of(&plan.structure).merge(&snapshot, &sources, plan, retrain, &mut draft);
        self.next_segment = id + 1;
        self.manifest.sealed = merged.sealed.into_iter().collect();
        self.manifest.codebooks.extend(merged.codebook);
    }

    /// The first rows of a search, and the names of its steps.
    pub fn search(&self, query: &[f32], search: Search) -> (Vec<Hit>, Vec<&'static str>) {
        let Search { limit, effort, condition, within, iterative_scan } = search;
        let (snapshot, prepared) = (self.snapshot(), self.prepared(query));
        let coded = super::coded_query(&self.meta, &prepared);
        let conditions: Vec<_> = condition.into_iter().map(|test| Condition { column: 0, test }).collect();
        let matching: Vec<_> = self
            .segments()
            .iter()
            .map(|segment| SealedRef::new(&*self.pages, segment))
            .map(|sealed| (!conditions.is_empty()).then(|| Rc::new(columns::matches(sealed, &conditions))))
            .collect();
        let view = SearchView {
            pages: &*self.pages,
            snapshot: &snapshot,
            query: &prepared,
            coded: coded.as_ref(),
            matching: &matching,
        };
        let effort = Effort { ef: effort, probes: effort, iterative_scan, rows: u64::MAX, bytes: usize::MAX };
        let limits = SearchLimits { effort, within, leave_out: None };
        let (mut hits, mut steps) = (Vec::new(), Vec::new());
        for mut run in structure_of(&self.meta.structure).runs(view, limits) {
            let mut fetch = |tid: Tid, visit: &mut dyn FnMut(&[u8])| self.fetch(tid, visit);
            let of_run: Vec<Hit> = std::iter::from_fn(|| run.next(view, &mut fetch)).take(limit).collect();
            if iterative_scan == IterativeScan::Strict {
                assert!(of_run.is_sorted(), "a stream ascends");
            }
            hits.extend(of_run);
            steps.extend(run.steps().map(|step| step.step));
        }
        hits.sort_unstable();
        hits.truncate(limit);
        (hits, steps)
    }

    /// The rows that a listing finds within a score of a query.
    pub fn listed(&self, query: &[f32], within: f64) -> Vec<Tid> {
        let (snapshot, prepared) = (self.snapshot(), self.prepared(query));
        let coded = super::coded_query(&self.meta, &prepared);
        let mut found = Vec::new();
        for segment in self.segments() {
            let sealed = SealedRef::new(&*self.pages, segment);
            let view = RangeView {
                sealed,
                snapshot: &snapshot,
                query: &prepared,
                coded: coded.as_ref(),
                matching: None,
                threshold: Threshold { within, exact: true },
            };
            let mut listing = structure_of(&self.meta.structure).listing(view);
            let mut rows = rows::SealedRows::new(sealed);
            let mut fetch = |tid: Tid, visit: &mut dyn FnMut(&[u8])| self.fetch(tid, visit);
            let mut add = |row, _| found.extend(rows.live_tid(row));
            while !listing.next(view, &mut fetch, &mut add).is_last {}
        }
        found.sort_unstable();
        found
    }

    fn fetch(&self, tid: Tid, visit: &mut dyn FnMut(&[u8])) {
        self.rows.get(&tid).into_iter().for_each(|(vector, _)| visit(bytemuck::cast_slice(vector)));
    }

    fn prepared(&self, query: &[f32]) -> PreparedQuery {
        PreparedQuery::new(self.meta.space, bytemuck::cast_slice(query)).expect("a query of the space")
    }

    /// All live rows whose keys `is_match` picks, by their exact distance from a query.
    pub fn exact(&self, query: &[f32], is_match: impl Fn(u64) -> bool) -> Vec<Hit> {
        let query = self.prepared(query);
        let rows = self.rows.iter().filter(|(_, (_, key))| is_match(*key));
        let score = |vector: &[f32]| query.score(bytemuck::cast_slice(vector)).expect("a row of the space");
        let mut hits: Vec<Hit> = rows.map(|(&tid, (vector, _))| Hit { score: score(vector), tid }).collect();
        hits.sort_unstable();
        hits
    }

    /// What a deep check finds wrong, rows that are missing or differ among it.
    pub fn findings(&self) -> Vec<Finding> {
        let (snapshot, mut findings) = (self.snapshot(), Findings::default());
        let structure = structure_of(&self.meta.structure);
        let mut missing = self.rows.clone();
        for segment in self.segments() {
            let sealed = SealedRef::new(&*self.pages, segment);
            structure.check(&mut findings, sealed, &snapshot, true);
            let mut visit = |tid: Tid, vector: Option<&[u8]>, attributes: &[u64]| {
                let Some((row, key)) = missing.remove(&tid) else { return Some("an unknown row".into()) };
                let differs = vector.is_some_and(|vector| vector != bytemuck::cast_slice::<f32, u8>(&row))
                    || filter::key(attributes, 0) != Some(key);
                differs.then(|| format!("row {tid:?} differs"))
            };
            for text in structure.visit_rows(sealed, &snapshot, &mut visit) {
                findings.of_segment(segment.id, text);
            }
        }
        missing.keys().for_each(|tid| findings.add(None, None, None, format!("row {tid:?} is missing")));
        findings.into_vec()
    }
}
