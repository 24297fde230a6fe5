//! Distances between bit strings, most significant bit first, padded with zero bits to whole bytes.

use simsimd::BinarySimilarity;

/// Number of differing bits.
pub fn hamming(a: &[u8], b: &[u8]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    BinarySimilarity::hamming(a, b).expect("equal lengths")
}

/// `1 - |a and b| / |a or b|`; 1 where the two share no bit.
pub fn jaccard(a: &[u8], b: &[u8]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    let (mut both, mut either) = (0u32, 0u32);
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        let (x, y) = (u64::from_ne_bytes(*x), u64::from_ne_bytes(*y));
        both += (x & y).count_ones();
        either += (x | y).count_ones();
    }
    for (x, y) in a_rest.iter().zip(b_rest) {
        both += (x & y).count_ones();
        either += (x | y).count_ones();
    }
    if both == 0 { 1.0 } else { 1.0 - f64::from(both) / f64::from(either) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn distances_agree_with_counting_bits(
            (a, b) in (1usize..300).prop_flat_map(|n| {
                (prop::collection::vec(any::<u8>(), n), prop::collection::vec(any::<u8>(), n))
            })
        ) {
            let bit = |v: &[u8], i: usize| v[i / 8] >> (7 - i % 8) & 1 == 1;
            let n = a.len() * 8;
            let count = |f: fn(bool, bool) -> bool| (0..n).filter(|&i| f(bit(&a, i), bit(&b, i))).count();
            prop_assert_eq!(hamming(&a, &b), count(|x, y| x != y) as f64);
            let (both, either) = (count(|x, y| x && y), count(|x, y| x || y));
            let want = if both == 0 { 1.0 } else { 1.0 - both as f64 / either as f64 };
            prop_assert_eq!(jaccard(&a, &b), want);
        }
    }
}
