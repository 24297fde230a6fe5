//! A space: what a stored row is made of and how two of them are compared.
//!
//! Rows are the bytes that an index stores, in the machine's byte order. A dense vector is its
//! `f32` or `f16` numbers; bits are packed. A sparse vector is a `u32` count, then that many `i32`
//! indices and `f32` values.

use super::Element;
use super::metric::{Geometry, Metric};
use super::sparse::SparseSlice;
use half::f16;
use serde::{Deserialize, Serialize};

/// What a stored row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElementKind {
    F32,
    F16,
    Bit,
    Sparse,
}

impl ElementKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bit, Self::Sparse];
}

// Support functions of operator classes return a kind's place in `ALL`.
const _: () = {
    let mut place = 0;
    while place < ElementKind::ALL.len() {
        assert!(ElementKind::ALL[place] as usize == place);
        place += 1;
    }
};

/// Element kind, metric and dimensions of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    pub kind: ElementKind,
    pub metric: Metric,
    pub dims: u32,
}

impl Space {
    /// Bytes of a row; `None` where rows differ in length (sparse vectors).
    pub fn row_bytes(&self) -> Option<usize> {
        let dims = self.dims as usize;
        match self.kind {
            ElementKind::F32 => Some(dims * 4),
            ElementKind::F16 => Some(dims * 2),
            ElementKind::Bit => Some(dims.div_ceil(8)),
            ElementKind::Sparse => None,
        }
    }

    /// Whether `row` can be a row of this space: the right length, indices in range.
    pub fn is_row(&self, row: &[u8]) -> bool {
        match self.row_bytes() {
            Some(bytes) => row.len() == bytes,
            None => SparseSlice::from_row(row).is_some_and(|sparse| {
                sparse.indices.is_sorted()
                    && sparse.indices.first().is_none_or(|&i| i >= 0)
                    && sparse.indices.last().is_none_or(|&i| (i as u32) < self.dims)
            }),
        }
    }

    /// Whether an index has a place for a row: under cosine a zero vector has no direction.
    pub fn is_indexed(&self, row: &[u8]) -> bool {
        let has_value = match self.kind {
            // A zero is all zero bits but for its sign.
            ElementKind::F32 => {
                row.chunks_exact(4).any(|x| f32::from_ne_bytes([x[0], x[1], x[2], x[3]]) != 0.0)
            }
            ElementKind::F16 => row.chunks_exact(2).any(|x| u16::from_ne_bytes([x[0], x[1]]) & 0x7FFF != 0),
            ElementKind::Sparse => row.len() > 4,
            ElementKind::Bit => true,
        };
        match self.metric.geometry() {
            Geometry::Angle => has_value,
            Geometry::Euclidean | Geometry::Product => true,
        }
    }

    /// The inner product of a row with itself, which cosine distance needs of both sides.
    ///
    /// `None` if the bytes are no row of this space.
    pub fn squared_norm(&self, row: &[u8]) -> Option<f64> {
        Some(match self.kind {
            ElementKind::F32 => {
                let row = dense::<f32>(row)?;
                f32::dot(row, row)
            }
            ElementKind::F16 => {
                let row = dense::<f16>(row)?;
                f16::dot(row, row)
            }
            ElementKind::Bit => f64::from(row.iter().map(|b| b.count_ones()).sum::<u32>()),
            ElementKind::Sparse => SparseSlice::from_row(row)?.squared_norm(),
        })
    }

    /// The score of two rows whose squared norms are known: a number that orders as the distance
    /// does.
    ///
    /// That is the squared distance for L2, the negative inner product, and the distance itself for
    /// the others, computed as the SQL operator computes it. `None` if the bytes are no rows of
    /// this space. NaN is positive, so that it comes last in the total order, as in PostgreSQL.
    pub fn score(&self, a: &[u8], b: &[u8], norms: impl FnOnce() -> Option<(f64, f64)>) -> Option<f64> {
        let score = self.raw_score(a, b, norms)?;
        Some(if score.is_nan() { f64::NAN } else { score })
    }

    fn raw_score(&self, a: &[u8], b: &[u8], norms: impl FnOnce() -> Option<(f64, f64)>) -> Option<f64> {
        match self.kind {
            ElementKind::F32 => self.metric.score_dense::<f32>(dense(a)?, dense(b)?, norms),
            ElementKind::F16 => self.metric.score_dense::<f16>(dense(a)?, dense(b)?, norms),
            ElementKind::Bit => self.metric.score_bits(a, b),
            ElementKind::Sparse => {
                self.metric.score_sparse(SparseSlice::from_row(a)?, SparseSlice::from_row(b)?, norms)
            }
        }
    }

    /// The score of rows at this distance, as the SQL operator of this space returns distances; for
    /// L2 it is rounded up.
    pub fn score_of_distance(&self, distance: f64) -> f64 {
        self.metric.score_of_distance(distance)
    }

    /// The distance of rows of this score, as the SQL operator of this space returns it.
    pub fn distance_of_score(&self, score: f64) -> f64 {
        self.metric.distance_of_score(score)
    }
}

/// A row's numbers; `None` if the bytes are misaligned or no whole number of elements.
fn dense<E: Element>(row: &[u8]) -> Option<&[E]> {
    bytemuck::try_cast_slice(row).ok()
}

impl<'a> SparseSlice<'a> {
    /// Reads a stored sparse row; `None` if the bytes are too few for the count they begin with.
    pub fn from_row(row: &'a [u8]) -> Option<Self> {
        let (count, rest) = row.split_at_checked(4)?;
        let count = u32::from_ne_bytes(count.try_into().ok()?) as usize;
        let (indices, values) = rest.split_at_checked(count.checked_mul(4)?)?;
        let values = values.get(..indices.len())?;
        Some(Self {
            indices: bytemuck::try_cast_slice(indices).ok()?,
            values: bytemuck::try_cast_slice(values).ok()?,
        })
    }

    /// The bytes of a stored sparse row.
    pub fn to_row(self) -> Vec<u8> {
        let mut row = Vec::with_capacity(4 + 8 * self.indices.len());
        row.extend_from_slice(&(self.indices.len() as u32).to_ne_bytes());
        row.extend_from_slice(bytemuck::cast_slice(self.indices));
        row.extend_from_slice(bytemuck::cast_slice(self.values));
        row
    }
}

/// A query, kept aligned, that is scored against many rows.
#[derive(Clone, Debug)]
pub struct PreparedQuery {
    space: Space,
    // `u64`s, so that the row is aligned for every element kind.
    row: Vec<u64>,
    bytes: usize,
    squared_norm: f64,
}

impl PreparedQuery {
    /// `None` if `row` is no row of `space`.
    pub fn new(space: Space, row: &[u8]) -> Option<Self> {
        let mut aligned = vec![0u64; row.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut aligned)[..row.len()].copy_from_slice(row);
        let aligned_row = &bytemuck::cast_slice(&aligned)[..row.len()];
        if !space.is_row(aligned_row) {
            return None;
        }
        let squared_norm = space.squared_norm(aligned_row)?;
        Some(Self { space, bytes: row.len(), row: aligned, squared_norm })
    }

    /// Bytes of a row of the query's space (see [`Space::row_bytes`]).
    pub fn row_bytes(&self) -> Option<usize> {
        self.space.row_bytes()
    }

    /// The query's own bytes.
    pub fn row(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.row)[..self.bytes]
    }

    /// The score of a stored row (see [`Space::score`]); `None` if the bytes are no row of the
    /// space.
    pub fn score(&self, row: &[u8]) -> Option<f64> {
        self.space.score(self.row(), row, || Some((self.squared_norm, self.space.squared_norm(row)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_row_are_refused() {
        let space = Space { kind: ElementKind::Sparse, metric: Metric::L2, dims: 4 };
        let row = SparseSlice { indices: &[1, 3], values: &[1.0, 2.0] }.to_row();
        assert!(PreparedQuery::new(space, &row).is_some());
        assert!(PreparedQuery::new(space, &row[..row.len() - 1]).is_none(), "cut short");
        assert!(PreparedQuery::new(space, &u32::MAX.to_ne_bytes()).is_none(), "count beyond the bytes");
        let beyond = SparseSlice { indices: &[1, 4], values: &[1.0, 2.0] }.to_row();
        assert!(PreparedQuery::new(space, &beyond).is_none(), "index beyond the dimensions");

        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims: 2 };
        let query = PreparedQuery::new(space, bytemuck::cast_slice(&[1f32, 2.0])).unwrap();
        assert_eq!(query.score(bytemuck::cast_slice(&[1f32, 4.0])), Some(4.0));
        assert_eq!(query.score(bytemuck::cast_slice(&[1f32])), None);
    }
}
