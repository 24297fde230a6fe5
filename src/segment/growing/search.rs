//! Search of one growing segment: codes decide which rows are compared.

use super::group::GroupLayout;
use super::read::{Lane, RowCursor};
use crate::codec::encoder::CodedQuery;
use crate::codec::layout::block::Centre;
use crate::distance::PreparedQuery;
use crate::filter::{Condition, condition};
use crate::pg::buffer::PageCopy;
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::search::rerank::{IterativeScan, Reranker, Step, Work};
use crate::segment::request::Hit;
use crate::segment::row_layout;
use crate::storage::meta::{Growing, Meta};
use crate::storage::page;

/// What a search reads.
#[derive(Clone, Copy)]
pub struct GrowingView<'a> {
    pub relation: Relation,
    pub meta: &'a Meta,
    pub query: &'a PreparedQuery,
    /// The query as codes see it, if the index has any.
    pub coded: Option<&'a CodedQuery>,
}

/// A row of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneRow {
    lane: u32,
    row: u32,
}

/// The state of a search between two calls. It holds no pins.
pub struct GrowingSearch {
    layout: GroupLayout,
    lanes: Vec<Lane>,
    conditions: Vec<Condition>,
    rows: Reranker<LaneRow>,
    /// For each group the limit under which its rows were offered (see [`Reranker::offer`]).
    limits: Vec<f32>,
}

impl GrowingSearch {
    /// Scans every row that is published now and may meet the conditions, for those `within` a
    /// score.
    pub fn new(
        view: GrowingView,
        growing: &Growing,
        conditions: &[Condition],
        within: Option<f64>,
        iterative_scan: IterativeScan,
    ) -> Self {
        let layout = GroupLayout::of(view.meta);
        let lanes = (0..growing.lanes.len()).map(|lane| Lane::read(view.relation, growing, lane)).collect();
        let conditions = conditions.to_vec();
        let mut search = Self {
            layout,
            lanes,
            conditions,
            rows: Reranker::new(within, iterative_scan),
            limits: Vec::new(),
        };
        match view.coded.filter(|_| layout.has_codes()) {
            Some(coded) => search.scan_codes(view, coded, true),
            None => search.scan_rows(view),
        }
        search
    }

    /// Offers all rows for the first time, or recalls those that were skipped then.
    fn scan_codes(&mut self, view: GrowingView, coded: &CodedQuery, first_time: bool) {
        let centre = Centre::origin(view.meta.space.metric, &coded.vector);
        let (layout, rows, limits) = (self.layout, &mut self.rows, &mut self.limits);
        let conditions = &self.conditions;
        let mut number_of_group = 0;
        for (number, lane) in (0..).zip(&self.lanes) {
            lane.for_each_group(view.relation, layout, |group, first, count| {
                let estimates = layout.estimate(group, &coded.tables, centre).expect("the groups have codes");
                let (scores, errors) = (&estimates.scores[..count], &estimates.errors[..count]);
                let row = |place| {
                    let row = LaneRow { lane: number, row: (first + place) as u32 };
                    matches(layout, conditions, group, place).then_some(row)
                };
                if first_time {
                    limits.push(rows.offer(scores, errors, u32::MAX, row));
                } else {
                    let limit = &mut limits[number_of_group];
                    *limit = rows.reconsider(scores, errors, *limit, row);
                    number_of_group += 1;
                }
            });
        }
    }

    fn scan_rows(&mut self, view: GrowingView) {
        let (layout, rows, conditions) = (self.layout, &mut self.rows, &self.conditions);
        for (number, lane) in (0..).zip(&self.lanes) {
            let mut cursor = RowCursor::new(view.relation, lane);
            lane.for_each_group(view.relation, layout, |group, first, count| {
                for place in (0..count).filter(|&place| matches(layout, conditions, group, place)) {
                    let row = first + place;
                    let score = score(view, &mut cursor, row, layout.offset(group, place));
                    rows.compared(LaneRow { lane: number, row: row as u32 }, score);
                }
            });
        }
    }

    /// Rows published when the search began.
    pub fn rows(&self) -> usize {
        self.lanes.iter().map(Lane::rows).sum()
    }

    pub fn work(&self) -> Work {
        self.rows.work()
    }

    /// Whether the next row is known to have this score, too.
    pub fn has_tie(&self, score: f64) -> bool {
        self.rows.has_tie(score)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// The next nearest row.
    pub fn next(&mut self, view: GrowingView) -> Option<Hit> {
        loop {
            match self.rows.step() {
                Step::Next(LaneRow { lane, row }, score) => {
                    let (number, at, place) = self.layout.place(row as usize);
                    let mut page = PageCopy::blank();
                    self.lanes[lane as usize].groups(view.relation, number, &mut page);
                    let group = &page::payload(&page.0)[at..][..self.layout.bytes()];
                    if !self.layout.is_dead(group, place) {
                        return Some(Hit { score, tid: self.layout.tid(group, place) });
                    }
                }
                Step::Compare(mut rows) => {
                    rows.sort_unstable();
                    for rows in rows.chunk_by(|a, b| a.lane == b.lane) {
                        let mut cursor = RowCursor::new(view.relation, &self.lanes[rows[0].lane as usize]);
                        for &row in rows {
                            let score = score(view, &mut cursor, row.row as usize, None);
                            self.rows.compared(row, score);
                        }
                    }
                }
                Step::Reconsider => {
                    let coded = view.coded.expect("only rows with codes are skipped");
                    self.scan_codes(view, coded, false);
                }
                Step::Empty => return None,
            }
        }
    }
}

/// Whether a row of a group is alive and may meet the conditions.
pub(super) fn matches(layout: GroupLayout, conditions: &[Condition], group: &[u8], place: usize) -> bool {
    !layout.is_dead(group, place)
        && (conditions.is_empty() || condition::accept(conditions, layout.attributes_of(group, place)))
}

pub(super) fn score(view: GrowingView, cursor: &mut RowCursor, row: usize, offset: Option<u64>) -> f64 {
    let space = view.meta.space;
    let bytes = cursor.row(row_layout(space), space.row_bytes(), row, offset);
    view.query.score(bytes).unwrap_or_else(|| {
        Problem::corrupt(format!("index \"{}\" has a damaged row", view.relation.name())).raise()
    })
}
