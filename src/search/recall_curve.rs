//! How recall grows with the effort of a search: what a calibration has measured, and what it says
//! for a target.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Neighbours over which recall is measured.
pub const K: usize = 10;

/// Recall as it is stored: in millionths.
const WHOLE: f64 = 1e6;

/// The mean recall of the first [`K`] neighbours for some efforts, which ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    points: Vec<(u32, u32)>,
}

impl Curve {
    /// Adds a greater effort. Greater effort does not find less: a lower recall is noise.
    pub fn push(&mut self, effort: u32, recall: f64) {
        let least = self.points.last().map_or(0, |&(_, recall)| recall);
        self.points.push((effort, ((recall * WHOLE).round() as u32).max(least)));
    }

    /// Efforts and their recall.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = (u32, f64)> {
        self.points.iter().map(|&(effort, recall)| (effort, f64::from(recall) / WHOLE))
    }

    /// The least effort that should reach a recall; the greatest one measured if none does. `None`
    /// if nothing was measured.
    ///
    /// Between two points recall grows with the logarithm of the effort.
    pub fn effort_for(&self, recall: f64) -> Option<u32> {
        let mut before = None;
        for (effort, reached) in self.points() {
            if reached >= recall {
                let Some((less, short)) = before.replace((effort, reached)) else { return Some(effort) };
                let (less, more) = (f64::from(less).ln(), f64::from(effort).ln());
                let share = (recall - short) / (reached - short);
                return Some((less + share * (more - less)).exp().round() as u32);
            }
            before = Some((effort, reached));
        }
        before.map(|(effort, _)| effort)
    }
}

/// A row by its score.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scored<T> {
    score: f64,
    row: T,
}

impl<T: PartialEq> Eq for Scored<T> {}

impl<T: PartialEq> PartialOrd for Scored<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: PartialEq> Ord for Scored<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score)
    }
}

/// The [`K`] nearest rows of all that were offered.
pub struct Nearest<T> {
    rows: BinaryHeap<Scored<T>>,
}

impl<T: Copy + PartialEq> Nearest<T> {
    pub fn new() -> Self {
        Self { rows: BinaryHeap::with_capacity(K + 1) }
    }

    pub fn offer(&mut self, row: T, score: f64) {
        if self.rows.len() < K || score < self.farthest() {
            self.rows.push(Scored { score, row });
        }
        if self.rows.len() > K {
            self.rows.pop();
        }
    }

    /// The greatest score of those rows.
    fn farthest(&self) -> f64 {
        self.rows.peek().map_or(f64::NEG_INFINITY, |farthest| farthest.score)
    }

    /// The share of these rows that an answer has, given in order of score.
    ///
    /// Rows that are nearer than the farthest and not among these are not visible to every
    /// snapshot, and do not count. At the farthest one's distance there may be more rows; those
    /// count.
    pub fn recall(&self, answer: impl IntoIterator<Item = (T, f64)>) -> f64 {
        let farthest = self.farthest();
        let is_among = |row: T| self.rows.iter().any(|scored| scored.row == row);
        let near = answer.into_iter().take_while(|&(_, score)| score <= farthest);
        let found =
            near.filter(|&(row, score)| score == farthest || is_among(row)).take(self.rows.len()).count();
        found as f64 / self.rows.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_lie_between_what_was_measured() {
        let mut curve = Curve::default();
        assert_eq!(curve.effort_for(0.9), None);
        for (effort, recall) in [(10, 0.7), (20, 0.8), (40, 0.9), (80, 0.89), (160, 0.99)] {
            curve.push(effort, recall);
        }
        assert_eq!(curve.effort_for(0.5), Some(10));
        assert_eq!(curve.effort_for(0.8), Some(20));
        assert_eq!(curve.effort_for(0.85), Some(28), "half the way, by the logarithm");
        assert_eq!(curve.effort_for(0.9), Some(40), "what seems to fall is noise");
        assert_eq!(curve.effort_for(0.999), Some(160), "the most that was tried");
    }

    #[test]
    fn recall_counts_what_is_among_the_nearest() {
        let mut nearest = Nearest::new();
        for row in 0..100 {
            nearest.offer(row, f64::from(row * 37 % 100));
        }
        // Scores 0 to 9.
        let row_at = |score: i32| (0..100).find(|row| row * 37 % 100 == score).unwrap();
        let answer = |scores: &[i32]| -> Vec<_> {
            scores.iter().map(|&score| (row_at(score), f64::from(score))).collect()
        };
        assert_eq!(nearest.recall(answer(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])), 1.0);
        assert_eq!(nearest.recall(answer(&[0, 2, 4, 11, 12])), 0.3);
        assert_eq!(nearest.recall([(1000, 0.5), (row_at(3), 3.0)]), 0.1, "a row that is not there");
        assert_eq!(nearest.recall([(row_at(3), 3.0), (2000, 9.0)]), 0.2, "a tie");
    }
}
