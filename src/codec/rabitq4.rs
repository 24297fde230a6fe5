//! RaBitQ with four bits a dimension, two dimensions a byte: for codes that are read one by one.
//!
//! The estimator is that of [`super::rabitq_multibit`]. Of each 64 dimensions the first 32 are the
//! low halves of the code's bytes, the last 32 the high halves. The query is rounded to a byte a
//! dimension, so that products are sums of small integers. The error bound includes this rounding.

use crate::codec::rabitq::{EPSILON, Estimand, Factors};
use crate::codec::rabitq_multibit;
use crate::codec::rounding::{Rounding, Slack, hypot_bound};
use crate::util::cpu::vectorized;

const BITS: usize = 4;
const LOW: u8 = 0x0F;
/// Dimensions whose steps take [`SPAN_BYTES`] bytes.
const SPAN: usize = 64;
const SPAN_BYTES: usize = SPAN / 2;
/// Greatest step of a query's dimension: sums over [`SPANS`] spans fit 16 bits.
const GREATEST: f32 = 127.0;
const SPANS: usize = 8;

/// Bytes of the code of a rotated vector of `dims` dimensions.
pub fn code_bytes(dims: usize) -> usize {
    dims / 2
}

/// Encodes a rotated vector against the origin into `code`, of [`code_bytes`] bytes.
pub fn encode(vector: &[f32], estimand: Estimand, code: &mut [u8]) -> Factors {
    debug_assert_eq!(code.len(), code_bytes(vector.len()));
    let (steps, factors) = rabitq_multibit::quantize(vector, &vec![0.0; vector.len()], estimand, BITS);
    let (spans, _) = steps.as_chunks::<SPAN>();
    let (bytes, _) = code.as_chunks_mut::<SPAN_BYTES>();
    for (bytes, steps) in bytes.iter_mut().zip(spans) {
        let (low, high) = steps.split_at(SPAN_BYTES);
        for (byte, (low, high)) in bytes.iter_mut().zip(low.iter().zip(high)) {
            *byte = low | high << BITS;
        }
    }
    factors
}

/// The rotated vector that a code against the origin stands for.
pub fn decode(code: &[u8], factors: Factors, estimand: Estimand) -> Vec<f32> {
    let scale = match estimand {
        Estimand::L2Squared => -factors.rescale / 2.0,
        Estimand::NegativeInnerProduct => -factors.rescale,
    };
    let value = |step: u8| scale * (f32::from(step) - rabitq_multibit::middle(BITS));
    let (spans, _) = code.as_chunks::<SPAN_BYTES>();
    let steps = spans.iter().flat_map(|span| {
        let low = span.iter().map(|byte| byte & LOW);
        low.chain(span.iter().map(|byte| byte >> BITS))
    });
    steps.map(value).collect()
}

/// A rotated query, ready to be estimated against codes.
#[derive(Clone, Debug)]
pub struct Query {
    /// For each dimension its number of steps.
    steps: Vec<i16>,
    step: f32,
    /// How much a product with steps exceeds the product with the grid around zero.
    offset: f32,
    /// How far the rounding of the query moves a product, in 99 of 100 cases.
    step_error: f32,
    slack: Slack,
    /// The origin's score and distance.
    origin: (f32, f32),
}

impl Query {
    /// `origin` is the exact score and distance of the origin.
    pub fn new(rotated: &[f32], origin: (f64, f64)) -> Self {
        let greatest = rotated.iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
        let step = if greatest > 0.0 { (greatest / GREATEST).max(f32::MIN_POSITIVE) } else { 1.0 };
        let steps: Vec<i16> =
            rotated.iter().map(|x| (x / step).round().clamp(-GREATEST, GREATEST) as i16).collect();
        let rounded = |steps: i16| step * f32::from(steps);
        let sum: f32 = steps.iter().map(|&steps| rounded(steps)).sum();
        let squared: f32 = rotated.iter().zip(&steps).map(|(x, &steps)| (x - rounded(steps)).powi(2)).sum();
        let middle = rabitq_multibit::middle(BITS);
        // A vector on the grid is at most `middle · √d` long, and rounding does not depend on its
        // direction.
        let step_error = EPSILON * middle * squared.sqrt();
        let slack = Rounding::new(rotated).around(origin, middle);
        let origin = (origin.0 as f32, origin.1 as f32);
        Self { steps, step, offset: middle * sum, step_error, slack, origin }
    }

    /// The estimated score of a code against the origin, and how far it may be off in 99 of 100
    /// cases.
    pub fn estimate(&self, code: &[u8], factors: Factors) -> (f32, f32) {
        let product = self.step * dot(code, &self.steps) as f32 - self.offset;
        let Factors { add, rescale, error } = factors;
        let (origin_score, distance) = self.origin;
        let score = origin_score + add + rescale * product;
        let code_and_steps = hypot_bound(error * distance, rescale.abs() * self.step_error);
        (score, code_and_steps + self.slack.of(add, rescale, score))
    }
}

vectorized! {
    /// The product of a code's steps and a query's.
    fn dot(code: &[u8], query: &[i16]) -> i32 {
        let (codes, _) = code.as_chunks::<SPAN_BYTES>();
        let (queries, _) = query.as_chunks::<SPAN>();
        let mut total = 0;
        for (codes, queries) in codes.chunks(SPANS).zip(queries.chunks(SPANS)) {
            let mut sums = [0i16; SPAN_BYTES];
            for (code, query) in codes.iter().zip(queries) {
                for i in 0..SPAN_BYTES {
                    let low = i16::from(code[i] & LOW) * query[i];
                    sums[i] += low + i16::from(code[i] >> BITS) * query[SPAN_BYTES + i];
                }
            }
            total += sums.iter().map(|&sum| i32::from(sum)).sum::<i32>();
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rabitq::tests::vector;
    use crate::codec::rotation::Rotation;

    fn dot_of(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn estimates_are_near_and_keep_their_bound() {
        for estimand in [Estimand::L2Squared, Estimand::NegativeInnerProduct] {
            for dims in [64, 384, 1536] {
                let (row, query) = (vector(dims, 0.3), vector(dims, 2.9));
                let norm = dot_of(&query, &query);
                let (score, origin_score) = match estimand {
                    Estimand::L2Squared => (norm + dot_of(&row, &row) - 2.0 * dot_of(&row, &query), norm),
                    Estimand::NegativeInnerProduct => (-dot_of(&row, &query), 0.0),
                };
                let (mut beyond, mut squared, mut bounds) = (0, 0.0, 0.0);
                for seed in 0..400 {
                    let rotation = Rotation::new(seed, dims);
                    let mut code = vec![0; code_bytes(rotation.dims())];
                    let factors = encode(&rotation.rotate(&row), estimand, &mut code);
                    let query =
                        Query::new(&rotation.rotate(&query), (origin_score.into(), norm.sqrt().into()));
                    let (estimate, bound) = query.estimate(&code, factors);
                    beyond += usize::from((estimate - score).abs() > bound);
                    squared += (estimate - score).powi(2);
                    bounds += bound;
                }
                assert!(beyond <= 12, "{estimand:?} {dims}: {beyond} of 400 miss their bound");
                let (deviation, bound) = ((squared / 400.0).sqrt(), bounds / 400.0);
                assert!(deviation > 0.15 * bound, "{estimand:?} {dims}: {deviation} within {bound}");
            }
        }
    }

    #[test]
    fn a_code_stands_for_a_vector_near_its_own() {
        for estimand in [Estimand::L2Squared, Estimand::NegativeInnerProduct] {
            let row = Rotation::new(5, 384).rotate(&vector(384, 0.3));
            let mut code = vec![0; code_bytes(384)];
            let factors = encode(&row, estimand, &mut code);
            let decoded = decode(&code, factors, estimand);
            let off: Vec<f32> = row.iter().zip(&decoded).map(|(x, y)| x - y).collect();
            assert!(dot_of(&off, &off) < 0.02 * dot_of(&row, &row), "{estimand:?}");
        }
    }

    #[test]
    fn a_vector_of_zeros_is_estimated_exactly() {
        let mut code = [0; 32];
        let factors = encode(&[0.0; 64], Estimand::L2Squared, &mut code);
        let exactly = |query: &[f32]| {
            let (score, bound) = Query::new(query, (5.5, 8.0)).estimate(&code, factors);
            score == 5.5 && (0.0..1e-3).contains(&bound)
        };
        assert!(exactly(&[1.0; 64]));
        assert_eq!(decode(&code, factors, Estimand::L2Squared), [0.0; 64]);
        assert!(exactly(&[0.0; 64]));
    }
}
