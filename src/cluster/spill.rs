//! Second lists: a row is entered once more, in the list whose centroid best compensates for its
//! own list's.
//!
//! A query may see a row's own list farther away than it should. It then likely sees the second
//! list near, if the row's residuals to the two centroids point in different directions. The source
//! is Sun, Simcha, Dopson, Guo, Kumar, "SOAR: Improved Indexing for Approximate Nearest Neighbor
//! Search" (NeurIPS 2023).

use crate::distance::{Element, subtract};

/// Weight of the part of a second list's residual along the own list's, beside the whole (the
/// paper's `λ`).
const ALONG: f32 = 1.0;

/// The second list of a vector among `candidates`, if there are any; `own` is the centroid of its
/// own list.
pub fn spill_list<'a>(
    vector: &[f32],
    own: &[f32],
    candidates: impl Iterator<Item = (u32, &'a [f32])>,
) -> Option<u32> {
    let residual = subtract(vector, own);
    let squared = f32::dot(&residual, &residual) as f32;
    let mut other = vec![0f32; vector.len()];
    let mut cost = |centroid: &[f32]| {
        // The difference of products with vector and centroid would be lost to rounding far from
        // zero.
        other.iter_mut().zip(vector.iter().zip(centroid)).for_each(|(other, (x, c))| *other = x - c);
        let along = f32::dot(&residual, &other) as f32;
        // A vector at its centroid has no direction.
        let charge = if squared > 0.0 { ALONG * along * along / squared } else { 0.0 };
        f32::dot(&other, &other) as f32 + charge
    };
    let costs = candidates.map(|(list, centroid)| (cost(centroid), list));
    costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, list)| list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_list_lies_to_the_side() {
        let own = [0.0, 0.0];
        let vector = [1.0, 0.0];
        // Both are as far from the vector; the first lies behind it, seen from its own centroid,
        // the other beside it.
        let candidates = [(7, [2.5, 0.0]), (9, [1.0, 1.5])];
        let second = |vector: &[f32], candidates: &[(u32, [f32; 2])]| {
            spill_list(vector, &own, candidates.iter().map(|(list, centroid)| (*list, &centroid[..])))
        };
        assert_eq!(second(&vector, &candidates), Some(9));
        assert_eq!(second(&vector, &[(7, [1.5, 0.0]), (9, [1.0, 1.5])]), Some(7), "near enough");
        assert_eq!(
            second(&own, &[(7, [2.0, 0.0]), (9, [1.0, 1.5])]),
            Some(9),
            "at its centroid: the nearest"
        );
        assert_eq!(second(&vector, &[]), None);
    }
}
