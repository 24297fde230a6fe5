//! Rows in memory, compared with one another while a segment is built.

use super::{Geometry, Space};
use crate::memory;

/// Rows of one space, appended and addressed by number.
pub struct Arena {
    space: Space,
    /// Chunks never grow, so a row stays where it is, and only the last chunk holds memory in
    /// reserve.
    chunks: Vec<Vec<Word>>,
    place: ArenaLayout,
    /// Squared norm of each row, if the metric needs it.
    squared_norms: Vec<f32>,
}

/// What the memory is for, in messages.
const ROWS: &str = "rows of a segment";

/// Memory aligned for every element kind.
type Word = u64;

/// Words of a chunk; a row that is longer gets a chunk of its own.
const CHUNK_WORDS: usize = 1 << 17;

/// Where rows are found.
enum ArenaLayout {
    /// Rows of one length, `1 << shift` of them in a chunk, `words` apart.
    Even { shift: u32, words: usize, bytes: usize, rows: usize },
    /// Chunk, first word and length in bytes of each row.
    Listed(Vec<(u32, u32, u32)>),
}

impl Arena {
    pub fn new(space: Space) -> Self {
        let place = match space.row_bytes() {
            None => ArenaLayout::Listed(Vec::new()),
            Some(bytes) => {
                let words = bytes.div_ceil(size_of::<Word>()).max(1);
                ArenaLayout::Even { shift: (CHUNK_WORDS / words).max(1).ilog2(), words, bytes, rows: 0 }
            }
        };
        Self { space, chunks: Vec::new(), place, squared_norms: Vec::new() }
    }

    pub fn space(&self) -> Space {
        self.space
    }

    pub fn rows(&self) -> u32 {
        match &self.place {
            ArenaLayout::Even { rows, .. } => *rows as u32,
            ArenaLayout::Listed(rows) => rows.len() as u32,
        }
    }

    /// Bytes that the rows occupy.
    pub fn bytes(&self) -> usize {
        let words: usize = self.chunks.iter().map(Vec::len).sum();
        let listed = match &self.place {
            ArenaLayout::Even { .. } => 0,
            ArenaLayout::Listed(rows) => rows.capacity() * size_of::<(u32, u32, u32)>(),
        };
        words * size_of::<Word>() + listed + self.squared_norms.capacity() * size_of::<f32>()
    }

    /// Appends a row; `false`, and nothing is appended, if the bytes are no row of the space.
    pub fn push(&mut self, row: &[u8]) -> bool {
        let words = row.len().div_ceil(size_of::<Word>());
        let full = match &self.place {
            ArenaLayout::Even { shift, rows, .. } => rows.is_multiple_of(1 << shift),
            ArenaLayout::Listed(_) => {
                self.chunks.last().is_none_or(|chunk| chunk.capacity() - chunk.len() < words)
            }
        };
        if full {
            let capacity = match &self.place {
                ArenaLayout::Even { shift, words, .. } => words << shift,
                ArenaLayout::Listed(_) => words.max(CHUNK_WORDS),
            };
            self.chunks.push(memory::with_capacity(capacity, ROWS));
        }
        let chunk_number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[chunk_number];
        let start = chunk.len();
        chunk.resize(start + words, 0);
        let target = &mut bytemuck::cast_slice_mut(&mut chunk[start..])[..row.len()];
        target.copy_from_slice(row);
        let norm = if self.space.is_row(target) { self.space.squared_norm(target) } else { None };
        let Some(norm) = norm else {
            chunk.truncate(start);
            if full {
                self.chunks.pop();
            }
            return false;
        };
        match &mut self.place {
            ArenaLayout::Even { rows, .. } => *rows += 1,
            ArenaLayout::Listed(rows) => {
                memory::push(rows, (chunk_number as u32, start as u32, row.len() as u32), ROWS);
            }
        }
        if self.space.metric.geometry() == Geometry::Angle {
            memory::push(&mut self.squared_norms, norm as f32, ROWS);
        }
        true
    }

    pub fn row(&self, row: u32) -> &[u8] {
        let row = row as usize;
        let (chunk, start, bytes) = match &self.place {
            ArenaLayout::Even { shift, words, bytes, .. } => {
                (row >> shift, (row & ((1 << shift) - 1)) * words, *bytes)
            }
            ArenaLayout::Listed(rows) => {
                let (chunk, start, bytes) = rows[row];
                (chunk as usize, start as usize, bytes as usize)
            }
        };
        &bytemuck::cast_slice(&self.chunks[chunk][start..])[..bytes]
    }

    /// Begins to load a row into the processor's caches.
    pub fn prefetch(&self, row: u32) {
        crate::util::cpu::prefetch(self.row(row));
    }

    /// The score of two rows (see [`Space::score`]), in single precision.
    pub fn score(&self, a: u32, b: u32) -> f32 {
        let norms = || Some((self.squared_norms[a as usize].into(), self.squared_norms[b as usize].into()));
        let score = self.space.score(self.row(a), self.row(b), norms);
        score.expect("push accepts rows of the space only") as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::sparse::SparseSlice;
    use crate::distance::{ElementKind, Metric};

    #[test]
    fn rows_are_what_was_pushed() {
        let space = Space { kind: ElementKind::F32, metric: Metric::Cosine, dims: 300 };
        let mut arena = Arena::new(space);
        let row = |i: usize| -> Vec<f32> { (0..300).map(|d| (i * 300 + d) as f32).collect() };
        assert!(!arena.push(&[0; 8]), "too short");
        for i in 0..2000 {
            assert!(arena.push(bytemuck::cast_slice(&row(i))));
        }
        assert!(!arena.push(&[0; 8]));
        assert!((0..2000).all(|i| arena.row(i as u32) == bytemuck::cast_slice::<f32, u8>(&row(i))));
        assert!(arena.bytes() >= 2000 * 1200 && arena.bytes() < 2000 * 1200 + (2 << 20), "{}", arena.bytes());

        let space = Space { kind: ElementKind::Sparse, metric: Metric::L2, dims: 100_000 };
        let mut arena = Arena::new(space);
        let sparse = |i: usize| {
            let indices: Vec<i32> = (0..(i * 37 % 9000) as i32).collect();
            SparseSlice { indices: &indices, values: &vec![i as f32; indices.len()] }.to_row()
        };
        assert!((0..300).all(|i| arena.push(&sparse(i))));
        assert!((0..300).all(|i| arena.row(i as u32) == sparse(i)));
        assert_eq!(arena.score(7, 7), 0.0);
    }
}
