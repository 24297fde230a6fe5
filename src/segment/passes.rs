//! Rows in ascending order of score in little memory, by repeated passes over all rows. Each pass
//! keeps the nearest of the rows not returned yet.

use super::Tid;
use super::listing::{Listing, RangeQuery};
use super::report::StepReport;
use crate::distance::PreparedQuery;
use crate::filter::Condition;
use crate::memory;
use crate::pg::relation::Relation;
use crate::segment::request::{HeapRows, Hit};
use crate::segment::threshold::Threshold;
use crate::storage::snapshot::Snapshot;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};

/// The rows that a search in exact order has returned: all below a score, and some of that score.
#[derive(Debug, Default)]
pub struct Returned {
    score: Option<f64>,
    at_score: HashSet<Tid>,
}

impl Returned {
    /// Adds a row, whose score is no less than those before.
    pub fn note(&mut self, hit: Hit) {
        if self.score.is_none_or(|score| score.total_cmp(&hit.score).is_ne()) {
            self.at_score.clear();
        }
        self.score = Some(hit.score);
        memory::reserve_set(&mut self.at_score, 1, "rows of one score");
        self.at_score.insert(hit.tid);
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.at_score.capacity() * size_of::<Tid>()
    }

    fn has(&self, hit: Hit) -> bool {
        self.score.is_some_and(|score| match hit.score.total_cmp(&score) {
            Ordering::Less => true,
            Ordering::Equal => self.at_score.contains(&hit.tid),
            Ordering::Greater => false,
        })
    }
}

/// Passes under way. Between two calls they hold neither pins nor locks.
pub struct Passes {
    snapshot: Snapshot,
    bound: RangeQuery,
    conditions: Vec<Condition>,
    /// The most rows that a pass keeps.
    room: usize,
    /// The rows returned so far, those before the passes included.
    last: Returned,
    /// The rows of a pass, the nearest at the end.
    ready: Vec<Hit>,
    is_last_pass: bool,
    steps: Vec<StepReport>,
}

impl Passes {
    /// Passes that go on after the rows `last`, each with at most `bytes` bytes of hits.
    pub fn after(
        last: Returned,
        snapshot: Snapshot,
        query: PreparedQuery,
        conditions: Vec<Condition>,
        within: Option<f64>,
        bytes: usize,
    ) -> Self {
        let threshold = Threshold { within: within.unwrap_or(f64::INFINITY), exact: true };
        Self {
            bound: RangeQuery::new(&snapshot, query, threshold),
            snapshot,
            conditions,
            room: (bytes / size_of::<Hit>()).max(1),
            last,
            ready: Vec::new(),
            is_last_pass: false,
            steps: Vec::new(),
        }
    }

    pub fn next(&mut self, relation: Relation, heap: &mut HeapRows) -> Option<Hit> {
        if self.ready.is_empty() && !self.is_last_pass {
            self.pass(relation, heap);
        }
        let hit = self.ready.pop()?;
        self.last.note(hit);
        Some(hit)
    }

    /// What the passes have done so far.
    pub fn steps(&self) -> impl Iterator<Item = StepReport> {
        self.steps.iter().cloned()
    }

    fn pass(&mut self, relation: Relation, heap: &mut HeapRows) {
        let (conditions, bound) = (self.conditions.clone(), self.bound.clone());
        let mut listing = Listing::new(self.snapshot.clone(), conditions, Some(bound));
        let mut nearest = BinaryHeap::new();
        while let Some(hit) = listing.next(relation, heap) {
            if self.last.has(hit) {
                continue;
            }
            if nearest.len() < self.room {
                memory::push_to_heap(&mut nearest, hit, "rows of a pass");
            } else if nearest.peek().is_some_and(|farthest| hit < *farthest) {
                nearest.pop();
                nearest.push(hit);
                if let Some(farthest) = nearest.peek() {
                    listing.narrow(farthest.score);
                }
            }
        }
        self.is_last_pass = nearest.len() < self.room;
        // The rows that a listing has returned are only candidates of a pass.
        let steps = listing.steps().map(|step| StepReport { step: "pass", returned: 0, ..step });
        self.steps.extend(steps);
        self.ready = nearest.into_sorted_vec();
        self.ready.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_score_are_told_apart() {
        let hit = |score: f64, row: u8| Hit { score, tid: [row; 6] };
        let mut returned = Returned::default();
        assert!(!returned.has(hit(f64::NEG_INFINITY, 0)));
        returned.note(hit(1.0, 9));
        returned.note(hit(2.0, 5));
        returned.note(hit(2.0, 7));
        assert!(returned.has(hit(1.5, 1)) && returned.has(hit(2.0, 5)) && returned.has(hit(2.0, 7)));
        assert!(!returned.has(hit(2.0, 3)) && !returned.has(hit(2.5, 5)) && !returned.has(hit(f64::NAN, 5)));
    }
}
