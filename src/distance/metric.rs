//! The metrics: their scores, and what else depends on them.

use super::sparse::SparseSlice;
use super::{Element, bits};
use serde::{Deserialize, Serialize};

/// How two rows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metric {
    L2,
    InnerProduct,
    Cosine,
    L1,
    Hamming,
    Jaccard,
}

/// By what centroids are found, lists ranked and codes made: rows as points of a vector space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Geometry {
    /// By the squared Euclidean distance, which stands in for distances that rank alike.
    Euclidean,
    /// By the negative inner product.
    Product,
    /// By the angle: rows are scaled to unit length, and those without a direction are not indexed.
    Angle,
}

impl Metric {
    /// All metrics, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::L2, Self::InnerProduct, Self::Cosine, Self::L1, Self::Hamming, Self::Jaccard];

    pub fn geometry(self) -> Geometry {
        match self {
            Self::L2 | Self::L1 | Self::Hamming | Self::Jaccard => Geometry::Euclidean,
            Self::InnerProduct => Geometry::Product,
            Self::Cosine => Geometry::Angle,
        }
    }

    /// Whether codes estimate it: whether it is its geometry's own, and not one that stands in.
    pub fn has_codes(self) -> bool {
        match self {
            Self::L2 | Self::InnerProduct | Self::Cosine => true,
            Self::L1 | Self::Hamming | Self::Jaccard => false,
        }
    }

    /// Whether distances stay the same when the same vector is subtracted from all rows.
    pub fn is_translation_invariant(self) -> bool {
        match self {
            Self::L2 | Self::L1 | Self::Hamming => true,
            Self::InnerProduct | Self::Cosine | Self::Jaccard => false,
        }
    }

    /// The score of two vectors of numbers, whose squared norms `norms` returns; `None` if they
    /// differ in length, or the metric is not for such vectors.
    pub(super) fn score_dense<E: Element>(
        self,
        a: &[E],
        b: &[E],
        norms: impl FnOnce() -> Option<(f64, f64)>,
    ) -> Option<f64> {
        if a.len() != b.len() {
            return None;
        }
        Some(match self {
            Self::L2 => E::l2_squared(a, b),
            Self::InnerProduct => -E::dot(a, b),
            Self::L1 => E::l1(a, b),
            Self::Cosine => {
                let (aa, bb) = norms()?;
                super::cosine_from_products(E::dot(a, b), aa, bb)
            }
            Self::Hamming | Self::Jaccard => return None,
        })
    }

    /// As [`Self::score_dense`], of sparse vectors.
    pub(super) fn score_sparse(
        self,
        a: SparseSlice,
        b: SparseSlice,
        norms: impl FnOnce() -> Option<(f64, f64)>,
    ) -> Option<f64> {
        Some(match self {
            Self::L2 => a.l2_squared(b),
            Self::InnerProduct => -a.dot(b),
            Self::L1 => a.l1(b),
            Self::Cosine => {
                let (aa, bb) = norms()?;
                super::cosine_from_products(a.dot(b), aa, bb)
            }
            Self::Hamming | Self::Jaccard => return None,
        })
    }

    /// As [`Self::score_dense`], of bits.
    pub(super) fn score_bits(self, a: &[u8], b: &[u8]) -> Option<f64> {
        if a.len() != b.len() {
            return None;
        }
        match self {
            Self::Hamming => Some(bits::hamming(a, b)),
            Self::Jaccard => Some(bits::jaccard(a, b)),
            Self::L2 | Self::InnerProduct | Self::Cosine | Self::L1 => None,
        }
    }

    /// The score of rows at a distance as the SQL operator returns it; a little greater if it has
    /// to be rounded.
    pub(super) fn score_of_distance(self, distance: f64) -> f64 {
        match self {
            Self::L2 if distance < 0.0 => f64::NEG_INFINITY,
            Self::L2 => (distance * distance).next_up(),
            Self::InnerProduct | Self::Cosine | Self::L1 | Self::Hamming | Self::Jaccard => distance,
        }
    }

    /// The distance of rows of a score, as the SQL operator returns it.
    pub(super) fn distance_of_score(self, score: f64) -> f64 {
        match self {
            Self::L2 => score.sqrt(),
            Self::InnerProduct | Self::Cosine | Self::L1 | Self::Hamming | Self::Jaccard => score,
        }
    }
}

// Support functions of operator classes return a metric's place in `ALL`.
const _: () = {
    let mut place = 0;
    while place < Metric::ALL.len() {
        assert!(Metric::ALL[place] as usize == place);
        place += 1;
    }
};
