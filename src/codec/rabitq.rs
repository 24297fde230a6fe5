//! RaBitQ with one bit a dimension.
//!
//! Let `r = o - c` be the residual of a rotated vector `o` to a rotated centre `c`. The code is its
//! sign in each dimension. Let `v` be the vector of `±1/2` with these signs. Then
//! `⟨r, q - c⟩ ≈ ‖r‖² / ⟨r, v⟩ · ⟨v, q - c⟩`, unbiased over the rotations. The centre enters
//! through numbers stored beside the code, so one table of a query serves every centre.

use super::fastscan::{BLOCK, Table};
pub use super::rounding::ORDINARY;
use super::rounding::{Rounding, Slack, hypot_bound};
use crate::util::bits;
use crate::util::cpu::vectorized;

/// What a code estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimand {
    /// Squared Euclidean distance.
    L2Squared,
    /// Negative inner product, plus a constant that the centre's own score contains. With unit
    /// vectors and the centre's cosine distance, the estimate is the cosine distance.
    NegativeInnerProduct,
}

/// The numbers beside a code.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Factors {
    /// Added to the centre's score.
    pub add: f32,
    /// Multiplies `⟨v, q⟩`.
    pub rescale: f32,
    /// Times `‖q - c‖`: how far the estimate may be off, in 99 of 100 cases.
    pub error: f32,
}

impl Factors {
    /// For a vector that no code can estimate.
    pub const UNKNOWN: Self = Self { add: 0.0, rescale: 0.0, error: f32::INFINITY };

    /// The same, or [`Self::UNKNOWN`] if a number is infinite or NaN.
    fn if_finite(self) -> Self {
        let are_finite = [self.add, self.rescale, self.error].into_iter().all(f32::is_finite);
        if are_finite { self } else { Self::UNKNOWN }
    }
}

/// Standard deviations that the error bound covers (the paper's `ε₀`, 1.9 there).
///
/// At 768 dimensions a wider bound costs nothing, and recall@10 reaches 0.998 instead of 0.993. At
/// 100 dimensions it costs a third of the speed and reaches 0.996 instead of 0.987 (800 of 2,300
/// lists).
pub const EPSILON: f32 = 2.5;

/// Encodes a rotated vector against a rotated centre. The bits, the lowest of each byte first, go
/// to `code`, which has a byte for every eight dimensions.
pub fn encode(vector: &[f32], centre: &[f32], estimand: Estimand, code: &mut [u8]) -> Factors {
    debug_assert_eq!(vector.len(), centre.len());
    debug_assert_eq!(vector.len(), code.len() * 8);
    let [squared, absolute, centre_dot_signs, residual_dot_centre] = signs_and_sums(vector, centre, code);
    // ⟨r, v⟩ and ⟨c, v⟩, as v is half the signs.
    let (along, centre_along) = (absolute / 2.0, centre_dot_signs / 2.0);
    // ‖v‖² = d / 4.
    let squared_steps = vector.len() as f32 / 4.0;
    Products { is_zero: absolute == 0.0, squared, residual_dot_centre }.factors(
        along,
        squared_steps,
        centre_along,
        vector.len(),
        estimand,
    )
}

vectorized! {
    /// Writes the signs of a residual. Returns its squared norm, the sum of its absolute values,
    /// and the centre's products with the signs and with the residual.
    fn signs_and_sums(vector: &[f32], centre: &[f32], code: &mut [u8]) -> [f32; 4] {
        // Partial sums computed side by side.
        const LANES: usize = 16;
        const TOGETHER: usize = 2 * LANES;
        let [mut squared, mut absolute, mut centre_dot_signs, mut residual_dot_centre] = [[0f32; LANES]; 4];
        let (vectors, _) = vector.as_chunks::<TOGETHER>();
        let (centres, _) = centre.as_chunks::<TOGETHER>();
        let (words, _) = code.as_chunks_mut::<4>();
        for ((word, vector), centre) in words.iter_mut().zip(vectors).zip(centres) {
            let mut flags = [0u8; TOGETHER];
            for first in [0, LANES] {
                for i in 0..LANES {
                    let centre = centre[first + i];
                    let residual = vector[first + i] - centre;
                    flags[first + i] = u8::from(residual > 0.0);
                    squared[i] += residual * residual;
                    absolute[i] += residual.abs();
                    centre_dot_signs[i] += if residual > 0.0 { centre } else { -centre };
                    residual_dot_centre[i] += residual * centre;
                }
            }
            *word = bits::pack(&flags).to_le_bytes();
        }
        [squared, absolute, centre_dot_signs, residual_dot_centre].map(|lanes| lanes.iter().sum::<f32>())
    }

    /// See [`Query::bounds`].
    fn bounds(numbers: &[[f32; BLOCK]; 3], scores: &[f32; BLOCK], doubt: &Doubt) -> [f32; BLOCK] {
        let ([adds, rescales, errors], doubt) = (numbers, *doubt);
        let mut bounds = [0f32; BLOCK];
        for i in 0..BLOCK {
            let code_and_table = hypot_bound(errors[i] * doubt.distance, rescales[i].abs() * doubt.table_error);
            bounds[i] = code_and_table + doubt.slack.of(adds[i], rescales[i], scores[i]);
        }
        bounds
    }

    /// Scores of a block's codes: `centre + add + rescale · (⟨bits, q⟩ - half_sum)`.
    fn scores(
        table: &Table,
        block: &[u8],
        adds: &[f32; BLOCK],
        rescales: &[f32; BLOCK],
        half_sum: f32,
        centre: f32,
    ) -> [f32; BLOCK] {
        let (sums, step, offset) = (table.sums(block), table.step(), half_sum - table.least());
        // The sum of 4,000 bytes fits a signed number, and vector registers convert those to
        // floats.
        let mut scores = [0f32; BLOCK];
        for i in 0..BLOCK {
            scores[i] = centre + adds[i] + rescales[i] * (step * sums[i].cast_signed() as f32 - offset);
        }
        scores
    }
}

/// Inner products of a residual `r` and its centre `c`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Products {
    /// Whether all numbers of `r` are zero. `‖r‖²` may vanish although they are not.
    pub is_zero: bool,
    /// `‖r‖²`.
    pub squared: f32,
    /// `⟨r, c⟩`.
    pub residual_dot_centre: f32,
}

impl Products {
    /// The numbers beside a code, whose vector `v` has `along = ⟨r, v⟩`, `squared_steps = ‖v‖²` and
    /// `centre_along = ⟨c, v⟩`.
    pub fn factors(
        self,
        along: f32,
        squared_steps: f32,
        centre_along: f32,
        dims: usize,
        estimand: Estimand,
    ) -> Factors {
        let Self { is_zero, squared, residual_dot_centre } = self;
        if is_zero {
            // The vector is the centre: its score is the centre's.
            return Factors::default();
        }
        if !ORDINARY.contains(&squared) || along.is_nan() || along <= 0.0 {
            return Factors::UNKNOWN;
        }
        let ratio = squared / along;
        // 1 / cos² of the angle between residual and code, less 1.
        let spread = (ratio * squared_steps / along - 1.0).max(0.0);
        let error = squared.sqrt() * EPSILON * (spread / (dims as f32 - 1.0)).sqrt();
        let factors = match estimand {
            Estimand::L2Squared => Factors {
                add: squared + 2.0 * ratio * centre_along,
                rescale: -2.0 * ratio,
                error: 2.0 * error,
            },
            Estimand::NegativeInnerProduct => {
                Factors { add: ratio * centre_along - residual_dot_centre, rescale: -ratio, error }
            }
        };
        factors.if_finite()
    }
}

/// What makes a block's estimates inexact.
#[derive(Clone, Copy)]
struct Doubt {
    /// Distance between the query and the centre.
    distance: f32,
    /// See [`Query::table_error`](Query).
    table_error: f32,
    slack: Slack,
}

/// A rotated query, ready to be estimated against codes of any centre.
#[derive(Clone, Debug)]
pub struct Query {
    table: Table,
    /// Half the sum over the rotated query: `⟨bits, q⟩ - ⟨v, q⟩`.
    half_sum: f32,
    /// How far the table's rounding moves a product, in 99 of 100 cases.
    table_error: f32,
    rounding: Rounding,
}

impl Query {
    pub fn new(rotated: &[f32]) -> Self {
        let table = Table::new(rotated);
        // An entry's error is uniform within half a step: its variance is a twelfth of the step's
        // square.
        let table_error = EPSILON * table.step() * (table.groups() as f32 / 12.0).sqrt();
        let half_sum = rotated.iter().sum::<f32>() / 2.0;
        Self { table, half_sum, table_error, rounding: Rounding::new(rotated) }
    }

    /// How far the estimates `scores` of a block may be off, in 99 of 100 cases. `numbers` are
    /// those beside the codes; `centre` is the centre's exact score and distance.
    pub fn bounds(
        &self,
        numbers: &[[f32; BLOCK]; 3],
        scores: &[f32; BLOCK],
        centre: (f64, f64),
    ) -> [f32; BLOCK] {
        // A code's bits are 1 at most.
        let slack = self.rounding.around(centre, 1.0);
        let doubt = Doubt { distance: centre.1 as f32, table_error: self.table_error, slack };
        bounds(numbers, scores, &doubt)
    }

    /// Estimated scores of the codes of one block, from the centre's exact score.
    ///
    /// `block` is laid out as [`super::fastscan::pack`] does.
    pub fn estimate(&self, block: &[u8], adds: &[f32], rescales: &[f32], centre_score: f64) -> [f32; BLOCK] {
        // Blocks that are not full have fewer numbers.
        let (mut whole_adds, mut whole_rescales) = ([f32::INFINITY; BLOCK], [0f32; BLOCK]);
        let whole = |numbers: &[f32], copy: &mut [f32; BLOCK]| {
            let count = numbers.len().min(BLOCK);
            copy[..count].copy_from_slice(&numbers[..count]);
        };
        let adds = adds.first_chunk::<BLOCK>().unwrap_or_else(|| {
            whole(adds, &mut whole_adds);
            &whole_adds
        });
        let rescales = rescales.first_chunk::<BLOCK>().unwrap_or_else(|| {
            whole(rescales, &mut whole_rescales);
            &whole_rescales
        });
        scores(&self.table, block, adds, rescales, self.half_sum, centre_score as f32)
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::fastscan::pack;
    use super::super::rotation::Rotation;
    use super::*;

    /// One of a few vectors that are not alike.
    pub fn vector(dims: usize, phase: f32) -> Vec<f32> {
        let dimension = |i| ((i * i) as f32 * 0.013 + phase).sin() + if i == 0 { 2.0 } else { 0.0 };
        (0..dims).map(dimension).collect()
    }

    /// Errors of estimates over many rotations of one triple of vectors whose residuals are as
    /// different as can be, and their bounds.
    ///
    /// `estimate` gets the rotated row, centre and query, and the centre's score.
    pub fn sample(
        dims: usize,
        estimand: Estimand,
        estimate: impl Fn(&[f32], &[f32], &[f32], f64) -> (f32, Factors),
    ) -> Vec<(f64, f64)> {
        let [row, centre, query] = [0.3, 1.1, 2.9].map(|phase| vector(dims, phase));
        let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum() };
        let l2 =
            |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum() };
        let score = |a: &[f32]| match estimand {
            Estimand::L2Squared => l2(a, &query),
            Estimand::NegativeInnerProduct => -dot(a, &query),
        };
        let errors = (0..400).map(|seed| {
            let rotation = Rotation::new(seed, dims);
            let [rotated_row, rotated_centre, rotated_query] =
                [&row, &centre, &query].map(|vector| rotation.rotate(vector));
            let (estimate, factors) = estimate(&rotated_row, &rotated_centre, &rotated_query, score(&centre));
            (f64::from(estimate) - score(&row), f64::from(factors.error) * l2(&query, &centre).sqrt())
        });
        errors.collect()
    }

    #[test]
    fn the_estimate_is_unbiased_and_keeps_its_bound() {
        for estimand in [Estimand::L2Squared, Estimand::NegativeInnerProduct] {
            for dims in [60, 100, 384, 768, 1000] {
                let errors = sample(dims, estimand, |row, centre, query, centre_score| {
                    let mut code = vec![0; row.len() / 8];
                    let factors = encode(row, centre, estimand, &mut code);
                    let (block, query) = (pack(&[&code], row.len()), Query::new(query));
                    (query.estimate(&block, &[factors.add], &[factors.rescale], centre_score)[0], factors)
                });
                let relative: Vec<f64> = errors.iter().map(|(error, bound)| error / bound).collect();
                let count = relative.len() as f64;
                let mean = relative.iter().sum::<f64>() / count;
                let deviation = (relative.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
                // The mean of 400 draws lies within four of its standard deviations of zero.
                assert!(mean.abs() < 4.0 * deviation / count.sqrt(), "{estimand:?} {dims}: mean {mean}");
                let beyond = relative.iter().filter(|x| x.abs() > 1.0).count() as f64 / count;
                assert!(beyond < 0.025, "{estimand:?} {dims}: {beyond} of the estimates miss the bound");
                assert!(deviation > 0.15, "{estimand:?} {dims}: the bound is not idle: {deviation}");
            }
        }
    }

    /// Vectors around a point far from the origin: what the query's tables and single precision add
    /// exceeds by far what the code loses.
    #[test]
    fn bounds_hold_where_tables_are_coarser_than_codes() {
        let dims = 64;
        let far = |phase: f32| -> Vec<f32> { vector(dims, phase).iter().map(|x| 1000.0 + x).collect() };
        let [row, centre, query] = [0.3, 1.1, 2.9].map(far);
        let distance = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
        };
        let centre_score = distance(&centre, &query);
        let mut beyond = 0;
        for seed in 0..200 {
            let rotation = Rotation::new(seed, dims);
            let [rotated_row, rotated_centre, rotated_query] =
                [&row, &centre, &query].map(|vector| rotation.rotate(vector));
            let mut code = vec![0; dims / 8];
            let factors = encode(&rotated_row, &rotated_centre, Estimand::L2Squared, &mut code);
            let numbers = [factors.add, factors.rescale, factors.error].map(|number| [number; BLOCK]);
            let query_of_codes = Query::new(&rotated_query);
            let block = pack(&[&code[..]; BLOCK], dims);
            let scores = query_of_codes.estimate(&block, &numbers[0], &numbers[1], centre_score);
            let bounds = query_of_codes.bounds(&numbers, &scores, (centre_score, centre_score.sqrt()));
            let error = (f64::from(scores[0]) - distance(&row, &query)).abs();
            assert!(bounds[0] < 1000.0, "a bound that means something: {}", bounds[0]);
            beyond += usize::from(error > bounds[0].into());
        }
        assert!(beyond <= 5, "{beyond} of 200");
    }

    #[test]
    fn a_vector_at_its_centre_is_estimated_exactly() {
        let centre: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let mut code = [0; 8];
        let factors = encode(&centre, &centre, Estimand::L2Squared, &mut code);
        let query = Query::new(&[1.0; 64]);
        let block = pack(&[&code], 64);
        assert_eq!(query.estimate(&block, &[factors.add], &[factors.rescale], 5.5)[0], 5.5);
    }
}
