//! Sets of rows of one segment.

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
        let mut words = vec![u64::MAX; rows.div_ceil(BITS)];
        if let Some(last) = words.last_mut().filter(|_| !rows.is_multiple_of(BITS)) {
            *last = (1 << (rows % BITS)) - 1;
        }
        Self { words, rows }
    }

    /// The words, 64 rows in each; bits beyond the last row are to stay zero.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
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

    /// Takes out the rows of a range.
    pub fn clear(&mut self, range: Range<usize>) {
        for row in range {
            self.words[row / BITS] &= !(1 << (row % BITS));
        }
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Rows of a range that are in the set.
    pub fn count_in(&self, range: Range<usize>) -> usize {
        let range = range.start..range.end.min(self.rows);
        if range.is_empty() {
            return 0;
        }
        let (first, last) = (range.start / BITS, (range.end - 1) / BITS);
        let from = u64::MAX << (range.start % BITS);
        let to = u64::MAX >> (BITS - 1 - (range.end - 1) % BITS);
        let masked = |index: usize| {
            let mask =
                if index == first { from } else { u64::MAX } & if index == last { to } else { u64::MAX };
            (self.words[index] & mask).count_ones() as usize
        };
        (first..=last).map(masked).sum()
    }

    /// Whether a range has a row in the set.
    pub fn has_any_in(&self, range: Range<usize>) -> bool {
        self.count_in(range) > 0
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
            prop_assert_eq!(set.count_in(from..from + len), expected);
            prop_assert!((0..600).all(|row| set.has(row) == rows.contains(&row)));
        }
    }
}
