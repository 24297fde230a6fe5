//! Filter columns: values as keys in their order, columns of them encoded for a segment,
//! conditions, and the sets of rows that meet them.
//!
//! A row's *attributes* are words: one whose bits say which columns are null, then a key for each
//! column. An index without filter columns has no attributes at all.

#![forbid(unsafe_code)]

pub mod bitset;
pub mod column;
pub mod condition;
pub mod key;

use crate::memory;

pub use bitset::Bitset;
pub use condition::{Condition, Test};

/// Words of a row's attributes in an index with `columns` filter columns.
pub fn stride(columns: usize) -> usize {
    if columns == 0 { 0 } else { columns + 1 }
}

/// A column's key in a row's attributes; `None` for null.
pub fn key(attributes: &[u64], column: usize) -> Option<u64> {
    let is_null = attributes[0] >> column & 1 == 1;
    (!is_null).then(|| attributes[column + 1])
}

/// Attributes from keys.
pub fn attributes(keys: impl Iterator<Item = Option<u64>>) -> Vec<u64> {
    let mut words = vec![0];
    for (column, key) in keys.enumerate() {
        words[0] |= u64::from(key.is_none()) << column;
        words.push(key.unwrap_or(0).min(key::GREATEST));
    }
    if words.len() > 1 { words } else { Vec::new() }
}

/// The attributes of many rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    stride: usize,
    words: Vec<u64>,
}

impl Table {
    /// For an index with `columns` filter columns.
    pub fn new(columns: usize) -> Self {
        Self { stride: stride(columns), words: Vec::new() }
    }

    pub fn push(&mut self, attributes: &[u64]) {
        debug_assert_eq!(attributes.len(), self.stride);
        memory::extend(&mut self.words, attributes, "values to filter by");
    }

    pub fn row(&self, row: usize) -> &[u64] {
        &self.words[row * self.stride..][..self.stride]
    }

    /// The keys of one column, row by row.
    pub fn column(&self, column: usize) -> impl Iterator<Item = Option<u64>> + Clone {
        self.words.chunks_exact(self.stride.max(1)).map(move |attributes| key(attributes, column))
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_tell_their_keys() {
        let words = attributes([Some(7), None, Some(0)].into_iter());
        assert_eq!(words.len(), stride(3));
        assert_eq!((0..3).map(|column| key(&words, column)).collect::<Vec<_>>(), [Some(7), None, Some(0)]);
        assert_eq!(attributes(std::iter::empty()).len(), stride(0));
        let mut table = Table::new(3);
        table.push(&words);
        table.push(&attributes([None, Some(1), Some(2)].into_iter()));
        assert_eq!(table.column(1).collect::<Vec<_>>(), [None, Some(1)]);
        assert_eq!(table.row(0), words);
    }
}
