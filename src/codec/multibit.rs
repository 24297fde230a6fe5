//! RaBitQ with several bits a dimension (Gao et al.: "Practical and Asymptotically Optimal Quantization of
//! High-Dimensional Vectors in Euclidean Space for Approximate Nearest Neighbor Search", SIGMOD 2025).
//!
//! The estimator is that of one bit (see [`super::rabitq`]), with `v` on the grid of `2^bits` steps around zero whose
//! direction is nearest to the residual's. A code is `bits` planes of one bit a dimension, the lowest first.

use super::rabitq::{Factors, Products, Target};

/// Most bits a dimension.
pub const MAX_BITS: usize = 8;

/// Bytes of a code.
pub fn code_bytes(dims: usize, bits: usize) -> usize {
    bits * (dims / 8)
}

/// Encodes a rotated vector against a rotated centre.
pub fn encode(vector: &[f32], centre: &[f32], target: Target, bits: usize, code: &mut [u8]) -> Factors {
    debug_assert_eq!(code.len(), code_bytes(vector.len(), bits));
    let (steps, factors) = quantize(vector, centre, target, bits);
    code.fill(0);
    let plane_bytes = vector.len() / 8;
    for (i, step) in steps.iter().enumerate() {
        for bit in 0..bits {
            code[bit * plane_bytes + i / 8] |= (step >> bit & 1) << (i % 8);
        }
    }
    factors
}

/// For each dimension of a rotated vector the step on the grid around a rotated centre, and what goes with a code of
/// these steps.
pub fn quantize(vector: &[f32], centre: &[f32], target: Target, bits: usize) -> (Vec<u8>, Factors) {
    let residual: Vec<f32> = vector.iter().zip(centre).map(|(x, c)| x - c).collect();
    let steps = best_steps(&residual, bits);
    let middle = middle(bits);
    let mut products = Products::default();
    let (mut along, mut squared_steps, mut centre_along) = (0f32, 0f32, 0f32);
    for (i, step) in steps.iter().enumerate() {
        let v = f32::from(*step) - middle;
        along += residual[i] * v;
        squared_steps += v * v;
        centre_along += centre[i] * v;
        products.squared += residual[i] * residual[i];
        products.residual_dot_centre += residual[i] * centre[i];
    }
    let factors = products.factors(along, squared_steps, centre_along, vector.len(), target);
    (steps, factors)
}

/// What the steps are counted from.
pub fn middle(bits: usize) -> f32 {
    ((1 << bits) - 1) as f32 / 2.0
}

/// For each dimension a step in `0..2^bits`, such that the direction of `step - middle` is near the residual's.
fn best_steps(residual: &[f32], bits: usize) -> Vec<u8> {
    // How many root mean squares of the residual the grid's half covers: wide grids for few outliers, or fine ones.
    const RANGES: [f32; 8] = [1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.5, 4.0];
    let squared: f32 = residual.iter().map(|x| x * x).sum();
    let scale = (squared / residual.len() as f32).sqrt();
    let half = (1 << (bits - 1)) as f32;
    let highest = ((1 << bits) - 1) as f32;
    let step = |x: f32, per_unit: f32| (x * per_unit + half).floor().clamp(0.0, highest);
    let per_units = RANGES.iter().map(|range| half / (range * scale)).filter(|unit| unit.is_finite());
    let cosine = |per_unit: f32| {
        let (mut along, mut squared_steps) = (0f32, 0f32);
        for &x in residual {
            let v = step(x, per_unit) - middle(bits);
            along += x * v;
            squared_steps += v * v;
        }
        along / squared_steps.sqrt()
    };
    let best = per_units.max_by(|a, b| cosine(*a).total_cmp(&cosine(*b))).unwrap_or(1.0);
    residual.iter().map(|&x| step(x, best) as u8).collect()
}

/// A rotated query, ready to be estimated against codes of several bits.
#[derive(Clone, Debug)]
pub struct Query {
    /// For each group of four dimensions the sums over its subsets.
    sums: Vec<[f32; 16]>,
    total: f32,
}

impl Query {
    pub fn new(rotated: &[f32]) -> Self {
        let (groups, _) = rotated.as_chunks::<4>();
        let sums = groups.iter().map(|[a, b, c, d]| {
            let low = [0.0, *a, *b, a + b];
            let high = [0.0, *c, *d, c + d];
            std::array::from_fn(|subset| low[subset % 4] + high[subset / 4])
        });
        Self { sums: sums.collect(), total: rotated.iter().sum() }
    }

    /// The estimated score of a code, from the centre's exact score.
    pub fn estimate(&self, code: &[u8], bits: usize, factors: Factors, centre_score: f64) -> f32 {
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
        (centre_score + f64::from(factors.add + factors.rescale * product)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::super::rabitq::tests::sample;
    use super::*;

    #[test]
    fn more_bits_are_nearer_and_keep_their_bound() {
        for target in [Target::L2Squared, Target::NegativeInnerProduct] {
            for dims in [100, 384] {
                let mut before = f64::INFINITY;
                for bits in 1..=MAX_BITS {
                    let errors = sample(dims, target, |row, centre, query, centre_score| {
                        let mut code = vec![0; code_bytes(row.len(), bits)];
                        let factors = encode(row, centre, target, bits, &mut code);
                        (Query::new(query).estimate(&code, bits, factors, centre_score), factors)
                    });
                    let count = errors.len() as f64;
                    let deviation =
                        (errors.iter().map(|(error, _)| error.powi(2)).sum::<f64>() / count).sqrt();
                    let mean = errors.iter().map(|(error, _)| error).sum::<f64>() / count;
                    assert!(
                        deviation < 0.75 * before,
                        "{target:?} {dims} {bits}: {deviation} after {before}"
                    );
                    assert!(mean.abs() < 4.0 * deviation / count.sqrt(), "{target:?} {dims} {bits}: {mean}");
                    let beyond = errors.iter().filter(|(error, bound)| error.abs() > *bound).count();
                    assert!(beyond as f64 / count < 0.04, "{target:?} {dims} {bits}: {beyond}");
                    before = deviation;
                }
            }
        }
    }

    #[test]
    fn a_vector_at_its_centre_is_estimated_exactly() {
        let centre: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let mut code = [0; 32];
        let factors = encode(&centre, &centre, Target::L2Squared, 4, &mut code);
        assert_eq!(Query::new(&[1.0; 64]).estimate(&code, 4, factors, 5.5), 5.5);
    }
}
