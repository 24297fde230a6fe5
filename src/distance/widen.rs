//! Distances between half-precision vectors, accumulated in single precision.
//!
//! simsimd's own half-precision kernels accumulate in half precision on processors that can: too
//! coarse for distances that users compare with exact ones. The portable version is the
//! specification, up to the order of summation.

use half::f16;

/// What is summed over the dimensions.
#[derive(Clone, Copy)]
pub enum Sum {
    Products,
    SquaredDifferences,
    AbsoluteDifferences,
}

/// The sum over two vectors of equal length.
pub fn sum(a: &[f16], b: &[f16], what: Sum) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("f16c")
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
    {
        // SAFETY: the processor has the features that the function is compiled for.
        return f64::from(unsafe { avx2::sum(a, b, what) });
    }
    f64::from(portable(a, b, what))
}

fn portable(a: &[f16], b: &[f16], what: Sum) -> f32 {
    let pairs = a.iter().zip(b).map(|(x, y)| (x.to_f32(), y.to_f32()));
    match what {
        Sum::Products => pairs.map(|(x, y)| x * y).sum(),
        Sum::SquaredDifferences => pairs.map(|(x, y)| (x - y) * (x - y)).sum(),
        Sum::AbsoluteDifferences => pairs.map(|(x, y)| (x - y).abs()).sum(),
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::Sum;
    use half::f16;
    use std::arch::x86_64::*;

    const LANES: usize = 8;

    #[target_feature(enable = "avx2,f16c,fma")]
    pub fn sum(a: &[f16], b: &[f16], what: Sum) -> f32 {
        let (a_whole, a_rest) = a.as_chunks::<LANES>();
        let (b_whole, b_rest) = b.as_chunks::<LANES>();
        let sign = _mm256_set1_ps(-0.0);
        // Two sums, so that one addition need not wait for the other.
        let mut sums = [_mm256_setzero_ps(); 2];
        // Zeros fill up the last eight: they add nothing to any of the sums.
        let (mut a_last, mut b_last) = ([f16::ZERO; LANES], [f16::ZERO; LANES]);
        a_last[..a_rest.len()].copy_from_slice(a_rest);
        b_last[..b_rest.len()].copy_from_slice(b_rest);
        let pairs = a_whole.iter().zip(b_whole).chain([(&a_last, &b_last)]);
        for (i, (x, y)) in pairs.enumerate() {
            let (x, y) = (widen(x), widen(y));
            let sum = &mut sums[i % 2];
            *sum = match what {
                Sum::Products => _mm256_fmadd_ps(x, y, *sum),
                Sum::SquaredDifferences => {
                    let difference = _mm256_sub_ps(x, y);
                    _mm256_fmadd_ps(difference, difference, *sum)
                }
                Sum::AbsoluteDifferences => _mm256_add_ps(*sum, _mm256_andnot_ps(sign, _mm256_sub_ps(x, y))),
            };
        }
        let mut lanes = [0f32; LANES];
        // SAFETY: eight lanes are as long as the array; the store asks for no alignment.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(sums[0], sums[1])) };
        lanes.iter().sum()
    }

    #[target_feature(enable = "avx2,f16c")]
    fn widen(half: &[f16; LANES]) -> __m256 {
        // SAFETY: eight halves are sixteen bytes; the load asks for no alignment.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(half.as_ptr().cast()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fast_sum_is_the_portable_one(
            pairs in prop::collection::vec((-9f32..9.0, -9f32..9.0), 1..400)
        ) {
            let (a, b): (Vec<f16>, Vec<f16>) =
                pairs.into_iter().map(|(x, y)| (f16::from_f32(x), f16::from_f32(y))).unzip();
            for what in [Sum::Products, Sum::SquaredDifferences, Sum::AbsoluteDifferences] {
                let (fast, slow) = (sum(&a, &b, what), f64::from(portable(&a, &b, what)));
                let scale: f32 = a.iter().zip(&b).map(|(x, y)| (x.to_f32().abs() + y.to_f32().abs()).powi(2)).sum();
                prop_assert!((fast - slow).abs() <= 1e-5 * f64::from(scale) + 1e-5, "{fast} is not {slow}");
            }
        }
    }
}
