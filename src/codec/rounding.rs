//! How far single precision may put an estimate off, beside the error that the code has.

use crate::util::cpu::vectorized;

/// Squared norms beyond which products of single precision overflow or vanish.
pub const ORDINARY: std::ops::Range<f32> = 1e-30..1e30;

/// What the rounding of a query's estimates depends on.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// The rotated query's norm.
    norm: f32,
    /// The root of the dimensions.
    root_dims: f32,
    /// Of each number that an estimate is made of.
    relative: f32,
}

/// How far rounding may put the estimates of one centre's codes off, for each of the numbers that
/// these are made of.
#[derive(Clone, Copy, Debug)]
pub struct Slack {
    add: f32,
    rescale: f32,
    score: f32,
    constant: f32,
}

impl Rounding {
    /// For a rotated query. Where its square overflows or vanishes nothing is known.
    pub fn new(rotated: &[f32]) -> Self {
        let squared = squared_norm(rotated);
        let is_known = ORDINARY.contains(&squared) || rotated.iter().all(|&x| x == 0.0);
        // Sums are those of sixteen lanes.
        let relative = (16.0 + rotated.len() as f32 / 16.0) * f32::EPSILON;
        let root_dims = (rotated.len() as f32).sqrt();
        Self { norm: squared.sqrt(), root_dims, relative: if is_known { relative } else { f32::INFINITY } }
    }

    /// For codes whose vectors have numbers of `greatest` at most, around a centre of this score
    /// and distance.
    pub fn around(self, (score, distance): (f64, f64), greatest: f32) -> Slack {
        let Self { norm, root_dims, relative } = self;
        let (score, distance) = (score.abs() as f32, distance as f32);
        Slack {
            add: 2.0 * relative,
            rescale: relative * (greatest * root_dims) * norm,
            score: relative,
            // The centre is no longer than the query and what lies between them.
            constant: relative * (score + norm * (norm + distance)),
        }
    }
}

impl Slack {
    /// Of the estimate `score`, from the numbers beside its code.
    #[inline(always)]
    pub fn of(self, add: f32, rescale: f32, score: f32) -> f32 {
        let numbers = self.add * add.abs() + self.rescale * rescale.abs() + self.score * score.abs();
        numbers + self.constant
    }
}

/// A bound on `hypot(a, b)`, which squares nothing that might overflow or vanish. NaN stays.
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
