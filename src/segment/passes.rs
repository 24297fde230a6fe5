//! Rows in ascending order of score in little memory: pass by pass over all rows, each of which keeps the nearest of those
//! that the passes before have not returned.

use super::Tid;
use super::listing::{Bound, Listing, Wanted};
use super::search::{HeapRows, Hit};
use crate::distance::PreparedQuery;
use crate::filter::Condition;
use crate::pg::relation::Relation;
use crate::storage::manifest::Snapshot;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The rows that a search in exact order has returned: all below a score, and some of that score.
#[derive(Clone, Debug, Default)]
pub struct Returned {
    score: Option<f64>,
    at_score: Vec<Tid>,
}

impl Returned {
    /// Adds a row, whose score is no less than those before.
    pub fn note(&mut self, hit: Hit) {
        if self.score.is_none_or(|score| score.total_cmp(&hit.score).is_ne()) {
            self.at_score.clear();
        }
        self.score = Some(hit.score);
        self.at_score.push(hit.tid);
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
    query: PreparedQuery,
    conditions: Vec<Condition>,
    within: f64,
    /// Rows that a pass keeps.
    room: usize,
    /// What was returned last, by this search or by one before it.
    last: Returned,
    /// The rows of a pass, the nearest at the end.
    ready: Vec<Hit>,
    is_last_pass: bool,
}

impl Passes {
    /// Passes that go on after some rows and keep to `bytes`.
    pub fn after(
        last: Returned,
        snapshot: Snapshot,
        query: PreparedQuery,
        conditions: Vec<Condition>,
        within: Option<f64>,
        bytes: usize,
    ) -> Self {
        Self {
            snapshot,
            query,
            conditions,
            within: within.unwrap_or(f64::INFINITY),
            room: (bytes / size_of::<Hit>()).max(1),
            last,
            ready: Vec::new(),
            is_last_pass: false,
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

    fn pass(&mut self, relation: Relation, heap: &mut HeapRows) {
        let wanted = Wanted { within: self.within, scores: true };
        let bound = Bound::new(&self.snapshot, self.query.clone(), wanted);
        let mut listing = Listing::new(relation, self.snapshot.clone(), self.conditions.clone(), Some(bound));
        let mut nearest = BinaryHeap::new();
        while let Some(hit) = listing.next(relation, heap) {
            if self.last.has(hit) {
                continue;
            }
            if nearest.len() < self.room {
                nearest.push(hit);
            } else if nearest.peek().is_some_and(|farthest| hit < *farthest) {
                nearest.pop();
                nearest.push(hit);
                listing.narrow(nearest.peek().map_or(self.within, |farthest| farthest.score));
            }
        }
        self.is_last_pass = nearest.len() < self.room;
        self.ready = nearest.into_sorted_vec();
        self.ready.reverse();
    }
}
