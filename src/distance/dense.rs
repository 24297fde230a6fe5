//! Dense vectors of `f32` and of half-precision `f16`.

use super::widen::{self, Sum};
use half::f16;

/// Below this many dimensions the call into a SIMD kernel costs more than the arithmetic (see
/// `benches/kernels.rs`).
const PLAIN_LOOP_DIMS: usize = 16;

/// A number that a dense vector holds.
pub trait Element: Copy + Default + PartialEq + bytemuck::Pod + Send + Sync {
    fn to_f32(self) -> f32;
    /// Rounds to the nearest representable number; overflows to infinity.
    fn from_f32(x: f32) -> Self;

    /// Inner product. Both slices have the same length, which the caller has checked.
    fn dot(a: &[Self], b: &[Self]) -> f64;
    /// Squared Euclidean distance.
    fn l2_squared(a: &[Self], b: &[Self]) -> f64;
    /// Sum of absolute differences.
    fn l1(a: &[Self], b: &[Self]) -> f64;

    /// Cosine distance in `[0, 2]`; NaN if either vector is zero.
    fn cosine(a: &[Self], b: &[Self]) -> f64 {
        super::cosine_from_products(Self::dot(a, b), Self::dot(a, a), Self::dot(b, b))
    }
}

impl Element for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(x: f32) -> Self {
        x
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        debug_assert_eq!(a.len(), b.len());
        if a.len() < PLAIN_LOOP_DIMS {
            return f64::from(a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>());
        }
        <f32 as simsimd::SpatialSimilarity>::dot(a, b).expect("equal lengths")
    }

    fn l2_squared(a: &[f32], b: &[f32]) -> f64 {
        debug_assert_eq!(a.len(), b.len());
        if a.len() < PLAIN_LOOP_DIMS {
            return f64::from(a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>());
        }
        <f32 as simsimd::SpatialSimilarity>::l2sq(a, b).expect("equal lengths")
    }

    fn l1(a: &[f32], b: &[f32]) -> f64 {
        debug_assert_eq!(a.len(), b.len());
        // simsimd has no L1 kernel: sixteen independent sums let the compiler use vector registers.
        let mut lanes = [0f32; 16];
        let (a16, a_rest) = a.as_chunks::<16>();
        let (b16, b_rest) = b.as_chunks::<16>();
        for (x, y) in a16.iter().zip(b16) {
            for i in 0..16 {
                lanes[i] += (x[i] - y[i]).abs();
            }
        }
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| (x - y).abs()).sum();
        f64::from(lanes.iter().sum::<f32>() + rest)
    }
}

impl Element for f16 {
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }

    fn from_f32(x: f32) -> Self {
        f16::from_f32(x)
    }

    fn dot(a: &[f16], b: &[f16]) -> f64 {
        widen::sum(a, b, Sum::Products)
    }

    fn l2_squared(a: &[f16], b: &[f16]) -> f64 {
        widen::sum(a, b, Sum::SquaredDifferences)
    }

    fn l1(a: &[f16], b: &[f16]) -> f64 {
        widen::sum(a, b, Sum::AbsoluteDifferences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(max: usize) -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (1..max).prop_flat_map(|n| {
            (prop::collection::vec(-10f32..10.0, n), prop::collection::vec(-10f32..10.0, n))
        })
    }

    fn exact(a: &[f32], b: &[f32], f: fn(f64, f64) -> f64) -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f(f64::from(x), f64::from(y))).sum()
    }

    fn close(got: f64, want: f64, scale: f64) -> Result<(), TestCaseError> {
        prop_assert!((got - want).abs() <= 1e-5 * scale.max(1.0), "{got} is not {want}");
        Ok(())
    }

    proptest! {
        #[test]
        fn kernels_agree_with_double_precision((a, b) in pair(1100)) {
            let scale = exact(&a, &b, |x, y| x.abs() * y.abs() + (x - y) * (x - y));
            close(f32::dot(&a, &b), exact(&a, &b, |x, y| x * y), scale)?;
            close(f32::l2_squared(&a, &b), exact(&a, &b, |x, y| (x - y) * (x - y)), scale)?;
            close(f32::l1(&a, &b), exact(&a, &b, |x, y| (x - y).abs()), scale)?;
        }

        #[test]
        fn half_precision_is_exact_on_what_it_stores((a, b) in pair(1100)) {
            let half = |v: &[f32]| v.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
            let (ha, hb) = (half(&a), half(&b));
            let wide = |v: &[f16]| v.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
            let (a, b) = (wide(&ha), wide(&hb));
            let scale = exact(&a, &b, |x, y| x.abs() * y.abs() + (x - y) * (x - y));
            close(f16::dot(&ha, &hb), exact(&a, &b, |x, y| x * y), scale)?;
            close(f16::l2_squared(&ha, &hb), exact(&a, &b, |x, y| (x - y) * (x - y)), scale)?;
            close(f16::l1(&ha, &hb), exact(&a, &b, |x, y| (x - y).abs()), scale)?;
        }

        #[test]
        fn a_vector_is_at_distance_zero_from_itself((a, _) in pair(300)) {
            prop_assert_eq!(f32::l2_squared(&a, &a), 0.0);
            prop_assert_eq!(f32::l1(&a, &a), 0.0);
            if a.iter().any(|&x| x != 0.0) {
                prop_assert!(f32::cosine(&a, &a).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn zero_vectors_have_no_direction() {
        assert!(f32::cosine(&[0.0, 0.0], &[1.0, 2.0]).is_nan());
    }
}
