//! Re-ranking by bound: an exact score is computed only for a candidate that may still come next.
//!
//! Candidates have an estimated score and a bound on its error. They come out in ascending order of
//! exact scores, as many as the caller asks for. A candidate is compared once its lower bound is
//! the least of all.

use crate::memory;
use crate::util::bits;
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

/// What a search has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Codes whose scores were estimated.
    pub estimated: u64,
    /// Vectors that were compared exactly.
    pub compared: u64,
}

/// How a search goes on after its first results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IterativeScan {
    /// In exact order: a result that is found too late for it is left out.
    #[default]
    Strict,
    /// A result that is found late comes late.
    Relaxed,
    /// Not at all.
    Off,
}

/// Candidates and those of them that were compared.
pub struct Reranker<T> {
    /// By lower bound.
    candidates: BinaryHeap<Reverse<Keyed<f32, T>>>,
    /// A candidate with a greater lower bound is skipped: it cannot be among the `first` requested.
    limit: f32,
    first: usize,
    /// No skipped candidate has a lesser lower bound.
    least_skipped: f32,
    /// Nothing is skipped any more, except candidates beyond the bound.
    wants_all: bool,
    /// The multiple of its error that a candidate is allowed, and the one before the last recall.
    allowance: f32,
    allowance_before: f32,
    /// The least upper bounds of all candidates since the last recall, `first` at most.
    uppers: BinaryHeap<Keyed<f32, ()>>,
    /// By exact score.
    compared: BinaryHeap<Reverse<Keyed<f64, T>>>,
    iterative_scan: IterativeScan,
    last: f64,
    work: Work,
}

/// What the memory is for, in messages.
const CANDIDATES: &str = "candidates of a search";
/// Rows that a search most likely requests at most. If it requests more, the number grows by the
/// factor [`MORE`]; beyond [`MOST`] all rows are requested.
const FIRST: usize = 64;
const MORE: usize = 8;
const MOST: usize = 4096;
/// Candidates compared at once, so that the memory of one is on its way while another is looked at.
const TOGETHER: usize = 6;

/// A search for more than [`FIRST`] rows may go on to the end, and nothing may be lost on the way.
/// From then on the bound allows for this multiple of the error.
const DEEP_ERRORS: f32 = 2.0;

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step<T> {
    /// The next in order, and its exact score.
    Next(T, f64),
    /// Compare these and report their scores to [`Reranker::compared`].
    Compare(Vec<T>),
    /// Offer everything again to [`Reranker::reconsider`], in the same order.
    Reconsider,
    /// There are no candidates left.
    Empty,
}

impl<T: Copy + Ord> Default for Reranker<T> {
    fn default() -> Self {
        Self {
            candidates: BinaryHeap::new(),
            limit: f32::INFINITY,
            first: FIRST,
            least_skipped: f32::INFINITY,
            wants_all: false,
            allowance: 1.0,
            allowance_before: 1.0,
            uppers: BinaryHeap::new(),
            compared: BinaryHeap::new(),
            iterative_scan: IterativeScan::default(),
            last: f64::NEG_INFINITY,
            work: Work::default(),
        }
    }
}

impl<T: Copy + Ord> Reranker<T> {
    /// For all candidates whose score is at most `bound`; without a bound, for the first ones in
    /// order.
    pub fn new(bound: Option<f64>, iterative_scan: IterativeScan) -> Self {
        // Rounding must not leave out what is on the bound.
        let limit = bound.map_or(f32::INFINITY, |bound| (bound as f32).next_up());
        let allowance = if bound.is_some() { DEEP_ERRORS } else { 1.0 };
        Self { limit, wants_all: bound.is_some(), allowance, iterative_scan, ..Self::default() }
    }

    /// A reranker for a share of the candidates, to be offered on another thread. It begins with
    /// the state of this one; [`Self::absorb`] merges it.
    pub fn share(&self) -> Self {
        let Self { limit, first, wants_all, allowance, allowance_before, iterative_scan, last, .. } = *self;
        Self { limit, first, wants_all, allowance, allowance_before, iterative_scan, last, ..Self::default() }
    }

    /// Takes over the candidates of a [`Self::share`], none of which was compared.
    pub fn absorb(&mut self, mut share: Self) {
        self.candidates.append(&mut share.candidates);
        self.least_skipped = self.least_skipped.min(share.least_skipped);
        self.work.estimated += share.work.estimated;
        share.uppers.drain().for_each(|upper| self.bound_first(upper.key));
    }

    /// Continues an order that another search has brought up to this score.
    pub fn go_on_from(&mut self, score: f64) {
        self.last = self.last.max(score);
    }

    /// The greatest score returned so far.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Takes back the result that [`Self::step`] has just returned; `last` is the value of
    /// [`Self::last`] before it.
    pub fn take_back(&mut self, value: T, score: f64, last: f64) {
        memory::push_to_heap(&mut self.compared, Reverse(Keyed { key: score, value }), CANDIDATES);
        self.last = last;
    }

    pub fn work(&self) -> Work {
        self.work
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.candidates.capacity() * size_of::<Keyed<f32, T>>()
            + self.compared.capacity() * size_of::<Keyed<f64, T>>()
    }

    /// Adds a candidate whose score is `estimate`, give or take `error`. An infinite error means
    /// that nothing is known.
    pub fn add(&mut self, value: T, estimate: f32, error: f32) {
        let error = self.allowance * error;
        let lower = estimate - error;
        // Numbers that overflow bound nothing.
        let key = if lower.is_nan() { f32::NEG_INFINITY } else { lower };
        memory::push_to_heap(&mut self.candidates, Reverse(Keyed { key, value }), CANDIDATES);
        let upper = estimate + error;
        self.bound_first(if upper.is_nan() { f32::INFINITY } else { upper });
    }

    /// Takes note of an upper bound.
    fn bound_first(&mut self, upper: f32) {
        let upper = Keyed { key: upper, value: () };
        if self.uppers.len() < self.first {
            self.uppers.push(upper);
        } else if let Some(mut greatest) = self.uppers.peek_mut()
            && upper < *greatest
        {
            *greatest = upper;
        }
        if self.uppers.len() == self.first && !self.wants_all {
            self.limit = self.uppers.peek().map_or(f32::INFINITY, |greatest| greatest.key);
        }
    }

    /// Adds those of at most 32 candidates that may be among the first, and skips the rest.
    ///
    /// A place holds a candidate if its bit in `matching` is set and `value` returns one. Returns
    /// the limit that decided, which [`Self::reconsider`] needs.
    pub fn offer(
        &mut self,
        scores: &[f32],
        errors: &[f32],
        matching: u32,
        value: impl Fn(usize) -> Option<T>,
    ) -> f32 {
        let (limit, allowance) = (self.limit, self.allowance);
        self.work.estimated += scores.len() as u64;
        // Bytes first: that loop runs on vector registers.
        let mut flags = [0u8; u32::BITS as usize];
        for (flag, (score, error)) in flags.iter_mut().zip(scores.iter().zip(errors)) {
            *flag = (!is_beyond(score - allowance * error, limit)).into();
        }
        let passes = bits::pack(&flags);
        if !self.wants_all && passes.count_ones() < scores.len() as u32 {
            // No skipped candidate has a lesser bound.
            self.least_skipped = self.least_skipped.min(limit);
        }
        for place in bits::places(passes & matching) {
            if let Some(value) = value(place) {
                self.add(value, scores[place], errors[place]);
            }
        }
        limit
    }

    /// Adds those candidates that were skipped under `limit`, when they were offered or recalled,
    /// and that may be among the requested ones now.
    ///
    /// Returns the limit that decided, for the next time. No row is added twice. A skipped row lies
    /// beyond the limit, and so does all that its recall adds: limits only grow from one time to
    /// the next.
    pub fn reconsider(
        &mut self,
        scores: &[f32],
        errors: &[f32],
        limit: f32,
        value: impl Fn(usize) -> Option<T>,
    ) -> f32 {
        let now = self.limit;
        for (place, (score, error)) in scores.iter().zip(errors).enumerate() {
            if !is_beyond(score - self.allowance_before * error, limit) {
                continue;
            }
            if is_beyond(score - self.allowance * error, now) {
                self.least_skipped = self.least_skipped.min(now);
            } else if let Some(value) = value(place) {
                self.add(value, *score, *error);
            }
        }
        now
    }

    /// Reports a candidate's exact score.
    pub fn compared(&mut self, value: T, score: f64) {
        self.work.compared += 1;
        memory::push_to_heap(&mut self.compared, Reverse(Keyed { key: score, value }), CANDIDATES);
        self.bound_first(score as f32);
    }

    /// Takes out the most promising candidates. The caller adds them again with exact scores or
    /// better estimates, so that more of the later offers are skipped.
    pub fn promising(&mut self) -> Vec<T> {
        (0..FIRST).map_while(|_| self.candidates.pop().map(|candidate| candidate.0.value)).collect()
    }

    /// Whether the next in order is known to have this score, too.
    pub fn has_tie(&self, score: f64) -> bool {
        self.compared.peek().is_some_and(|Reverse(next)| next.key == score)
    }

    /// What comes next. Unless the order is relaxed, a result found too late for it is left out:
    /// its bound was wrong or it was added late.
    pub fn step(&mut self) -> Step<T> {
        loop {
            let bound = self.candidates.peek().map_or(f32::INFINITY, |candidate| candidate.0.key);
            let none_skipped = self.least_skipped == f32::INFINITY;
            let none_left = self.candidates.is_empty() && none_skipped;
            if let Some(Reverse(next)) = self.compared.peek().copied()
                && (none_left || next.key <= f64::from(bound.min(self.least_skipped)))
            {
                self.compared.pop();
                if next.key < self.last && self.iterative_scan != IterativeScan::Relaxed {
                    continue;
                }
                self.last = self.last.max(next.key);
                return Step::Next(next.value, next.key);
            }
            if none_left {
                return Step::Empty;
            }
            if self.candidates.is_empty() || self.least_skipped < bound {
                self.least_skipped = f32::INFINITY;
                self.limit = f32::INFINITY;
                self.uppers.clear();
                self.first *= MORE;
                self.wants_all = self.first > MOST;
                (self.allowance_before, self.allowance) = (self.allowance, DEEP_ERRORS);
                return Step::Reconsider;
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

/// Whether a lower bound is beyond a limit; NaN is not.
fn is_beyond(lower: f32, limit: f32) -> bool {
    lower > limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything in order, and how many were compared before the first `count` came out.
    ///
    /// Candidates are offered in blocks of 32.
    fn drain(rows: &[(f32, f32)], exact: &[f64], count: usize) -> (Vec<u32>, usize) {
        drain_shared(rows, exact, count, 1)
    }

    /// The same; the blocks are offered by turns to `shares` shares.
    fn drain_shared(rows: &[(f32, f32)], exact: &[f64], count: usize, shares: usize) -> (Vec<u32>, usize) {
        let (mut out, mut compared, mut reranker) = (Vec::new(), 0, Reranker::default());
        let mut shares: Vec<_> = (0..shares).map(|_| reranker.share()).collect();
        let (scores, errors): (Vec<f32>, Vec<f32>) = rows.iter().copied().unzip();
        let blocks: Vec<(usize, usize)> =
            (0..rows.len()).step_by(32).map(|first| (first, rows.len().min(first + 32))).collect();
        let mut limits = Vec::new();
        for (number, &(from, to)) in blocks.iter().enumerate() {
            let value = |place| Some((from + place) as u32);
            let share = number % shares.len();
            limits.push(shares[share].offer(&scores[from..to], &errors[from..to], u32::MAX, value));
        }
        shares.into_iter().for_each(|share| reranker.absorb(share));
        assert_eq!(reranker.work().estimated, rows.len() as u64);
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
                Step::Reconsider => {
                    for (&(from, to), limit) in blocks.iter().zip(&mut limits) {
                        let value = |place| Some((from + place) as u32);
                        *limit = reranker.reconsider(&scores[from..to], &errors[from..to], *limit, value);
                    }
                }
                Step::Empty => return (out, compared),
            }
        }
    }

    proptest! {
        #[test]
        fn true_bounds_give_everything_in_order(
            rows in prop::collection::vec((-100f32..100.0, 0f32..20.0, -1f32..=1.0), 0..3000),
            shares in 1usize..4
        ) {
            let exact: Vec<f64> =
                rows.iter().map(|(estimate, error, off)| f64::from(estimate + error * off * 0.99)).collect();
            let offered: Vec<(f32, f32)> = rows.iter().map(|(estimate, error, _)| (*estimate, *error)).collect();
            let (out, _) = drain_shared(&offered, &exact, 0, shares);
            let distinct: std::collections::HashSet<u32> = out.iter().copied().collect();
            prop_assert_eq!((out.len(), distinct.len()), (rows.len(), rows.len()));
            prop_assert!(out.is_sorted_by(|a, b| exact[*a as usize] <= exact[*b as usize]));
        }
    }

    #[test]
    fn a_bound_leaves_out_what_is_beyond() {
        let mut reranker = Reranker::new(Some(100.0), IterativeScan::Strict);
        let scores: Vec<f32> = (0..1000).map(|i| (i * 7 % 1000) as f32).collect();
        for (first, scores) in (0u32..).step_by(25).zip(scores.chunks(25)) {
            reranker.offer(scores, &[3.0; 25], u32::MAX, |place| Some(first + place as u32));
        }
        let (mut out, mut compared) = (Vec::new(), 0);
        loop {
            match reranker.step() {
                Step::Next(_, score) => out.push(score),
                Step::Compare(rows) => {
                    compared += rows.len();
                    rows.into_iter().for_each(|row| reranker.compared(row, scores[row as usize].into()));
                }
                Step::Reconsider => panic!("nothing within the bound was skipped"),
                Step::Empty => break,
            }
        }
        assert!(out.iter().copied().filter(|&score| score <= 100.0).eq((0..=100).map(f64::from)));
        assert!(compared <= 107, "{compared}");
    }

    #[test]
    fn few_are_compared() {
        let exact: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7919 % 10_000)).collect();
        let rows: Vec<(f32, f32)> = exact.iter().map(|&score| (score as f32, 20.0)).collect();
        let (out, compared) = drain(&rows, &exact, 10);
        assert_eq!(out.len(), 10_000);
        assert!((29..60).contains(&compared), "{compared}");
    }

    #[test]
    fn what_nothing_is_known_of_is_compared() {
        let exact: Vec<f64> = (0..200).map(|i| f64::from(i * 77 % 200)).collect();
        let (out, compared) = drain(&[(0.0, f32::INFINITY); 200], &exact, 1);
        assert_eq!((out.len(), compared), (200, 200));
    }

    #[test]
    fn numbers_that_overflow_lose_nothing() {
        let exact: Vec<f64> = (0..300).map(f64::from).collect();
        let rows: Vec<(f32, f32)> = (0..300)
            .map(|i| if i % 3 == 0 { (f32::INFINITY, f32::INFINITY) } else { (i as f32, 0.5) })
            .collect();
        let (out, _) = drain(&rows, &exact, 0);
        assert!(out.iter().copied().eq(0..300));
    }

    #[test]
    fn what_is_taken_back_leaves_room_for_nearer_ones() {
        let mut reranker = Reranker::default();
        reranker.compared(0, 5.0);
        let before = reranker.last();
        assert_eq!(reranker.step(), Step::Next(0, 5.0));
        reranker.take_back(0, 5.0, before);
        reranker.compared(1, 3.0);
        assert_eq!(reranker.step(), Step::Next(1, 3.0));
        assert_eq!(reranker.step(), Step::Next(0, 5.0));
    }

    #[test]
    fn what_comes_too_late_is_left_out() {
        let mut reranker = Reranker::default();
        reranker.add(0, 5.0, 0.1);
        assert_eq!(reranker.step(), Step::Compare(vec![0]));
        reranker.compared(0, 5.0);
        assert_eq!(reranker.step(), Step::Next(0, 5.0));
        reranker.add(1, 3.0, 0.1);
        reranker.compared(2, 7.0);
        assert_eq!(reranker.step(), Step::Compare(vec![1]));
        reranker.compared(1, 3.0);
        assert_eq!(reranker.step(), Step::Next(2, 7.0));
        assert_eq!(reranker.step(), Step::Empty);

        let mut relaxed = Reranker::new(None, IterativeScan::Relaxed);
        relaxed.compared(0, 5.0);
        assert_eq!(relaxed.step(), Step::Next(0, 5.0));
        relaxed.compared(1, 3.0);
        assert_eq!(relaxed.step(), Step::Next(1, 3.0));
    }
}
