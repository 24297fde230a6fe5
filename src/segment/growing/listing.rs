//! The rows of a growing segment in no particular order.

use super::group::GroupLayout;
use super::read::{Lane, RowCursor};
use super::search::{GrowingView, matches, score};
use crate::codec::layout::block::{Centre, Estimates};
use crate::filter::Condition;
use crate::memory;
use crate::pg::relation::Relation;
use crate::search::rerank::Work;
use crate::segment::Tid;
use crate::segment::threshold::{ROWS, Threshold, Verdict};
use crate::storage::meta::{Growing, Meta};

/// The result of listing a lane.
pub struct LaneListed {
    pub rows: u64,
    pub work: Work,
}

/// Calls `visit` with the rows of a lane that may meet the conditions and lie within the bound, if
/// one is given.
pub fn list(
    relation: Relation,
    meta: &Meta,
    growing: &Growing,
    lane: usize,
    conditions: &[Condition],
    bound: Option<(GrowingView, Threshold)>,
    visit: &mut dyn FnMut(Tid, f64),
) -> LaneListed {
    let layout = GroupLayout::of(meta);
    let lane = Lane::read(relation, growing, lane);
    let mut work = Work::default();
    let coded = bound.and_then(|(view, _)| view.coded).filter(|_| layout.has_codes());
    let coded = coded.map(|coded| (coded, Centre::origin(meta.space.metric, &coded.vector)));
    // Compared after all groups are read: rows lie on other pages.
    let mut unknown: Vec<(usize, Option<u64>, Tid)> = Vec::new();
    lane.for_each_group(relation, layout, |group, first, count| {
        let estimates = coded.map(|(coded, centre)| {
            work.estimated += count as u64;
            layout.estimate(group, &coded.tables, centre).expect("the groups have codes")
        });
        for place in (0..count).filter(|&place| matches(layout, conditions, group, place)) {
            let verdict = match (&estimates, bound) {
                (Some(Estimates { scores, errors }), Some((_, threshold))) => {
                    threshold.judge(scores[place], errors[place])
                }
                (None, Some(_)) => Verdict::Unknown,
                (_, None) => Verdict::Within,
            };
            let tid = layout.tid(group, place);
            match verdict {
                Verdict::Within => visit(tid, f64::NAN),
                Verdict::Beyond => {}
                Verdict::Unknown => {
                    memory::push(&mut unknown, (first + place, layout.offset(group, place), tid), ROWS);
                }
            }
        }
    });
    if let Some((view, threshold)) = bound {
        let mut cursor = RowCursor::new(relation, &lane);
        work.compared += unknown.len() as u64;
        for (row, offset, tid) in unknown {
            let score = score(view, &mut cursor, row, offset);
            if threshold.admits(score) {
                visit(tid, score);
            }
        }
    }
    LaneListed { rows: lane.rows() as u64, work }
}
