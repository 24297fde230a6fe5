//! RaBitQ with several bits a dimension. The source is Gao et al.: "Practical and Asymptotically
//! Optimal Quantization of High-Dimensional Vectors in Euclidean Space for Approximate Nearest
//! Neighbor Search", SIGMOD 2025.
//!
//! The estimator is that of one bit (see [`super::rabitq`]). Here `v` is on a grid of `2^bits`
//! steps around zero, scaled so that its direction is near the residual's. A code is `bits` planes
//! of one bit a dimension, the lowest first.

use crate::codec::rabitq::{Estimand, Factors, Products};
use crate::codec::rounding::Rounding;
use crate::distance::subtract;
use crate::util::cpu::vectorized;

/// Most bits a dimension.
pub const MAX_BITS: usize = 8;

/// Bytes of a code of `dims` rotated dimensions.
pub fn code_bytes(dims: usize, bits: usize) -> usize {
    bits * (dims / 8)
}

/// Encodes a rotated vector against a rotated centre into `code`, of [`code_bytes`] bytes.
pub fn encode(vector: &[f32], centre: &[f32], estimand: Estimand, bits: usize, code: &mut [u8]) -> Factors {
    debug_assert_eq!(code.len(), code_bytes(vector.len(), bits));
    let (steps, factors) = quantize(vector, centre, estimand, bits);
    code.fill(0);
    let plane_bytes = vector.len() / 8;
    for (i, step) in steps.iter().enumerate() {
        for bit in 0..bits {
            code[bit * plane_bytes + i / 8] |= (step >> bit & 1) << (i % 8);
        }
    }
    factors
}

/// The grid step of each dimension of a rotated vector around a rotated centre, and the numbers
/// beside a code of these steps.
pub fn quantize(vector: &[f32], centre: &[f32], estimand: Estimand, bits: usize) -> (Vec<u8>, Factors) {
    let residual = subtract(vector, centre);
    let grid = Grid::new(&residual, bits);
    let mut steps = vec![0; residual.len()];
    steps_of(&residual, grid, &mut steps);
    let [along, squared_steps] = along_and_squares(&residual, grid);
    let [centre_along, residual_dot_centre, squared] = products_of(&residual, centre, grid);
    let is_zero = residual.iter().all(|&x| x == 0.0);
    let products = Products { is_zero, squared, residual_dot_centre };
    (steps, products.factors(along, squared_steps, centre_along, vector.len(), estimand))
}

/// The middle of the grid, from which steps are counted.
pub fn middle(bits: usize) -> f32 {
    ((1 << bits) - 1) as f32 / 2.0
}

/// Steps in `0..2^bits`, so wide that the direction of `step - middle` is near the residual's.
#[derive(Clone, Copy)]
struct Grid {
    per_unit: f32,
    half: f32,
    highest: f32,
    middle: f32,
}

impl Grid {
    fn new(residual: &[f32], bits: usize) -> Self {
        // Candidates for the grid's half width, in root mean squares of the residual: a wide grid
        // covers outliers, a narrow one is finer.
        const RANGES: [f32; 8] = [1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.5, 4.0];
        let squared: f32 = residual.iter().map(|x| x * x).sum();
        let scale = (squared / residual.len() as f32).sqrt();
        let half = (1 << (bits - 1)) as f32;
        let grid =
            |per_unit: f32| Self { per_unit, half, highest: ((1 << bits) - 1) as f32, middle: middle(bits) };
        let cosine = |per_unit: f32| {
            let [along, squared_steps] = along_and_squares(residual, grid(per_unit));
            along / squared_steps.sqrt()
        };
        let per_units = RANGES.iter().map(|range| half / (range * scale)).filter(|unit| unit.is_finite());
        let with_cosines = per_units.map(|per_unit| (cosine(per_unit), per_unit));
        grid(with_cosines.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |(_, per_unit)| per_unit))
    }

    #[inline(always)]
    fn step(self, x: f32) -> f32 {
        (x * self.per_unit + self.half).clamp(0.0, self.highest).trunc()
    }
}

/// Partial sums computed side by side; the dimensions of rotated vectors are a multiple of them.
const LANES: usize = 16;

vectorized! {
    fn steps_of(residual: &[f32], grid: Grid, steps: &mut [u8]) {
        for (step, x) in steps.iter_mut().zip(residual) {
            *step = grid.step(*x) as u8;
        }
    }

    /// The residual's product with its steps from the middle, and their squared norm.
    fn along_and_squares(residual: &[f32], grid: Grid) -> [f32; 2] {
        let [mut along, mut squares] = [[0f32; LANES]; 2];
        for residual in residual.as_chunks::<LANES>().0 {
            for i in 0..LANES {
                let v = grid.step(residual[i]) - grid.middle;
                along[i] += residual[i] * v;
                squares[i] += v * v;
            }
        }
        [along, squares].map(|lanes| lanes.iter().sum())
    }

    /// The centre's products with the steps from the middle and with the residual, and the
    /// residual's squared norm.
    fn products_of(residual: &[f32], centre: &[f32], grid: Grid) -> [f32; 3] {
        let [mut along, mut dot, mut squared] = [[0f32; LANES]; 3];
        let (residuals, centres) = (residual.as_chunks::<LANES>().0, centre.as_chunks::<LANES>().0);
        for (residual, centre) in residuals.iter().zip(centres) {
            for i in 0..LANES {
                along[i] += centre[i] * (grid.step(residual[i]) - grid.middle);
                dot[i] += residual[i] * centre[i];
                squared[i] += residual[i] * residual[i];
            }
        }
        [along, dot, squared].map(|lanes| lanes.iter().sum())
    }
}

/// A rotated query, ready to be estimated against codes of several bits.
#[derive(Clone, Debug)]
pub struct Query {
    /// For each group of four dimensions the sums over its subsets.
    sums: Vec<[f32; 16]>,
    total: f32,
    rounding: Rounding,
}

impl Query {
    pub fn new(rotated: &[f32]) -> Self {
        let (groups, _) = rotated.as_chunks::<4>();
        let sums = groups.iter().map(|[a, b, c, d]| {
            let low = [0.0, *a, *b, a + b];
            let high = [0.0, *c, *d, c + d];
            std::array::from_fn(|subset| low[subset % 4] + high[subset / 4])
        });
        Self { sums: sums.collect(), total: rotated.iter().sum(), rounding: Rounding::new(rotated) }
    }

    /// The estimated score of a code, and how far it may be off in 99 of 100 cases. `centre` is the
    /// centre's exact score and its distance to the query.
    pub fn estimate(&self, code: &[u8], bits: usize, factors: Factors, centre: (f64, f64)) -> (f32, f32) {
        let plane_bytes = self.sums.len() / 2;
        let mut product = -middle(bits) * self.total;
        for (bit, plane) in code.chunks_exact(plane_bytes).take(bits).enumerate() {
            let (pairs, _) = self.sums.as_chunks::<2>();
            // Two sums, so that one look-up need not wait for the other.
            let (mut low, mut high) = (0f32, 0f32);
            for (byte, [low_sums, high_sums]) in plane.iter().zip(pairs) {
                low += low_sums[usize::from(byte & 0x0F)];
                high += high_sums[usize::from(byte >> 4)];
            }
            product += (1u32 << bit) as f32 * (low + high);
        }
        let Factors { add, rescale, error } = factors;
        let score = (centre.0 + f64::from(add + rescale * product)) as f32;
        let slack = self.rounding.around(centre, middle(bits));
        (score, error * centre.1 as f32 + slack.of(add, rescale, score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rabitq::tests::sample;

    #[test]
    fn vectors_too_small_to_be_squared_are_unknown() {
        let vector: Vec<f32> = (0..64).map(|i| if i % 3 == 0 { -1e-42 } else { 1e-43 }).collect();
        for estimand in [Estimand::L2Squared, Estimand::NegativeInnerProduct] {
            for bits in 1..=MAX_BITS {
                let mut code = vec![0; code_bytes(64, bits)];
                let factors = encode(&vector, &[0.0; 64], estimand, bits, &mut code);
                assert_eq!(factors, Factors::UNKNOWN, "{estimand:?} {bits}");
            }
        }
    }

    #[test]
    fn more_bits_are_nearer_and_keep_their_bound() {
        for estimand in [Estimand::L2Squared, Estimand::NegativeInnerProduct] {
            for dims in [100, 384] {
                let mut before = f64::INFINITY;
                for bits in 1..=MAX_BITS {
                    let errors = sample(dims, estimand, |row, centre, query, centre_score| {
                        let mut code = vec![0; code_bytes(row.len(), bits)];
                        let factors = encode(row, centre, estimand, bits, &mut code);
                        (Query::new(query).estimate(&code, bits, factors, (centre_score, 1.0)).0, factors)
                    });
                    let count = errors.len() as f64;
                    let deviation =
                        (errors.iter().map(|(error, _)| error.powi(2)).sum::<f64>() / count).sqrt();
                    let mean = errors.iter().map(|(error, _)| error).sum::<f64>() / count;
                    assert!(
                        deviation < 0.75 * before,
                        "{estimand:?} {dims} {bits}: {deviation} after {before}"
                    );
                    assert!(
                        mean.abs() < 4.0 * deviation / count.sqrt(),
                        "{estimand:?} {dims} {bits}: {mean}"
                    );
                    let beyond = errors.iter().filter(|(error, bound)| error.abs() > *bound).count();
                    assert!(beyond as f64 / count < 0.04, "{estimand:?} {dims} {bits}: {beyond}");
                    before = deviation;
                }
            }
        }
    }

    #[test]
    fn a_vector_at_its_centre_is_estimated_exactly() {
        let centre: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let mut code = [0; 32];
        let factors = encode(&centre, &centre, Estimand::L2Squared, 4, &mut code);
        let (score, error) = Query::new(&[1.0; 64]).estimate(&code, 4, factors, (5.5, 3.0));
        assert_eq!(score, 5.5);
        assert!((0.0..1e-3).contains(&error), "but for rounding: {error}");
    }
}
