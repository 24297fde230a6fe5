//! Scalar quantization: a byte a dimension, on a grid from the vector's least to its greatest
//! number.
//!
//! The rounding of each vector is known, so the bound on an estimate's error always holds (Cauchy
//! and Schwarz). The bound of [`super::rabitq`] fails in about one case of a hundred, but is much
//! tighter for its size.

use super::rabitq::{Estimand, ORDINARY};
use simsimd::SpatialSimilarity;

/// The numbers beside a code.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Grid {
    /// What a byte of zero stands for; bytes are signed.
    middle: f32,
    step: f32,
    /// Sum of the code's bytes.
    sum: f32,
    /// Squared norm of the vector.
    squared: f32,
    /// Norm of the decoded vector.
    coded_norm: f32,
    /// Distance between the vector and the decoded vector.
    lost: f32,
}

impl Grid {
    /// Whether all numbers of the vector are zero.
    fn is_zero(&self) -> bool {
        self.middle == 0.0 && self.step == 0.0 && self.lost == 0.0
    }

    fn in_double(&self) -> [f64; 3] {
        [self.middle, self.step, self.sum].map(f64::from)
    }
}

/// Encodes a vector into `code`, a byte for each number.
pub fn encode(vector: &[f32], code: &mut [u8]) -> Grid {
    debug_assert_eq!(vector.len(), code.len());
    let low = vector.iter().copied().fold(f32::INFINITY, f32::min);
    let high = vector.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // If all numbers are equal, every byte stands for the same number.
    let step = (high - low) / 255.0;
    let mut grid = Grid { middle: low + 128.0 * step, step, ..Grid::default() };
    // Double precision keeps the sums of thousands of numbers within the bound.
    let [mut sum, mut squared, mut coded_squared, mut lost_squared] = [0f64; 4];
    for (x, byte) in vector.iter().zip(code) {
        let steps = ((x - low) / step + 0.5) as u8;
        let signed = steps.wrapping_sub(128) as i8;
        *byte = signed as u8;
        let coded = grid.middle + step * f32::from(signed);
        let (x, coded) = (f64::from(*x), f64::from(coded));
        sum += f64::from(signed);
        squared += x * x;
        coded_squared += coded * coded;
        lost_squared += (x - coded) * (x - coded);
    }
    (grid.sum, grid.squared) = (sum as f32, squared as f32);
    grid.coded_norm = coded_squared.sqrt() as f32;
    grid.lost = lost_squared.sqrt() as f32;
    grid
}

/// A query, encoded as rows are.
#[derive(Clone, Debug)]
pub struct Query {
    code: Vec<u8>,
    grid: Grid,
    norm: f32,
}

impl Query {
    pub fn new(vector: &[f32]) -> Self {
        let mut code = vec![0; vector.len()];
        let grid = encode(vector, &mut code);
        // In double precision the square of a tiny number does not vanish.
        let squared: f64 = vector.iter().map(|&x| f64::from(x).powi(2)).sum();
        Self { code, grid, norm: squared.sqrt() as f32 }
    }

    /// The estimated score of a code, and a bound on its error. Under cosine, with unit vectors,
    /// the estimate is the score less 1.
    pub fn estimate(&self, code: &[u8], grid: &Grid, estimand: Estimand) -> (f32, f32) {
        let (query, code): (&[i8], &[i8]) = (bytemuck::cast_slice(&self.code), bytemuck::cast_slice(code));
        let product = <i8 as SpatialSimilarity>::dot(query, code).unwrap_or_default();
        // Double precision, as the terms may all but cancel out.
        let dims = self.code.len() as f64;
        let [a_middle, a_step, a_sum] = self.grid.in_double();
        let [b_middle, b_step, b_sum] = grid.in_double();
        let product = dims * a_middle * b_middle
            + a_middle * b_step * b_sum
            + a_step * b_middle * a_sum
            + a_step * b_step * product;
        let product = product as f32;
        let (a, b) = (&self.grid, grid);
        // What the numbers beside the codes lose in single precision.
        const ROUNDING: f32 = 1e-5;
        let error = b.lost * self.norm + b.coded_norm * a.lost + ROUNDING * self.norm * b.coded_norm;
        match estimand {
            Estimand::L2Squared => {
                let squared = a.squared + b.squared;
                // What overflows or vanishes in single precision has no bound, except the distance
                // of zeros.
                let is_ordinary = ORDINARY.contains(&squared) || a.is_zero() && b.is_zero();
                let bound = 2.0 * error + ROUNDING * squared;
                (squared - 2.0 * product, if is_ordinary { bound } else { f32::INFINITY })
            }
            Estimand::NegativeInnerProduct => (-product, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_without_a_range_are_told_exactly() {
        for (query, vector) in [(vec![-2.6487708f32], vec![0.65271395f32]), (vec![1.5; 7], vec![-0.25; 7])] {
            let mut code = vec![0; vector.len()];
            let grid = encode(&vector, &mut code);
            let (estimate, error) = Query::new(&query).estimate(&code, &grid, Estimand::NegativeInnerProduct);
            let exact: f32 = -query.iter().zip(&vector).map(|(x, y)| x * y).sum::<f32>();
            assert!((estimate - exact).abs() <= 1e-6 * exact.abs(), "{estimate} for {exact}");
            assert!(error <= 1e-4 * exact.abs(), "{error}");
        }
    }

    proptest! {
        #[test]
        fn the_bound_always_holds(
            (a, b) in (1usize..900).prop_flat_map(|n| {
                (prop::collection::vec(-3f32..5.0, n), prop::collection::vec(-1f32..1.0, n))
            })
        ) {
            let query = Query::new(&a);
            let mut code = vec![0; b.len()];
            let grid = encode(&b, &mut code);
            let product: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let l2: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(x - y).powi(2)).sum();
            for (estimand, exact) in [(Estimand::NegativeInnerProduct, -product), (Estimand::L2Squared, l2)] {
                let (estimate, error) = query.estimate(&code, &grid, estimand);
                let off = (f64::from(estimate) - exact).abs();
                prop_assert!(off <= f64::from(error) + 1e-6, "{estimand:?}: off by {off}, bound {error}");
                // A twentieth of the product of the lengths: the code is worth something.
                let lengths = f64::from(query.norm * grid.squared.sqrt());
                prop_assert!(f64::from(error) <= 0.05 * lengths + 1e-3, "{estimand:?}: {error} of {lengths}");
            }
        }
    }
}
