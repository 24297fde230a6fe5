//! How far single precision may put an estimate off, beside the error that the code has.

use crate::cpu::vectorized;

/// What the rounding of a query's estimates depends on.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// The rotated query's norm.
    norm: f32,
    /// Half the distance between numbers as large as what was subtracted from query and rows before they were rotated.
    shift: f32,
    /// Of each number that an estimate is made of.
    relative: f32,
}

/// The numbers that one estimate is made of.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub add: f32,
    /// What multiplies the product of query and code.
    pub rescale: f32,
    /// The greatest norm of a code's vector.
    pub code_norm: f32,
    pub score: f32,
}

impl Rounding {
    /// For a rotated query, of which a vector of norm `shift` was subtracted.
    pub fn new(rotated: &[f32], shift: f32) -> Self {
        // Sums are those of sixteen lanes.
        let relative = (16.0 + rotated.len() as f32 / 16.0) * f32::EPSILON;
        Self { norm: squared_norm(rotated).sqrt(), shift: shift * f32::EPSILON, relative }
    }

    /// What the centre of some codes brings along: it is no longer than the query and what lies between them.
    pub fn of_centre(self, score: f64, distance: f64) -> f32 {
        let (score, distance) = (score.abs() as f32, distance as f32);
        // A squared distance, of two vectors that a shift has put off by `shift` each.
        self.relative * (score + self.norm * (self.norm + distance)) + 4.0 * self.shift * distance
    }

    /// How far an estimate may be off; `centre` is [`Self::of_centre`].
    pub fn of(self, terms: Terms, centre: f32) -> f32 {
        let Terms { add, rescale, code_norm, score } = terms;
        let product = rescale.abs() * code_norm * self.norm;
        let score = score.abs();
        self.relative * (2.0 * add.abs() + score + product) + 2.0 * self.shift * score.sqrt() + centre
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
    fn the_bound_is_no_less_than_the_hypotenuse() {
        for (a, b) in [(3.0, 4.0), (1.0, 0.0), (0.0, 2.0), (1.0, 1.0), (1e30, 1e30), (1e-40, 1e-41)] {
            let (bound, hypotenuse) = (hypot_bound(a, b), f32::hypot(a, b));
            assert!(bound >= hypotenuse * 0.999_999 && bound <= hypotenuse * 1.09, "{a}, {b}: {bound}");
        }
        assert!(hypot_bound(f32::NAN, 1.0).is_nan());
        assert_eq!(hypot_bound(f32::INFINITY, 1.0), f32::INFINITY);
    }
}
