//! Sets of rows of one segment.

use crate::memory;
use std::ops::Range;

/// A bit for each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitset {
    words: Vec<u64>,
    rows: usize,
}

const BITS: usize = u64::BITS as usize;

impl Bitset {
    /// All rows.
    pub fn full(rows: usize) -> Self {
        let mut words = memory::filled(u64::MAX, rows.div_ceil(BITS), "a set of rows");
        if let Some(last) = words.last_mut().filter(|_| !rows.is_multiple_of(BITS)) {
            *last = (1 << (rows % BITS)) - 1;
        }
        Self { words, rows }
    }

    /// The words, 64 rows in each; bits beyond the last row must stay zero.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the set has a row; rows that do not exist are in no set.
    pub fn has(&self, row: usize) -> bool {
        self.words.get(row / BITS).is_some_and(|word| word >> (row % BITS) & 1 == 1)
    }

    pub fn insert(&mut self, row: usize) {
        debug_assert!(row < self.rows);
        self.words[row / BITS] |= 1 << (row % BITS);
    }

    /// Removes the rows of a range, which ends within the set's rows.
    pub fn clear(&mut self, range: Range<usize>) {
        masks(range).for_each(|(word, mask)| self.words[word] &= !mask);
    }

    /// Keeps the rows that `other`, a set of as many rows, has, too.
    pub fn intersect(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The bits of 32 rows from `first` on; zero beyond the last row.
    pub fn bits_from(&self, first: usize) -> u32 {
        let word = |index: usize| self.words.get(index).copied().unwrap_or(0);
        let (index, at) = (first / BITS, first % BITS);
        let high = if at == 0 { 0 } else { word(index + 1) << (BITS - at) };
        (word(index) >> at | high) as u32
    }

    /// Whether a range has a row in the set.
    pub fn has_any_in(&self, range: Range<usize>) -> bool {
        let range = range.start..range.end.min(self.rows);
        masks(range).any(|(word, mask)| self.words[word] & mask != 0)
    }

    /// The rows from `first` on in ascending order.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = u32> {
        let words = self.words.iter().enumerate().skip(first as usize / BITS);
        words.flat_map(|(index, &word)| bits(index, word)).filter(move |&row| row >= first)
    }

    /// The rows in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.iter_from(0)
    }
}

/// The words that the rows of a range are in, and their bits there.
fn masks(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let words = if range.is_empty() { 0..0 } else { range.start / BITS..range.end.div_ceil(BITS) };
    words.map(move |word| {
        let first = range.start.saturating_sub(word * BITS);
        let last = (range.end - word * BITS).min(BITS);
        (word, u64::MAX << first & u64::MAX >> (BITS - last))
    })
}

/// The rows of one word.
fn bits(index: usize, word: u64) -> impl Iterator<Item = u32> {
    let mut left = word;
    std::iter::from_fn(move || {
        let bit = (left != 0).then(|| left.trailing_zeros())?;
        left &= left - 1;
        Some((index * BITS) as u32 + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_counts_and_lists(
            rows in prop::collection::btree_set(0usize..500, 0..200),
            from in 0usize..500,
            len in 0usize..500,
        ) {
            let mut set = Bitset::full(500);
            prop_assert_eq!(set.count(), 500);
            set.words_mut().fill(0);
            rows.iter().for_each(|&row| set.insert(row));
            prop_assert_eq!(set.count(), rows.len());
            prop_assert_eq!(set.iter_from(from as u32).count(), rows.range(from..).count());
            prop_assert!(set.iter().map(|row| row as usize).eq(rows.iter().copied()));
            let expected = rows.iter().filter(|&&row| row >= from && row < from + len).count();
            prop_assert_eq!(set.has_any_in(from..from + len), expected > 0);
            let mut rest = set.clone();
            rest.clear(from..(from + len).min(500));
            prop_assert_eq!(rest.count(), rows.len() - expected);
            let bits = (from..from + 32).map(|row| u32::from(rows.contains(&row)));
            prop_assert_eq!(set.bits_from(from), bits.zip(0..).fold(0, |all, (bit, place)| all | bit << place));
            prop_assert!((0..600).all(|row| set.has(row) == rows.contains(&row)));
        }
    }
}
