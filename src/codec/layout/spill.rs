//! Blocks of rows' codes in their second lists, with the ordinals of the rows.

use super::CodeLayout;
use super::block::{BlockLayout, Centre, Estimates};
use crate::codec::fastscan::BLOCK;
use crate::codec::rabitq::{Factors, Query};

/// Blocks of entries: codes of single bits, followed by the ordinals of the 32 rows.
#[derive(Clone, Copy, Debug)]
pub struct SpillBlocks(BlockLayout);

impl SpillBlocks {
    pub fn new(dims: usize) -> Self {
        Self(BlockLayout::new(dims))
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

    /// The ordinals of a block's rows; `None` if the bytes are no block.
    pub fn ordinals(self, block: &[u8]) -> Option<[u32; BLOCK]> {
        let ordinals: &[u32] = bytemuck::try_cast_slice(block.get(self.0.bytes()..self.bytes())?).ok()?;
        ordinals.try_into().ok()
    }

    /// The numbers and the bits of one entry of a block of this layout.
    pub fn code(self, block: &[u8], entry: usize) -> (Factors, Vec<u8>) {
        self.0.code(block, entry)
    }
}

impl CodeLayout for SpillBlocks {
    type Query = Query;
    type Centre = Centre;
    type Estimate<'a> = Estimates;

    fn bytes(self) -> usize {
        self.0.bytes() + BLOCK * size_of::<u32>()
    }

    /// See [`BlockLayout::estimate`].
    fn estimate<'a>(
        self,
        bytes: &'a [u8],
        query: &Self::Query,
        centre: Self::Centre,
    ) -> Option<Self::Estimate<'a>> {
        self.0.estimate(bytes, query, centre)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
