//! The streams of growing segments.

use super::search::{GrowingSearch, GrowingView};
use crate::filter::Condition;
use crate::pg::relation::Relation;
use crate::search::cost_model;
use crate::search::rerank::Work;
use crate::segment::report::StepReport;
use crate::segment::request::{HeapRows, Hit, SearchLimits};
use crate::segment::stream::{Run, SearchView, Stream};
use crate::storage::meta::Growing;
use crate::storage::snapshot::Snapshot;
use std::collections::VecDeque;

/// Scans the growing segments of an index: one run for each.
pub fn runs(
    relation: Relation,
    view: SearchView,
    conditions: &[Condition],
    limits: SearchLimits,
) -> Vec<Run> {
    let meta = &view.snapshot.meta;
    let run = |(segment, state): (&Growing, &'static str)| {
        let mut report = StepReport::new(Some(segment.segment), state, "scan");
        let (within, iterative_scan) = (limits.within, limits.effort.iterative_scan);
        let view = GrowingView { relation, meta, query: view.query, coded: view.coded };
        let search = report.observe(|| GrowingSearch::new(view, segment, conditions, within, iterative_scan));
        report.rows = search.rows() as u64;
        report.expect(cost_model::growing_cost(report.rows as f64, meta.quantizer.has_codes()));
        Run::new(GrowingStream { relation, search }, report)
    };
    with_states(view.snapshot).map(run).collect()
}

/// Growing segments, and their names in reports.
pub fn with_states(snapshot: &Snapshot) -> impl Iterator<Item = (&Growing, &'static str)> {
    let flushing = snapshot.manifest.flushing.iter().map(|segment| (segment, "flushing"));
    flushing.chain([(&snapshot.meta.growing, "growing")])
}

/// The rows of one growing segment. Reading them takes content locks, which a relation has and
/// pages in memory lack.
struct GrowingStream {
    relation: Relation,
    search: GrowingSearch,
}

impl Stream for GrowingStream {
    fn advance(&mut self, view: SearchView, _heap: &mut HeapRows, ready: &mut VecDeque<Hit>) {
        let SearchView { snapshot, query, coded, .. } = view;
        let view = GrowingView { relation: self.relation, meta: &snapshot.meta, query, coded };
        ready.extend(self.search.next(view));
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
