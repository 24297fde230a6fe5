//! Inner products of one query with 32 one-bit codes at a time, from tables that stay in registers.
//!
//! The idea is from André, Kermarrec, Le Scouarnec ("Cache locality is not enough", VLDB 2015);
//! RaBitQ uses it. Each group of four dimensions has a table of 16 sums, a byte each. A byte
//! shuffle looks up one group of many codes. The portable kernel is the specification; the others
//! return the same bits.

use crate::util::cpu::vectorized;

/// Codes of a block.
pub const BLOCK: usize = 32;
/// Dimensions of a group.
const GROUP: usize = 4;
/// Bytes of a block for each group: two codes share a byte.
const GROUP_BYTES: usize = BLOCK / 2;
/// Groups whose sums of bytes fit into 16 bits.
const GROUPS_PER_CHUNK: usize = 256;

/// Bytes of a block of codes of `dims` dimensions.
pub fn block_bytes(dims: usize) -> usize {
    dims / GROUP * GROUP_BYTES
}

/// Lays out up to 32 codes as a block: for each group 16 bytes, in each the nibbles of codes `i`
/// and `i + 16`.
///
/// A code has one bit a dimension, the lowest bit of each byte first. Missing codes are zero.
pub fn pack(codes: &[&[u8]], dims: usize) -> Vec<u8> {
    const HALF: usize = BLOCK / 2;
    let mut block = vec![0; block_bytes(dims)];
    let (groups, _) = block.as_chunks_mut::<GROUP_BYTES>();
    let (low_codes, high_codes) = codes.split_at(codes.len().min(HALF));
    // Of each code one byte: the bits of two groups.
    for (byte, [first, second]) in groups.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        for (i, code) in low_codes.iter().enumerate() {
            first[i] = code[byte] & 0x0F;
            second[i] = code[byte] >> 4;
        }
        for (i, code) in high_codes.iter().enumerate() {
            first[i] |= code[byte] << 4;
            second[i] |= code[byte] & 0xF0;
        }
    }
    block
}

/// The code number `code` of a block, as it was before [`pack`].
pub fn unpack(block: &[u8], code: usize) -> Vec<u8> {
    const HALF: usize = BLOCK / 2;
    let (groups, _) = block.as_chunks::<GROUP_BYTES>();
    let bytes = groups.as_chunks::<2>().0.iter().map(|[first, second]| match code.checked_sub(HALF) {
        None => first[code] & 0x0F | second[code] << 4,
        Some(code) => first[code] >> 4 | second[code] & 0xF0,
    });
    bytes.collect()
}

/// The tables of one query.
#[derive(Clone, Debug)]
pub struct Table {
    /// For each group the sums over the subsets of its dimensions, as multiples of `step` above
    /// `low`.
    entries: Vec<[u8; 16]>,
    low: f32,
    step: f32,
}

impl Table {
    /// For a query of a multiple of 64 dimensions.
    pub fn new(query: &[f32]) -> Self {
        let mut entries = vec![[0; 16]; query.len() / GROUP];
        let (low, step) = tabulate(query, &mut entries);
        Self { entries, low, step }
    }

    /// Groups of dimensions.
    pub fn groups(&self) -> usize {
        self.entries.len()
    }

    /// The inner product that a sum of zero stands for.
    pub fn least(&self) -> f32 {
        self.entries.len() as f32 * self.low
    }

    /// What each unit of a sum adds to the product.
    pub fn step(&self) -> f32 {
        self.step
    }

    /// Sums of entries for each code of a block. If block and query have different numbers of
    /// groups, the common ones count.
    #[inline(always)]
    pub fn sums(&self, block: &[u8]) -> [u32; BLOCK] {
        let mut sums = [0u32; BLOCK];
        let chunks = self.entries.chunks(GROUPS_PER_CHUNK);
        for (entries, block) in chunks.zip(block.chunks(GROUPS_PER_CHUNK * GROUP_BYTES)) {
            let (block, _) = block.as_chunks::<GROUP_BYTES>();
            let groups = entries.len().min(block.len());
            let chunk = chunk_sums(&entries[..groups], &block[..groups]);
            for (sum, chunk) in sums.iter_mut().zip(chunk) {
                *sum += u32::from(chunk);
            }
        }
        sums
    }
}

vectorized! {
    /// Fills a query's entries; returns their `low` and `step`.
    fn tabulate(query: &[f32], entries: &mut [[u8; 16]]) -> (f32, f32) {
        let (groups, _) = query.as_chunks::<GROUP>();
        // The least sum of a group is that of its negative numbers, the greatest that of its
        // positive ones.
        let (mut low, mut high) = (0f32, 0f32);
        for group in groups {
            low = low.min(group.iter().map(|x| x.min(0.0)).sum());
            high = high.max(group.iter().map(|x| x.max(0.0)).sum());
        }
        let step = if high > low { (high - low) / 255.0 } else { 1.0 };
        let per_step = 1.0 / step;
        for (entries, [a, b, c, d]) in entries.iter_mut().zip(groups) {
            let (ab, cd) = (a + b, c + d);
            let low_half = [0.0, *a, *b, ab];
            let high_half = [0.0, *c, *d, cd];
            for subset in 0..16 {
                let sum = low_half[subset % 4] + high_half[subset / 4];
                // Casts to integers round down and stay within their range.
                entries[subset] = ((sum - low) * per_step + 0.5) as u8;
            }
        }
        (low, step)
    }
}

/// Sums over at most [`GROUPS_PER_CHUNK`] groups, by the fastest kernel that the processor has.
#[inline(always)]
fn chunk_sums(entries: &[[u8; 16]], block: &[[u8; GROUP_BYTES]]) -> [u16; BLOCK] {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has the feature that the kernel is compiled for.
            return unsafe { x86::avx512(entries, block) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::avx2(entries, block) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        // SAFETY: as above.
        return unsafe { arm::neon(entries, block) };
    }
    portable(entries, block)
}

fn portable(entries: &[[u8; 16]], block: &[[u8; GROUP_BYTES]]) -> [u16; BLOCK] {
    let mut sums = [0u16; BLOCK];
    for (entries, nibbles) in entries.iter().zip(block) {
        for (i, byte) in nibbles.iter().enumerate() {
            sums[i] += u16::from(entries[usize::from(byte & 0x0F)]);
            sums[i + 16] += u16::from(entries[usize::from(byte >> 4)]);
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BLOCK, GROUP_BYTES};
    use std::arch::x86_64::*;

    /// Puts the sums in the order of the codes, and adds those of the groups that are left.
    ///
    /// The looked-up entries are summed in 16 bits, even and odd bytes apart. The sums are of codes
    /// 0, 2, … 14; 1, 3, … 15; 16, 18, … 30; 17, 19, … 31.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn finish(
        [even_low, odd_low, even_high, odd_high]: [__m128i; 4],
        entries: &[[u8; 16]],
        block: &[[u8; GROUP_BYTES]],
    ) -> [u16; BLOCK] {
        let mut codes = [0u16; BLOCK];
        let ordered = [
            _mm_unpacklo_epi16(even_low, odd_low),
            _mm_unpackhi_epi16(even_low, odd_low),
            _mm_unpacklo_epi16(even_high, odd_high),
            _mm_unpackhi_epi16(even_high, odd_high),
        ];
        for (eight, sums) in codes.as_chunks_mut::<8>().0.iter_mut().zip(ordered) {
            // SAFETY: eight numbers of 16 bits; the store asks for no alignment.
            unsafe { _mm_storeu_si128(eight.as_mut_ptr().cast(), sums) };
        }
        if !entries.is_empty() {
            codes.iter_mut().zip(super::portable(entries, block)).for_each(|(sum, rest)| *sum += rest);
        }
        codes
    }

    /// Two groups at a time.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn avx2(entries: &[[u8; 16]], block: &[[u8; GROUP_BYTES]]) -> [u16; BLOCK] {
        let low_bits = _mm256_set1_epi8(0x0F);
        let even = _mm256_set1_epi16(0x00FF);
        let mut sums = [_mm256_setzero_si256(); 4];
        let (entry_pairs, entry_rest) = entries.as_chunks::<2>();
        let (block_pairs, block_rest) = block.as_chunks::<2>();
        for (entries, nibbles) in entry_pairs.iter().zip(block_pairs) {
            // SAFETY: both are 32 bytes long; the loads ask for no alignment.
            let (table, codes) = unsafe {
                (_mm256_loadu_si256(entries.as_ptr().cast()), _mm256_loadu_si256(nibbles.as_ptr().cast()))
            };
            let low = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, low_bits));
            let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low_bits));
            sums[0] = _mm256_add_epi16(sums[0], _mm256_and_si256(low, even));
            sums[1] = _mm256_add_epi16(sums[1], _mm256_srli_epi16::<8>(low));
            sums[2] = _mm256_add_epi16(sums[2], _mm256_and_si256(high, even));
            sums[3] = _mm256_add_epi16(sums[3], _mm256_srli_epi16::<8>(high));
        }
        let halves =
            sums.map(|sum| _mm_add_epi16(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum)));
        finish(halves, entry_rest, block_rest)
    }

    /// Four groups at a time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2")]
    pub fn avx512(entries: &[[u8; 16]], block: &[[u8; GROUP_BYTES]]) -> [u16; BLOCK] {
        let low_bits = _mm512_set1_epi8(0x0F);
        let even = _mm512_set1_epi16(0x00FF);
        let mut sums = [_mm512_setzero_si512(); 4];
        let (entry_quads, entry_rest) = entries.as_chunks::<4>();
        let (block_quads, block_rest) = block.as_chunks::<4>();
        for (entries, nibbles) in entry_quads.iter().zip(block_quads) {
            // SAFETY: both are 64 bytes long; the loads ask for no alignment.
            let (table, codes) = unsafe {
                (_mm512_loadu_si512(entries.as_ptr().cast()), _mm512_loadu_si512(nibbles.as_ptr().cast()))
            };
            let low = _mm512_shuffle_epi8(table, _mm512_and_si512(codes, low_bits));
            let high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low_bits));
            sums[0] = _mm512_add_epi16(sums[0], _mm512_and_si512(low, even));
            sums[1] = _mm512_add_epi16(sums[1], _mm512_srli_epi16::<8>(low));
            sums[2] = _mm512_add_epi16(sums[2], _mm512_and_si512(high, even));
            sums[3] = _mm512_add_epi16(sums[3], _mm512_srli_epi16::<8>(high));
        }
        let quarters = sums.map(|sum| {
            let half = _mm256_add_epi16(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
            _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
        });
        finish(quarters, entry_rest, block_rest)
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{BLOCK, GROUP_BYTES};
    use std::arch::aarch64::*;

    /// One group at a time; the sums are of codes 0–7, 8–15, 16–23, 24–31.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn neon(entries: &[[u8; 16]], block: &[[u8; GROUP_BYTES]]) -> [u16; BLOCK] {
        let low_bits = vdupq_n_u8(0x0F);
        let mut sums = [vdupq_n_u16(0); 4];
        for (entries, nibbles) in entries.iter().zip(block) {
            // SAFETY: both are 16 bytes long; the loads ask for no alignment.
            let (table, codes) = unsafe { (vld1q_u8(entries.as_ptr()), vld1q_u8(nibbles.as_ptr())) };
            let low = vqtbl1q_u8(table, vandq_u8(codes, low_bits));
            let high = vqtbl1q_u8(table, vshrq_n_u8::<4>(codes));
            sums[0] = vaddw_u8(sums[0], vget_low_u8(low));
            sums[1] = vaddw_high_u8(sums[1], low);
            sums[2] = vaddw_u8(sums[2], vget_low_u8(high));
            sums[3] = vaddw_high_u8(sums[3], high);
        }
        let mut codes = [0; BLOCK];
        for (eight, sum) in codes.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: eight numbers of 16 bits; the store asks for no alignment.
            unsafe { vst1q_u16(eight.as_mut_ptr(), sum) };
        }
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_kernel_is_the_portable_one(
            pairs in prop::collection::vec((any::<[u8; 16]>(), any::<[u8; 16]>()), 0..GROUPS_PER_CHUNK + 1)
        ) {
            let (entries, block): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let expected = portable(&entries, &block);
            prop_assert_eq!(chunk_sums(&entries, &block), expected);
            #[cfg(target_arch = "x86_64")]
            {
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the feature.
                    prop_assert_eq!(unsafe { x86::avx2(&entries, &block) }, expected);
                }
                if std::arch::is_x86_feature_detected!("avx512bw") {
                    // SAFETY: the processor has the feature.
                    prop_assert_eq!(unsafe { x86::avx512(&entries, &block) }, expected);
                }
            }
        }

        #[test]
        fn sums_are_inner_products(
            (query, codes) in (1usize..40).prop_flat_map(|n| {
                let codes = prop::collection::vec(any::<u8>(), n * 8);
                (prop::collection::vec(-1f32..1.0, n * 64), prop::collection::vec(codes, 1..33))
            })
        ) {
            let table = Table::new(&query);
            let borrowed: Vec<&[u8]> = codes.iter().map(Vec::as_slice).collect();
            let block = pack(&borrowed, query.len());
            prop_assert!(codes.iter().enumerate().all(|(i, code)| unpack(&block, i) == *code));
            let sums = table.sums(&block);
            for (code, sum) in codes.iter().zip(sums) {
                let exact: f32 =
                    query.iter().enumerate().filter(|(i, _)| code[i / 8] >> (i % 8) & 1 == 1).map(|(_, x)| x).sum();
                // Each of the groups is rounded by half a step.
                let slack = table.step * 0.5 * (query.len() / GROUP) as f32 + 1e-2;
                prop_assert!((table.least() + table.step * sum as f32 - exact).abs() <= slack);
            }
        }
    }

    #[test]
    fn the_largest_chunk_does_not_overflow() {
        let entries = vec![[255u8; 16]; GROUPS_PER_CHUNK];
        let block = vec![[0x5A; 16]; GROUPS_PER_CHUNK];
        assert_eq!(chunk_sums(&entries, &block), [65_280; BLOCK]);
    }
}
