//! Codes of a byte a dimension, one row after another: the numbers of its grid, then the code.

use crate::codec::encoder;
use crate::codec::layout::{RowCode, RowQuery};
use crate::codec::rabitq::Estimand;
use crate::codec::scalar::{self, Grid, Query};
use crate::distance::{Geometry, Space};

/// Where things are in a row's code.
#[derive(Clone, Copy, Debug)]
pub struct ByteLayout {
    dims: usize,
    estimand: Estimand,
    /// What is added to an estimate to make a score.
    base: f32,
}

impl ByteLayout {
    /// `None` if vectors of this space cannot be encoded.
    pub fn new(space: Space) -> Option<Self> {
        let estimand = encoder::estimand(space)?;
        let base = match space.metric.geometry() {
            Geometry::Angle => 1.0,
            Geometry::Euclidean | Geometry::Product => 0.0,
        };
        Some(Self { dims: space.dims as usize, estimand, base })
    }
}

impl RowCode for ByteLayout {
    fn bytes(&self) -> usize {
        size_of::<Grid>() + self.dims
    }

    fn encode(&self, vector: &[f32]) -> Vec<u8> {
        let mut row = vec![0; self.bytes()];
        let (numbers, code) = row.split_at_mut(size_of::<Grid>());
        let grid = scalar::encode(vector, code);
        numbers.copy_from_slice(bytemuck::bytes_of(&grid));
        row
    }

    fn query(&self, vector: &[f32]) -> Box<dyn RowQuery> {
        Box::new(ByteQuery { layout: *self, query: Query::new(vector) })
    }
}

struct ByteQuery {
    layout: ByteLayout,
    query: Query,
}

impl RowQuery for ByteQuery {
    fn estimate(&self, bytes: &[u8]) -> Option<(f32, f32)> {
        let Self { layout, query } = self;
        let (numbers, code) = bytes.get(..layout.bytes())?.split_at(size_of::<Grid>());
        let (estimate, error) = query.estimate(code, &bytemuck::pod_read_unaligned(numbers), layout.estimand);
        Some((estimate + layout.base, error))
    }
}
