//! Distances between sparse vectors: ascending zero-based indices and their non-zero values.

use std::cmp::Ordering;

/// A borrowed sparse vector: `indices` strictly ascending, `values` of the same length.
#[derive(Clone, Copy, Debug)]
pub struct SparseSlice<'a> {
    pub indices: &'a [i32],
    pub values: &'a [f32],
}

impl SparseSlice<'_> {
    /// Sums `f(a_i, b_i)` over every index at which either vector has a value.
    fn fold(self, other: SparseSlice<'_>, mut f: impl FnMut(f32, f32) -> f32) -> f64 {
        let (mut i, mut j) = (0, 0);
        let mut sum = 0f32;
        while i < self.indices.len() && j < other.indices.len() {
            match self.indices[i].cmp(&other.indices[j]) {
                Ordering::Less => {
                    sum += f(self.values[i], 0.0);
                    i += 1;
                }
                Ordering::Greater => {
                    sum += f(0.0, other.values[j]);
                    j += 1;
                }
                Ordering::Equal => {
                    sum += f(self.values[i], other.values[j]);
                    i += 1;
                    j += 1;
                }
            }
        }
        sum += self.values[i..].iter().map(|&x| f(x, 0.0)).sum::<f32>();
        sum += other.values[j..].iter().map(|&y| f(0.0, y)).sum::<f32>();
        f64::from(sum)
    }

    pub fn dot(self, other: SparseSlice<'_>) -> f64 {
        self.fold(other, |x, y| x * y)
    }

    pub fn l2_squared(self, other: SparseSlice<'_>) -> f64 {
        self.fold(other, |x, y| (x - y) * (x - y))
    }

    pub fn l1(self, other: SparseSlice<'_>) -> f64 {
        self.fold(other, |x, y| (x - y).abs())
    }

    /// Sum of squares, the inner product of the vector with itself.
    pub fn squared_norm(self) -> f64 {
        f64::from(self.values.iter().map(|x| x * x).sum::<f32>())
    }

    /// Cosine distance in `[0, 2]`; NaN if either vector is zero.
    pub fn cosine(self, other: SparseSlice<'_>) -> f64 {
        super::cosine_from_products(self.dot(other), self.squared_norm(), other.squared_norm())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Element;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sparse_equals_dense(
            (a, b) in (1usize..60).prop_flat_map(|n| {
                let x = prop_oneof![Just(0f32), -5f32..5.0];
                (prop::collection::vec(x.clone(), n), prop::collection::vec(x, n))
            })
        ) {
            let parts = |v: &[f32]| -> (Vec<i32>, Vec<f32>) {
                v.iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(i, x)| (i as i32, *x)).unzip()
            };
            let ((ai, av), (bi, bv)) = (parts(&a), parts(&b));
            let sa = SparseSlice { indices: &ai, values: &av };
            let sb = SparseSlice { indices: &bi, values: &bv };
            prop_assert!((sa.dot(sb) - <f32 as Element>::dot(&a, &b)).abs() < 1e-3);
            prop_assert!((sa.l2_squared(sb) - f32::l2_squared(&a, &b)).abs() < 1e-3);
            prop_assert!((sa.l1(sb) - f32::l1(&a, &b)).abs() < 1e-3);
            prop_assert!((sa.squared_norm() - f32::dot(&a, &a)).abs() < 1e-3);
        }
    }
}
