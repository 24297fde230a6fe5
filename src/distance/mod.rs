//! Distances between vectors, over plain slices.
//!
//! Every distance that a user sees and every one that an index orders by comes from here: the two
//! are equal to the last bit. Products and squared differences of `f32` run on simsimd's kernels,
//! chosen for the processor at run time. Very short vectors take a plain loop, which is faster
//! there.

mod arena;
pub mod bits;
mod dense;
mod metric;
pub mod padded;
mod space;
pub mod sparse;
mod widen;

pub use arena::Arena;
pub use dense::Element;
pub use metric::{Geometry, Metric};
pub use space::{ElementKind, PreparedQuery, Space};

/// `a - b`, number by number.
pub fn subtract(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Cosine distance from the three inner products of two vectors: `1 - ab / sqrt(aa * bb)`, in
/// `[0, 2]`.
///
/// A zero vector has no direction: the result is then NaN, which PostgreSQL orders last.
pub fn cosine_from_products(ab: f64, aa: f64, bb: f64) -> f64 {
    let similarity = ab / (aa * bb).sqrt();
    // `clamp` keeps NaN; rounding may otherwise push a similarity of equal directions past 1.
    1.0 - similarity.clamp(-1.0, 1.0)
}
