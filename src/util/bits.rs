//! Flags in bytes, packed into bits.

use crate::util::cpu::vectorized;

vectorized! {
    /// A bit for each of 32 numbers: whether it is less than a limit.
    pub fn below(numbers: &[f32; 32], limit: f32) -> u32 {
        pack(&numbers.map(|number| u8::from(number < limit)))
    }

    /// A bit for each of 32 estimates: whether it, less `times` its error, is not beyond a limit.
    /// NaN is not.
    pub fn not_beyond(scores: &[f32; 32], errors: &[f32; 32], times: f32, limit: f32) -> u32 {
        let mut flags = [0u8; 32];
        for i in 0..32 {
            flags[i] = u8::from(scores[i] - times * errors[i] > limit) ^ 1;
        }
        pack(&flags)
    }
}

/// The places of the bits that are set, from the lowest.
pub fn places(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        place
    })
}

/// Packs the lowest bits of 32 bytes; the first byte's becomes the lowest.
#[inline(always)]
pub fn pack(flags: &[u8; 32]) -> u32 {
    // The product brings the lowest bits of eight bytes, each its own place apart, together in the
    // highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (bytes, _) = flags.as_chunks::<8>();
    let bits = bytes.iter().map(|&eight| (u64::from_le_bytes(eight).wrapping_mul(GATHER) >> 56) as u32);
    bits.zip(0..).fold(0, |word, (bits, byte)| word | bits << (8 * byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_its_bit() {
        for word in [0, 1, 0x8000_0000, 0xFFFF_FFFF, 0x1234_5678, 0x0F0F_00F1] {
            let flags = std::array::from_fn(|place| (word >> place & 1) as u8);
            assert_eq!(pack(&flags), word);
            let numbers = flags.map(|flag| if flag == 1 { -1.5 } else { f32::NAN });
            assert_eq!(below(&numbers, -1.0), word);
            assert!(places(word).eq((0..32).filter(|place| word >> place & 1 == 1)));
        }
    }

    #[test]
    fn what_is_in_doubt_is_not_beyond() {
        let (mut scores, mut errors) = ([10f32; 32], [1f32; 32]);
        (scores[1], errors[2], errors[3], scores[4]) = (f32::NAN, f32::NAN, f32::INFINITY, 8.0);
        // 10 - 2 · 1 is beyond 7, 8 - 2 · 1 is not.
        assert_eq!(not_beyond(&scores, &errors, 2.0, 7.0), 0b11110);
        assert_eq!(not_beyond(&scores, &errors, 2.0, 8.0), u32::MAX, "what is on the limit");
    }
}
