//! The stream of an index's lists: one for all segments together, so that lists are probed once.

use super::search::{ListSearch, ListsView};
use crate::search::cost_model::ListFacts;
use crate::search::rerank::Work;
use crate::search::strategy::ListStrategy;
use crate::segment::report::StepReport;
use crate::segment::request::{HeapRows, Hit, SearchLimits};
use crate::segment::stream::{Run, SearchView, Stream};
use crate::storage::snapshot::Snapshot;
use crate::structure::{ListOptions, Rerank};
use std::collections::VecDeque;

/// What is known of the sealed segments of an index; `matches` is the number of their matching
/// rows, `None` if nearly all match.
pub fn facts(options: ListOptions, snapshot: &Snapshot, matches: Option<usize>) -> ListFacts {
    let (meta, manifest) = (&snapshot.meta, &snapshot.manifest);
    ListFacts {
        space: meta.space,
        codes: meta.quantizer,
        lists: manifest.codebook().map_or(1, |codebook| codebook.lists as usize),
        rows: manifest.sealed.iter().map(|segment| segment.rows as usize).sum(),
        matches,
        has_vectors: options.rerank == Rerank::Index,
    }
}

/// The run of all segments, if they have matching rows.
pub fn runs(options: ListOptions, view: SearchView, limits: SearchLimits) -> Vec<Run> {
    let is_filtered = view.matching.iter().any(Option::is_some);
    let matches = || {
        let of_segment = |(number, segment): (usize, &crate::storage::manifest::Sealed)| {
            view.matching(number).map_or(segment.rows as usize, |matching| matching.count())
        };
        view.segments().map(of_segment).sum()
    };
    let facts = facts(options, view.snapshot, is_filtered.then(matches));
    let probes = limits.effort.probes;
    let strategy = facts.choose(probes);
    let step = match strategy {
        ListStrategy::Nothing => return Vec::new(),
        ListStrategy::Flat => "flat",
        ListStrategy::Lists(_) => "lists",
    };
    let mut report = StepReport::new(None, "lists", step);
    (report.rows, report.matches) = (facts.rows as u64, facts.matches.map(|matches| matches as u64));
    if let ListStrategy::Lists(probing) = strategy {
        report.effort = Some(probing.probes as u64);
    }
    report.expect(facts.cost(probes).begin);
    let view = ListsView::of(view);
    let search = report.observe(|| ListSearch::new(options, view, (facts, strategy), limits));
    vec![Run::new(ListStream(Box::new(search)), report)]
}

struct ListStream(Box<ListSearch>);

impl Stream for ListStream {
    fn advance(&mut self, view: SearchView, heap: &mut HeapRows, ready: &mut VecDeque<Hit>) {
        ready.extend(self.0.next(ListsView::of(view), heap));
    }

    fn has_tie(&self, score: f64) -> bool {
        self.0.has_tie(score)
    }

    fn work(&self) -> Work {
        self.0.work()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
