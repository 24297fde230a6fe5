//! Neighbour lists packed in words: the length, then the numbers, each in as many bits as the
//! greatest node takes.

/// Bits of a list's length.
const COUNT_BITS: u32 = 8;
const WORD_BITS: u32 = u32::BITS;

/// How a graph's neighbour lists are packed.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// Bits of a number.
    bits: u32,
}

impl Packing {
    /// For a graph of `nodes` nodes.
    pub fn new(nodes: u32) -> Self {
        Self { bits: WORD_BITS - nodes.saturating_sub(1).leading_zeros() }
    }

    /// Words of a list of at most `degree` numbers; `degree` is at most 255.
    pub fn words(self, degree: usize) -> usize {
        (COUNT_BITS as usize + degree * self.bits as usize).div_ceil(WORD_BITS as usize)
    }

    /// Packs a list into words that have room for it; the remaining words become zero.
    pub fn pack(self, numbers: &[u32], words: &mut [u32]) {
        debug_assert!(numbers.len() < 1 << COUNT_BITS && self.words(numbers.len()) <= words.len());
        let (mut pending, mut bits) = (numbers.len() as u64, COUNT_BITS);
        let mut numbers = numbers.iter();
        for word in words {
            while bits < WORD_BITS
                && let Some(&number) = numbers.next()
            {
                pending |= u64::from(number) << bits;
                bits += self.bits;
            }
            *word = pending as u32;
            pending >>= WORD_BITS;
            bits = bits.saturating_sub(WORD_BITS);
        }
    }

    /// Appends the numbers of a list. Returns `None`, perhaps after some of them, if the bytes end
    /// early or a number is not below `end`.
    pub fn unpack(self, bytes: &[u8], end: u32, numbers: &mut Vec<u32>) -> Option<()> {
        let (words, _) = bytes.as_chunks::<{ size_of::<u32>() }>();
        let mut words = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word)));
        let mut pending = words.next()?;
        let count = pending & ((1 << COUNT_BITS) - 1);
        pending >>= COUNT_BITS;
        let mut left = WORD_BITS - COUNT_BITS;
        let mask = (1u64 << self.bits) - 1;
        let mut greatest = 0;
        for _ in 0..count {
            if left < self.bits {
                pending |= words.next()? << left;
                left += WORD_BITS;
            }
            let number = (pending & mask) as u32;
            greatest = greatest.max(number);
            numbers.push(number);
            pending >>= self.bits;
            left -= self.bits;
        }
        (count == 0 || greatest < end).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Random;

    #[test]
    fn a_list_comes_out_as_it_went_in() {
        let mut random = Random::new(3);
        for nodes in [1, 2, 3, 255, 256, 257, 116_657, 1 << 24, (1 << 31) + 1, u32::MAX] {
            let packing = Packing::new(nodes);
            for degree in [1, 4, 32, 200, 255] {
                for count in [0, 1, degree / 2, degree] {
                    let any = std::iter::repeat_with(|| (random.next() % u64::from(nodes)) as u32);
                    let list: Vec<u32> = std::iter::once(nodes - 1).chain(any).take(count).collect();
                    let mut words = vec![u32::MAX; packing.words(degree)];
                    packing.pack(&list, &mut words);
                    let bytes: &[u8] = bytemuck::cast_slice(&words);
                    let mut again = Vec::new();
                    assert_eq!(packing.unpack(bytes, nodes, &mut again), Some(()));
                    assert_eq!(again, list, "{nodes} {degree}");
                    let beyond = packing.unpack(bytes, nodes - 1, &mut Vec::new());
                    assert_eq!(beyond.is_none(), count > 0, "{nodes} {degree}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_list_is_none() {
        let packing = Packing::new(1000);
        let unpack = |bytes: &[u8]| packing.unpack(bytes, 1000, &mut Vec::new());
        assert_eq!(unpack(&[]), None);
        assert_eq!(unpack(&[1, 0, 0]), None);
        assert_eq!(unpack(&[0; 4]), Some(()));
        // Three numbers of ten bits need two words.
        assert_eq!(unpack(&3u32.to_ne_bytes()), None);
        assert_eq!(unpack(&[u8::MAX; 4 * 100]), None);
    }

    #[test]
    fn numbers_take_the_bits_of_the_greatest() {
        assert_eq!(Packing::new(116_657).words(32), 18);
        assert_eq!(Packing::new(u32::MAX).words(32), 33);
        assert_eq!(Packing::new(1).words(200), 1);
    }
}
