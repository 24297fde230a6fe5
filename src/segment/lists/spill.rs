//! Second lists: a row is entered once more, in the list whose centroid makes up best for what its own list's misses.
//!
//! A query that sees a row's own list farther away than it should is likely to see the second list near, if the residuals
//! of the row to the two centroids point in different directions: Sun, Simcha, Dopson, Guo, Kumar, "SOAR: Improved
//! Indexing for Approximate Nearest Neighbor Search" (NeurIPS 2023).

use crate::codec::fastscan::BLOCK;
use crate::codec::rabitq::{Factors, Query};
use crate::distance::Element;
use crate::segment::block::{BlockLayout, Centre, Estimates};

/// What a second list is charged for a residual along that of the own list, for each part of it that is perpendicular.
const ALONG: f32 = 1.0;

/// The second list of a vector whose own list's centroid is `own`, among `candidates`, if there are any.
pub fn second_list<'a>(
    vector: &[f32],
    own: &[f32],
    candidates: impl Iterator<Item = (u32, &'a [f32])>,
) -> Option<u32> {
    let residual: Vec<f32> = vector.iter().zip(own).map(|(x, c)| x - c).collect();
    let squared = f32::dot(&residual, &residual) as f32;
    let mut other = vec![0f32; vector.len()];
    let mut cost = |centroid: &[f32]| {
        // The difference of products with vector and centroid would be lost to rounding far from zero.
        other.iter_mut().zip(vector.iter().zip(centroid)).for_each(|(other, (x, c))| *other = x - c);
        let along = f32::dot(&residual, &other) as f32;
        // A vector at its centroid has no direction.
        let charge = if squared > 0.0 { ALONG * along * along / squared } else { 0.0 };
        f32::dot(&other, &other) as f32 + charge
    };
    let costs = candidates.map(|(list, centroid)| (cost(centroid), list));
    costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, list)| list)
}

/// Blocks of entries: codes of single bits, followed by the ordinals of the 32 rows.
#[derive(Clone, Copy, Debug)]
pub struct SpillBlocks(BlockLayout);

impl SpillBlocks {
    pub fn new(dims: usize) -> Self {
        Self(BlockLayout::new(dims))
    }

    pub fn bytes(self) -> usize {
        self.0.bytes() + BLOCK * size_of::<u32>()
    }

    /// Bytes of one code.
    pub fn code_bytes(self) -> usize {
        self.0.code_bytes()
    }

    /// A block of at most 32 entries.
    pub fn pack(self, ordinals: &[u32], codes: &[(Factors, &[u8])]) -> Vec<u8> {
        let mut block = self.0.pack(codes);
        block.extend_from_slice(bytemuck::cast_slice(ordinals));
        block.resize(self.bytes(), 0);
        block
    }

    /// The ordinals of a block's rows; `None` if it is no block.
    pub fn ordinals(self, block: &[u8]) -> Option<[u32; BLOCK]> {
        let ordinals: &[u32] = bytemuck::try_cast_slice(block.get(self.0.bytes()..self.bytes())?).ok()?;
        ordinals.try_into().ok()
    }

    /// The numbers and the bits of one entry of a block of this layout.
    pub fn code(self, block: &[u8], entry: usize) -> (Factors, Vec<u8>) {
        self.0.code(block, entry)
    }

    /// See [`BlockLayout::estimate`].
    pub fn estimate(self, block: &[u8], query: &Query, centre: Centre) -> Option<Estimates> {
        self.0.estimate(block, query, centre)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_list_lies_to_the_side() {
        let own = [0.0, 0.0];
        let vector = [1.0, 0.0];
        // Both are as far from the vector; the first lies behind it, seen from its own centroid, the other beside it.
        let candidates = [(7, [2.5, 0.0]), (9, [1.0, 1.5])];
        let second = |vector: &[f32], candidates: &[(u32, [f32; 2])]| {
            second_list(vector, &own, candidates.iter().map(|(list, centroid)| (*list, &centroid[..])))
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

    #[test]
    fn blocks_keep_entries() {
        let layout = SpillBlocks::new(64);
        let code = [0xA5u8; 8];
        let factors = Factors { add: 1.0, rescale: 2.0, error: 3.0 };
        let block = layout.pack(&[5, 77], &[(factors, &code), (factors, &code)]);
        assert_eq!(block.len(), layout.bytes());
        assert_eq!(layout.ordinals(&block).unwrap()[..2], [5, 77]);
        assert_eq!(layout.code(&block, 1), (factors, code.to_vec()));
        assert_eq!(layout.ordinals(&block[1..]), None);
    }
}
