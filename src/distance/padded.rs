//! Products, in single precision, of vectors that fill whole vector registers. They serve callers
//! that compare many vectors and show no product to a user.

use crate::util::cpu::vectorized;

/// Numbers processed side by side; the length of vectors is a multiple of it.
const LANES: usize = 64;

vectorized! {
    /// Inner product of two vectors of one length, a multiple of 64 (the rest is left out).
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        sum(a, b, |x, y| x * y)
    }

    /// Squared Euclidean distance of two such vectors.
    pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
        sum(a, b, |x, y| (x - y) * (x - y))
    }
}

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            lanes[i] += term(a[i], b[i]);
        }
    }
    // Halves are added, so that no addition waits for another.
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_a_plain_loop() {
        for dims in [64, 128, 768] {
            let vector =
                |phase: f32| -> Vec<f32> { (0..dims).map(|i| (i as f32 * 0.7 + phase).sin()).collect() };
            let (a, b) = (vector(0.0), vector(1.0));
            let plain =
                |term: fn(f32, f32) -> f32| -> f32 { a.iter().zip(&b).map(|(x, y)| term(*x, *y)).sum() };
            assert!((dot(&a, &b) - plain(|x, y| x * y)).abs() < 1e-3);
            assert!((l2_squared(&a, &b) - plain(|x, y| (x - y) * (x - y))).abs() < 1e-3);
        }
    }
}
