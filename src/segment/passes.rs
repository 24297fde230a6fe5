//! Rows in ascending order of score in little memory: pass by pass over all rows, each of which keeps the nearest of those
//! that the passes before have not returned.

use super::listing::{Bound, Listing, Wanted};
use super::search::{HeapRows, Hit};
use crate::distance::PreparedQuery;
use crate::filter::Condition;
use crate::pg::relation::Relation;
use crate::storage::manifest::Snapshot;
use std::collections::BinaryHeap;

/// Passes under way. Between two calls they hold neither pins nor locks.
pub struct Passes {
    snapshot: Snapshot,
    query: PreparedQuery,
    conditions: Vec<Condition>,
    within: f64,
    /// Rows that a pass keeps.
    room: usize,
    /// The row returned last, by this search or by one before it.
    last: Option<Hit>,
    /// The rows of a pass, the nearest at the end.
    ready: Vec<Hit>,
    is_last_pass: bool,
}

impl Passes {
    /// Passes that go on after a row and keep to so many bytes.
    pub fn after(
        last: Option<Hit>,
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
        self.last = Some(hit);
        Some(hit)
    }

    fn pass(&mut self, relation: Relation, heap: &mut HeapRows) {
        let wanted = Wanted { within: self.within, scores: true };
        let bound = Bound::new(&self.snapshot, self.query.clone(), wanted);
        let mut listing = Listing::new(relation, self.snapshot.clone(), self.conditions.clone(), Some(bound));
        let mut nearest = BinaryHeap::new();
        while let Some(hit) = listing.next(relation, heap) {
            if self.last.is_some_and(|last| hit <= last) {
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
