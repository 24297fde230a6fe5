//! Streams: the rows of one or more segments in ascending order of score. A search merges them.

use super::report::StepReport;
use super::request::{HeapRows, Hit};
use crate::codec::encoder::CodedQuery;
use crate::distance::PreparedQuery;
use crate::filter::Bitset;
use crate::search::rerank::Work;
use crate::storage::manifest::Sealed;
use crate::storage::pages::Pages;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use std::collections::VecDeque;
use std::rc::Rc;

/// What a stream reads.
#[derive(Clone, Copy)]
pub struct SearchView<'a> {
    pub pages: &'a dyn Pages,
    pub snapshot: &'a Snapshot,
    pub query: &'a PreparedQuery,
    /// The query as codes see it, if the index has any.
    pub coded: Option<&'a CodedQuery>,
    /// The matching rows of each sealed segment (see [`super::matching`]); `None` for all.
    pub matching: &'a [Option<Rc<Bitset>>],
}

impl<'a> SearchView<'a> {
    /// A sealed segment, by its number in the manifest.
    pub fn sealed(self, number: usize) -> SealedRef<'a> {
        SealedRef::new(self.pages, &self.snapshot.manifest.sealed[number])
    }

    /// The matching rows of a sealed segment; `None` for all.
    pub fn matching(self, number: usize) -> Option<&'a Bitset> {
        self.matching.get(number)?.as_deref()
    }

    /// The sealed segments, each with its number in the manifest.
    pub fn segments(self) -> impl Iterator<Item = (usize, &'a Sealed)> {
        self.snapshot.manifest.sealed.iter().enumerate()
    }
}

/// Rows in ascending order of their exact score. Between two calls a stream holds neither pins nor
/// locks.
pub trait Stream {
    /// Appends the next row, or the next few, to `ready`; none once there are none left.
    fn advance(&mut self, view: SearchView, heap: &mut HeapRows, ready: &mut VecDeque<Hit>);

    /// Whether the next row is known to have this score too.
    fn has_tie(&self, score: f64) -> bool;

    /// What it has done so far.
    fn work(&self) -> Work;

    /// Bytes in memory.
    fn bytes(&self) -> usize;

    /// The stream that goes on where this one has given up, and the name of its step.
    fn successor(&mut self, _view: SearchView) -> Option<(&'static str, Box<dyn Stream>)> {
        None
    }
}

/// A stream, the rows it has found, and its reports.
pub struct Run {
    stream: Box<dyn Stream>,
    /// Rows found and not returned yet.
    ready: VecDeque<Hit>,
    report: StepReport,
    /// Reports of the streams before this one.
    ended: Vec<StepReport>,
}

impl Run {
    pub fn new(stream: impl Stream + 'static, report: StepReport) -> Self {
        Self { stream: Box::new(stream), ready: VecDeque::new(), report, ended: Vec::new() }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.stream.bytes() + self.ready.capacity() * size_of::<Hit>()
    }

    /// The steps so far: the streams that have given up, then the present one.
    pub fn steps(&self) -> impl Iterator<Item = StepReport> {
        let last = StepReport { work: self.stream.work(), ..self.report.clone() };
        self.ended.iter().cloned().chain([last])
    }

    /// Counts a row that the search has returned.
    pub fn count_returned(&mut self) {
        self.report.returned += 1;
    }

    /// The next row. Of rows with equal scores, as far as they are known, the one with the least
    /// TID comes first.
    pub fn next(&mut self, view: SearchView, heap: &mut HeapRows) -> Option<Hit> {
        if self.ready.is_empty() {
            self.advance(view, heap);
            while let Some(score) = self.ready.back().map(|hit| hit.score)
                && self.stream.has_tie(score)
            {
                self.advance(view, heap);
            }
            self.ready.make_contiguous().sort_unstable();
        }
        self.ready.pop_front()
    }

    fn advance(&mut self, view: SearchView, heap: &mut HeapRows) {
        loop {
            let Self { stream, ready, report, .. } = self;
            report.observe(|| stream.advance(view, heap, ready));
            if !ready.is_empty() {
                return;
            }
            let Some((step, next)) = stream.successor(view) else { return };
            let next_report = StepReport { step, ..report.fresh_step() };
            let ended = std::mem::replace(report, next_report);
            self.ended.push(StepReport { work: stream.work(), ..ended });
            *stream = next;
        }
    }
}
