//! Rows in memory, compared with one another while a segment is built.

use super::{Metric, Space};

/// Rows of one space, appended and addressed by number.
pub struct Arena {
    space: Space,
    // `u64`s, so that every row is aligned for every element kind.
    words: Vec<u64>,
    /// Where each row begins, in words, and its length in bytes; empty if all rows are `stride` words apart.
    places: Vec<(usize, u32)>,
    stride: usize,
    /// Squared norm of each row, if the metric asks for it.
    squared_norms: Vec<f32>,
}

impl Arena {
    pub fn new(space: Space) -> Self {
        let stride = space.row_bytes().map_or(0, |bytes| bytes.div_ceil(8));
        Self { space, words: Vec::new(), places: Vec::new(), stride, squared_norms: Vec::new() }
    }

    pub fn space(&self) -> Space {
        self.space
    }

    /// Bytes that the rows occupy.
    pub fn bytes(&self) -> usize {
        self.words.len() * 8 + self.places.len() * size_of::<(usize, u32)>() + self.squared_norms.len() * 4
    }

    /// Appends a row; `false`, and nothing is appended, if the bytes are no row of the space.
    pub fn push(&mut self, row: &[u8]) -> bool {
        let start = self.words.len();
        self.words.resize(start + row.len().div_ceil(8), 0);
        let target = &mut bytemuck::cast_slice_mut(&mut self.words[start..])[..row.len()];
        target.copy_from_slice(row);
        let norm = if self.space.is_row(target) { self.space.squared_norm(target) } else { None };
        let Some(norm) = norm else {
            self.words.truncate(start);
            return false;
        };
        if self.stride == 0 {
            self.places.push((start, row.len() as u32));
        }
        if self.space.metric == Metric::Cosine {
            self.squared_norms.push(norm as f32);
        }
        true
    }

    pub fn row(&self, row: u32) -> &[u8] {
        let row = row as usize;
        if self.stride == 0 {
            let (start, len) = self.places[row];
            &bytemuck::cast_slice(&self.words[start..])[..len as usize]
        } else {
            let words = &self.words[row * self.stride..][..self.stride];
            let bytes = self.space.row_bytes().expect("a stride means rows of one length");
            &bytemuck::cast_slice(words)[..bytes]
        }
    }

    /// Begins to load a row into the processor's caches.
    pub fn prefetch(&self, row: u32) {
        crate::cpu::prefetch(self.row(row));
    }

    /// The score of two rows (see [`Space::score`]), in single precision.
    pub fn score(&self, a: u32, b: u32) -> f32 {
        let norms = || Some((self.squared_norms[a as usize].into(), self.squared_norms[b as usize].into()));
        let score = self.space.score(self.row(a), self.row(b), norms);
        score.expect("push accepts rows of the space only") as f32
    }
}
