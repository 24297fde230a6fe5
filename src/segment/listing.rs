//! Rows in no particular order: every row that meets the conditions and lies within a score,
//! whatever the structure.
//!
//! Codes decide most rows. The rest is compared exactly, if vectors are in the index or scores are
//! requested. The executor checks every row again, so an extra row is harmless; a missing row is
//! wrong. A listing goes through segments stretch by stretch
//! (some rows of a graph, a list, a lane) and keeps only the rows of one.

use super::growing::listing as growing_rows;
use super::growing::search::GrowingView;
use super::growing::stream::with_states;
use super::matching;
use super::report::StepReport;
use super::request::{HeapRows, Hit};
use super::rows::SealedRows;
use super::structure_of;
use super::structures::{RangeView, SegmentListing};
use super::threshold::{Listed, ROWS, STRETCH, Threshold};
use crate::codec::encoder::CodedQuery;
use crate::distance::PreparedQuery;
use crate::filter::{Bitset, Condition};
use crate::memory;
use crate::pg::interrupts;
use crate::pg::relation::Relation;
use crate::search::rerank::Work;
use crate::storage::meta::Growing;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use std::rc::Rc;

/// The query and the threshold of a listing.
#[derive(Clone)]
pub struct RangeQuery {
    query: PreparedQuery,
    /// The query as codes see it, if there are any.
    coded: Option<CodedQuery>,
    threshold: Threshold,
}

impl RangeQuery {
    pub fn new(snapshot: &Snapshot, query: PreparedQuery, threshold: Threshold) -> Self {
        let coded = super::coded_query(&snapshot.meta, &query);
        Self { query, coded, threshold }
    }

    fn view<'a>(
        &'a self,
        sealed: SealedRef<'a>,
        snapshot: &'a Snapshot,
        matching: Option<&'a Bitset>,
    ) -> RangeView<'a> {
        let Self { query, coded, threshold } = self;
        RangeView { sealed, snapshot, query, coded: coded.as_ref(), matching, threshold: *threshold }
    }
}

/// A listing under way. Between two calls it holds neither pins nor locks.
pub struct Listing {
    snapshot: Snapshot,
    conditions: Vec<Condition>,
    range: Option<RangeQuery>,
    /// Growing segments left, and the next lane of the first of them.
    growing: Vec<(Growing, &'static str)>,
    lane: usize,
    /// The number of the next sealed segment, and its listing once that has begun.
    segment: usize,
    sealed: Option<OfSegment>,
    /// Rows listed, with their scores or NaN.
    ready: Vec<Hit>,
    steps: Vec<StepReport>,
}

impl Listing {
    pub fn new(snapshot: Snapshot, conditions: Vec<Condition>, range: Option<RangeQuery>) -> Self {
        let growing = with_states(&snapshot).map(|(segment, state)| (segment.clone(), state)).collect();
        Self {
            growing,
            snapshot,
            conditions,
            range,
            lane: 0,
            segment: 0,
            sealed: None,
            ready: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Another row; `None` once there are none left. Its score may be NaN unless scores are
    /// requested.
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

    /// Lowers the threshold for the rows not listed yet; NaN changes nothing.
    pub fn narrow(&mut self, within: f64) {
        if within.is_nan() {
            return;
        }
        self.range.iter_mut().for_each(|bound| bound.threshold.within = within);
    }

    /// The generation that it reads.
    pub fn generation(&self) -> u64 {
        self.snapshot.meta.generation
    }

    /// The steps so far.
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
        let sealed = SealedRef::new(&relation, segment);
        let mut of_segment = self.sealed.take().unwrap_or_else(|| self.begin_segment(relation, sealed));
        let step = self.steps.last_mut().expect("a segment begins with its step");
        let (ready, range) = (&mut self.ready, self.range.as_ref());
        let listed = step.observe(|| {
            let mut rows = SealedRows::new(sealed);
            let mut add = |row: u32, score: f64| {
                if let Some(tid) = rows.live_tid(row) {
                    memory::push(ready, Hit { score, tid }, ROWS);
                }
            };
            let matching = of_segment.matching.as_deref();
            match (&mut of_segment.rows, range) {
                (Rows::Within(listing), Some(range)) => {
                    listing.next(range.view(sealed, &snapshot, matching), heap, &mut add)
                }
                (Rows::Within(_), None) => unreachable!("a listing within a score has a range"),
                (Rows::All { next }, _) => {
                    let stretch = *next..sealed.rows.min(next.saturating_add(STRETCH));
                    *next = stretch.end;
                    let matches = |row: &u32| matching.is_none_or(|matching| matching.has(*row as usize));
                    stretch.filter(matches).for_each(|row| add(row, f64::NAN));
                    Listed { is_last: *next == sealed.rows, work: Work::default() }
                }
            }
        });
        step.work.estimated += listed.work.estimated;
        step.work.compared += listed.work.compared;
        if listed.is_last {
            self.segment += 1;
        } else {
            self.sealed = Some(of_segment);
        }
        true
    }

    /// Lists the next lane of a growing segment.
    fn list_lane(&mut self, relation: Relation) {
        let (segment, state) = &self.growing[0];
        if self.lane == 0 {
            self.steps.push(StepReport::new(Some(segment.segment), state, "scan"));
        }
        if self.lane >= segment.lanes.len() {
            self.growing.remove(0);
            self.lane = 0;
            return;
        }
        let step = self.steps.last_mut().expect("a segment begins with its step");
        let meta = &*self.snapshot.meta;
        let (lane, conditions, ready) = (self.lane, &self.conditions, &mut self.ready);
        let bound = self.range.as_ref().map(|bound| {
            let coded = bound.coded.as_ref();
            (GrowingView { relation, meta, query: &bound.query, coded }, bound.threshold)
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

    fn begin_segment(&mut self, relation: Relation, sealed: SealedRef) -> OfSegment {
        let meta = &self.snapshot.meta;
        let structure = structure_of(&meta.structure);
        let mut step = StepReport::new(Some(sealed.id), structure.name(), "flat");
        step.rows = sealed.rows.into();
        let matching =
            step.observe(|| matching::matching(relation, meta, sealed.segment(), &self.conditions));
        step.matches = matching.as_ref().map(|matching| matching.count() as u64);
        let rows = match &self.range {
            None => Rows::All { next: 0 },
            Some(range) => {
                let view = range.view(sealed, &self.snapshot, matching.as_deref());
                Rows::Within(step.observe(|| structure.listing(view)))
            }
        };
        self.steps.push(step);
        OfSegment { matching, rows }
    }
}

/// The listing of one sealed segment.
struct OfSegment {
    /// The matching rows; `None` for all.
    matching: Option<Rc<Bitset>>,
    rows: Rows,
}

enum Rows {
    Within(Box<dyn SegmentListing>),
    /// All matching rows from `next` on.
    All {
        next: u32,
    },
}
