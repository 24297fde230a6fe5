//! Bounds on how far single-precision rounding moves an estimate, beside the code's own error.

use crate::util::cpu::vectorized;

/// Squared norms for which single-precision products neither overflow nor vanish.
pub const ORDINARY: std::ops::Range<f32> = 1e-30..1e30;

/// What the rounding of a query's estimates depends on.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// The rotated query's norm.
    norm: f32,
    /// The square root of the number of dimensions.
    root_dims: f32,
    /// Relative error of each number that an estimate is made of.
    relative: f32,
}

/// Bounds on the rounding of estimates by one centre's codes: a factor for each number that an
/// estimate is made of.
#[derive(Clone, Copy, Debug)]
pub struct Slack {
    add: f32,
    rescale: f32,
    score: f32,
    constant: f32,
}

impl Rounding {
    /// For a rotated query. If its squared norm overflows or vanishes, every bound is infinite or
    /// NaN.
    pub fn new(rotated: &[f32]) -> Self {
        let squared = squared_norm(rotated);
        let is_known = ORDINARY.contains(&squared) || rotated.iter().all(|&x| x == 0.0);
        // Sums run in sixteen lanes.
        let relative = (16.0 + rotated.len() as f32 / 16.0) * f32::EPSILON;
        let root_dims = (rotated.len() as f32).sqrt();
        Self { norm: squared.sqrt(), root_dims, relative: if is_known { relative } else { f32::INFINITY } }
    }

    /// For codes of components up to `greatest`, around a centre of this exact score and this
    /// distance to the query.
    pub fn around(self, (score, distance): (f64, f64), greatest: f32) -> Slack {
        let Self { norm, root_dims, relative } = self;
        let (score, distance) = (score.abs() as f32, distance as f32);
        Slack {
            add: 2.0 * relative,
            rescale: relative * (greatest * root_dims) * norm,
            score: relative,
            // The centre's norm is at most the query's plus the distance between the two.
            constant: relative * (score + norm * (norm + distance)),
        }
    }
}

impl Slack {
    /// The bound for the estimate `score`, made of the numbers beside its code.
    #[inline(always)]
    pub fn of(self, add: f32, rescale: f32, score: f32) -> f32 {
        let numbers = self.add * add.abs() + self.rescale * rescale.abs() + self.score * score.abs();
        numbers + self.constant
    }
}

/// An upper bound on `hypot(a, b)` of non-negative numbers. It squares nothing, so nothing
/// overflows or vanishes. NaN stays.
#[inline(always)]
pub fn hypot_bound(a: f32, b: f32) -> f32 {
    let (greater, lesser) = if b > a { (b, a) } else { (a, b) };
    greater + (std::f32::consts::SQRT_2 - 1.0) * lesser
}

vectorized! {
    fn squared_norm(vector: &[f32]) -> f32 {
        const LANES: usize = 16;
        let mut sums = [0f32; LANES];
        let (chunks, rest) = vector.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                sums[i] += chunk[i] * chunk[i];
            }
        }
        sums.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_whose_squares_vanish_or_overflow_leave_everything_in_doubt() {
        for size in [1e-25f32, 1e-42, 1e25] {
            let slack = Rounding::new(&[size; 64]).around((0.0, 0.0), 8.0).of(0.5, 0.5, 0.0);
            assert!(slack.is_nan() || slack == f32::INFINITY, "{size}: {slack}");
        }
        let slack = Rounding::new(&[0.0; 64]).around((1.0, 1.0), 8.0).of(0.5, 0.5, 1.0);
        assert!((0.0..1e-3).contains(&slack), "{slack}");
    }

    #[test]
    fn the_bound_is_no_less_than_the_hypotenuse() {
        for (a, b) in [(3.0, 4.0), (1.0, 0.0), (0.0, 2.0), (1.0, 1.0), (1e30, 1e30), (1e-40, 1e-41)] {
            let (bound, hypotenuse) = (hypot_bound(a, b), f32::hypot(a, b));
            assert!(bound >= hypotenuse * 0.999_999 && bound <= hypotenuse * 1.09, "{a}, {b}: {bound}");
        }
        assert!(hypot_bound(f32::NAN, 1.0).is_nan());
        assert_eq!(hypot_bound(f32::INFINITY, 1.0), f32::INFINITY);
    }
}
