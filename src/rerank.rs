//! Re-ranking by bound: an exact score is computed only for what may still come next.
//!
//! Candidates have an estimated score and a bound on its error. They come out in ascending order of exact scores, as
//! many as are asked for; a candidate is compared once its lower bound is the least of all.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Something in the order of its key.
#[derive(Clone, Copy, Debug)]
pub struct Keyed<K, T> {
    pub key: K,
    pub value: T,
}

/// Numbers in their total order.
pub trait Key: Copy {
    fn compare(self, other: Self) -> Ordering;
}

impl Key for f32 {
    fn compare(self, other: Self) -> Ordering {
        self.total_cmp(&other)
    }
}

impl Key for f64 {
    fn compare(self, other: Self) -> Ordering {
        self.total_cmp(&other)
    }
}

impl<K: Key, T: Ord> Ord for Keyed<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.compare(other.key).then_with(|| self.value.cmp(&other.value))
    }
}

impl<K: Key, T: Ord> PartialOrd for Keyed<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Key, T: Ord> PartialEq for Keyed<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Key, T: Ord> Eq for Keyed<K, T> {}

/// A candidate as it was added.
#[derive(Clone, Copy, Debug)]
struct Estimated<T> {
    estimate: f32,
    error: f32,
    value: T,
}

/// Candidates and those of them that were compared.
pub struct Reranker<T> {
    /// By lower bound.
    candidates: BinaryHeap<Reverse<Keyed<f32, T>>>,
    /// Candidates that cannot be among the first [`FIRST`]: most of them, put in order only if somebody wants more.
    later: Vec<Estimated<T>>,
    /// The least lower bound of those for later.
    least_later: f32,
    /// The least upper bounds of all candidates so far, [`FIRST`] at most.
    uppers: BinaryHeap<Keyed<f32, ()>>,
    /// By exact score.
    compared: BinaryHeap<Reverse<Keyed<f64, T>>>,
    last: f64,
}

/// So many rows a search wants most likely at most.
const FIRST: usize = 64;
/// Candidates compared at once, so that the memory of one is on its way while another is looked at.
const TOGETHER: usize = 6;

/// Who wants more than [`FIRST`] wants all of them: then the bound allows for so many times the error.
const LATER_ERRORS: f32 = 2.0;

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step<T> {
    /// The next in order, and its exact score.
    Next(T, f64),
    /// Compare these and tell by [`Reranker::compared`].
    Compare(Vec<T>),
    /// There are no candidates left.
    Empty,
}

impl<T: Copy + Ord> Default for Reranker<T> {
    fn default() -> Self {
        Self {
            candidates: BinaryHeap::new(),
            later: Vec::new(),
            least_later: f32::INFINITY,
            uppers: BinaryHeap::new(),
            compared: BinaryHeap::new(),
            last: f64::NEG_INFINITY,
        }
    }
}

impl<T: Copy + Ord> Reranker<T> {
    /// Adds a candidate whose score is `estimate`, give or take `error`; an infinite error means that nothing is known.
    pub fn add(&mut self, value: T, estimate: f32, error: f32) {
        let candidate = Keyed { key: estimate - error, value };
        if self.uppers.len() < FIRST {
            self.uppers.push(Keyed { key: estimate + error, value: () });
        } else if let Some(mut greatest) = self.uppers.peek_mut() {
            if candidate.key > greatest.key {
                self.least_later = self.least_later.min(candidate.key);
                self.later.push(Estimated { estimate, error, value });
                return;
            }
            if estimate + error < greatest.key {
                greatest.key = estimate + error;
            }
        }
        self.candidates.push(Reverse(candidate));
    }

    /// Tells a candidate's exact score.
    pub fn compared(&mut self, value: T, score: f64) {
        self.compared.push(Reverse(Keyed { key: score, value }));
    }

    /// What comes next. Whatever is found too late for the order, because its bound was wrong or because it was added
    /// late, is left out.
    pub fn step(&mut self) -> Step<T> {
        loop {
            let bound = self.candidates.peek().map_or(f32::INFINITY, |candidate| candidate.0.key);
            let none_left = self.candidates.is_empty() && self.later.is_empty();
            if let Some(Reverse(next)) = self.compared.peek().copied()
                && (none_left || next.key <= f64::from(bound.min(self.least_later)))
            {
                self.compared.pop();
                if next.key < self.last {
                    continue;
                }
                self.last = next.key;
                return Step::Next(next.value, next.key);
            }
            if none_left {
                return Step::Empty;
            }
            if self.candidates.is_empty() || self.least_later < bound {
                let later = self.later.drain(..).map(|Estimated { estimate, error, value }| {
                    Reverse(Keyed { key: estimate - LATER_ERRORS * error, value })
                });
                self.candidates.extend(later);
                self.least_later = f32::INFINITY;
            }
            return Step::Compare(self.most_promising());
        }
    }

    fn most_promising(&mut self) -> Vec<T> {
        let least = self.compared.peek().map_or(f64::INFINITY, |compared| compared.0.key);
        let mut values = Vec::with_capacity(TOGETHER);
        while values.len() < TOGETHER
            && let Some(Reverse(candidate)) = self.candidates.peek()
            && (values.is_empty() || f64::from(candidate.key) < least)
        {
            values.push(candidate.value);
            self.candidates.pop();
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything in order, and how many were compared before the first `count` were out.
    fn drain(reranker: &mut Reranker<u32>, exact: &[f64], count: usize) -> (Vec<u32>, usize) {
        let (mut out, mut compared) = (Vec::new(), 0);
        loop {
            match reranker.step() {
                Step::Next(value, score) => {
                    assert_eq!(score, exact[value as usize]);
                    out.push(value);
                }
                Step::Compare(values) => {
                    compared += if out.len() < count { values.len() } else { 0 };
                    values.into_iter().for_each(|value| reranker.compared(value, exact[value as usize]));
                }
                Step::Empty => return (out, compared),
            }
        }
    }

    proptest! {
        #[test]
        fn true_bounds_give_everything_in_order(
            rows in prop::collection::vec((-100f32..100.0, 0f32..20.0, -1f32..=1.0), 0..600)
        ) {
            let mut reranker = Reranker::default();
            let mut exact = Vec::new();
            for (value, (estimate, error, off)) in (0..).zip(&rows) {
                exact.push(f64::from(estimate + error * off * 0.99));
                reranker.add(value, *estimate, *error);
            }
            let (out, _) = drain(&mut reranker, &exact, 0);
            prop_assert_eq!(out.len(), rows.len());
            prop_assert!(out.is_sorted_by(|a, b| exact[*a as usize] <= exact[*b as usize]));
        }
    }

    #[test]
    fn few_are_compared() {
        let mut reranker = Reranker::default();
        let exact: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7919 % 10_000)).collect();
        (0..10_000).for_each(|i| reranker.add(i, exact[i as usize] as f32, 20.0));
        let (out, compared) = drain(&mut reranker, &exact, 10);
        assert_eq!(out.len(), 10_000);
        assert!((29..60).contains(&compared), "{compared}");
    }

    #[test]
    fn what_nothing_is_known_of_is_compared() {
        let mut reranker = Reranker::default();
        let exact: Vec<f64> = (0..200).map(|i| f64::from(i * 77 % 200)).collect();
        (0..200).for_each(|i| reranker.add(i, 0.0, f32::INFINITY));
        let (out, compared) = drain(&mut reranker, &exact, 1);
        assert_eq!((out.len(), compared), (200, 200));
    }

    #[test]
    fn what_comes_too_late_is_left_out() {
        let mut reranker = Reranker::default();
        let exact = [5.0, 3.0, 7.0];
        reranker.add(0, 5.0, 0.1);
        assert_eq!(reranker.step(), Step::Compare(vec![0]));
        reranker.compared(0, 5.0);
        assert_eq!(reranker.step(), Step::Next(0, 5.0));
        reranker.add(1, 3.0, 0.1);
        reranker.add(2, 7.0, 0.1);
        assert_eq!(drain(&mut reranker, &exact, 0).0, [2]);
    }
}
