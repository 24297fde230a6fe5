//! A random rotation in `O(d log d)`: rounds of random signs and fast Hadamard transforms.
//!
//! A transform needs a power of two. For other dimensions the rounds transform the first and the
//! last `2^k` of them by turns. After each round a butterfly mixes the two halves (a Kac walk). The
//! order of summation is fixed, so the result is the same to the last bit on every processor.

use crate::util::cpu::vectorized;
use crate::util::random::Random;
use std::f32::consts::FRAC_1_SQRT_2;
use std::ops::Range;

const ROUNDS: usize = 4;
/// Rotated vectors are padded to a multiple of this many dimensions.
const GRANULE: usize = 64;

/// A rotation of vectors of some number of dimensions, given by a seed.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// For each round a factor of 1 or -1 for each dimension.
    signs: Vec<f32>,
    dims: usize,
}

/// Dimensions of a rotated vector.
pub fn rotated_dims(dims: usize) -> usize {
    dims.next_multiple_of(GRANULE).max(GRANULE)
}

impl Rotation {
    pub fn new(seed: u64, dims: usize) -> Self {
        let dims = rotated_dims(dims);
        let mut random = Random::new(seed);
        let mut bits = 0;
        let signs = (0..ROUNDS * dims)
            .map(|i| {
                if i % 64 == 0 {
                    bits = random.next();
                }
                if bits >> (i % 64) & 1 == 1 { 1.0 } else { -1.0 }
            })
            .collect();
        Self { signs, dims }
    }

    /// Dimensions of a rotated vector: those of the original, rounded up.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// A copy of a vector, padded and rotated.
    pub fn rotate(&self, vector: &[f32]) -> Vec<f32> {
        let mut rotated = vec![0.0; self.dims];
        rotated.iter_mut().zip(vector).for_each(|(rotated, x)| *rotated = *x);
        self.apply(&mut rotated);
        rotated
    }

    /// Rotates `vector` in place. It has [`Self::dims`] numbers; those beyond the original
    /// dimensions are zero.
    pub fn apply(&self, vector: &mut [f32]) {
        debug_assert_eq!(vector.len(), self.dims);
        apply_rounds(&self.signs, vector);
    }

    /// Inverts [`Self::apply`] in place: each step is its own inverse.
    pub fn undo(&self, vector: &mut [f32]) {
        debug_assert_eq!(vector.len(), self.dims);
        for (round, signs) in self.signs.chunks_exact(self.dims).enumerate().rev() {
            let transformed = transformed(round, self.dims);
            if transformed.len() < self.dims {
                mix(vector);
            }
            hadamard(&mut vector[transformed]);
            vector.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
        }
    }
}

vectorized! {
    /// Rounds of signs and transforms.
    fn apply_rounds(signs: &[f32], vector: &mut [f32]) {
        for (round, signs) in signs.chunks_exact(vector.len()).enumerate() {
            for (x, sign) in vector.iter_mut().zip(signs) {
                *x *= sign;
            }
            let transformed = transformed(round, vector.len());
            let is_whole = transformed.len() == vector.len();
            hadamard(&mut vector[transformed]);
            if !is_whole {
                mix(vector);
            }
        }
    }
}

/// The dimensions that a round transforms: a power of two.
#[inline(always)]
fn transformed(round: usize, dims: usize) -> Range<usize> {
    let power = 1 << dims.ilog2();
    let from = if round.is_multiple_of(2) { 0 } else { dims - power };
    from..from + power
}

/// Replaces the two halves by their sum and their difference, both over √2.
#[inline(always)]
fn mix(vector: &mut [f32]) {
    let (low, high) = vector.split_at_mut(vector.len() / 2);
    for (x, y) in low.iter_mut().zip(high) {
        (*x, *y) = ((*x + *y) * FRAC_1_SQRT_2, (*x - *y) * FRAC_1_SQRT_2);
    }
}

/// Fast Walsh-Hadamard transform, scaled so that lengths stay as they are. The length is a power of
/// two, 64 or more.
#[inline(always)]
fn hadamard(vector: &mut [f32]) {
    const FIRST: usize = 8;
    // The first three steps run within eight numbers: loops over one, two and four of them would be
    // mostly overhead.
    let (eights, _) = vector.as_chunks_mut::<FIRST>();
    for v in eights {
        let (a, b, c, d) = (v[0] + v[1], v[2] + v[3], v[4] + v[5], v[6] + v[7]);
        let (e, f, g, h) = (v[0] - v[1], v[2] - v[3], v[4] - v[5], v[6] - v[7]);
        let (i, j, k, l) = (a + b, e + f, a - b, e - f);
        let (m, n, o, p) = (c + d, g + h, c - d, g - h);
        *v = [i + m, j + n, k + o, l + p, i - m, j - n, k - o, l - p];
    }
    let mut half = FIRST;
    while half < vector.len() {
        for pair in vector.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (x, y) in low.iter_mut().zip(high) {
                (*x, *y) = (*x + *y, *x - *y);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (vector.len() as f32).sqrt();
    for x in vector {
        *x *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn distances_are_preserved(
            (a, b) in (1usize..1700).prop_flat_map(|n| {
                (prop::collection::vec(-1f32..1.0, n), prop::collection::vec(-1f32..1.0, n))
            }),
            seed in any::<u64>()
        ) {
            let rotation = Rotation::new(seed, a.len());
            let distance = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum()
            };
            let (before, after) = (distance(&a, &b), distance(&rotation.rotate(&a), &rotation.rotate(&b)));
            prop_assert!((before - after).abs() <= 1e-4 * before.max(1e-3), "{before} became {after}");
        }

        #[test]
        fn a_rotation_can_be_undone(
            vector in prop::collection::vec(-1f32..1.0, 1..1700), seed in any::<u64>()
        ) {
            let rotation = Rotation::new(seed, vector.len());
            let mut turned = rotation.rotate(&vector);
            rotation.undo(&mut turned);
            prop_assert!(vector.iter().zip(&turned).all(|(x, y)| (x - y).abs() < 1e-5));
        }
    }

    #[test]
    fn one_dimension_is_spread_over_all() {
        for dims in [64, 100, 128, 384, 768, 1536] {
            let rotation = Rotation::new(5, dims);
            let largest = rotation.rotate(&[0.0, 0.0, 0.0, 1.0]).iter().fold(0f32, |max, x| max.max(x.abs()));
            assert!(largest < 6.0 / (dims as f32).sqrt(), "{dims}: {largest}");
        }
    }
}
