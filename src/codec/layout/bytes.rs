//! Codes of a byte a dimension, one row after another: the numbers of its grid, then the code.

use crate::codec::encoder;
use crate::codec::rabitq::Target;
use crate::codec::scalar::{self, Grid, Query};
use crate::distance::{Metric, Space};

/// Where things are in a row's code.
#[derive(Clone, Copy, Debug)]
pub struct ByteLayout {
    dims: usize,
    target: Target,
    /// What is added to an estimate to make a score.
    base: f32,
}

impl ByteLayout {
    /// `None` if vectors of this space cannot be encoded.
    pub fn new(space: Space) -> Option<Self> {
        let target = encoder::target(space)?;
        let base = if space.metric == Metric::Cosine { 1.0 } else { 0.0 };
        Some(Self { dims: space.dims as usize, target, base })
    }

    pub fn bytes(self) -> usize {
        size_of::<Grid>() + self.dims
    }

    /// Encodes a vector (see [`encoder::widen`]).
    pub fn encode(self, vector: &[f32]) -> Vec<u8> {
        let mut row = vec![0; self.bytes()];
        let (numbers, code) = row.split_at_mut(size_of::<Grid>());
        let grid = scalar::encode(vector, code);
        numbers.copy_from_slice(bytemuck::bytes_of(&grid));
        row
    }

    /// The estimated score of a row and how far it may be off; `None` if the bytes are no row.
    pub fn estimate(self, row: &[u8], query: &Query) -> Option<(f32, f32)> {
        let (numbers, code) = row.get(..self.bytes())?.split_at(size_of::<Grid>());
        let (estimate, error) = query.estimate(code, &bytemuck::pod_read_unaligned(numbers), self.target);
        Some((estimate + self.base, error))
    }
}
