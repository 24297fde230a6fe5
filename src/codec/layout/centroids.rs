//! Blocks of centroids' codes with the centroids' squared norms.

use super::CodeLayout;
use super::block::BlockLayout;
use crate::codec::fastscan::BLOCK;
use crate::codec::rabitq::{Factors, Query};
use crate::util::cpu::vectorized;

/// Blocks of centroids' codes.
#[derive(Clone, Copy)]
pub struct CentroidBlocks(BlockLayout);

impl CentroidBlocks {
    pub fn new(dims: usize) -> Self {
        Self(BlockLayout::new(dims))
    }

    /// Bytes of one code.
    pub fn code_bytes(self) -> usize {
        self.0.code_bytes()
    }

    /// A block of at most 32 codes and the squared norms of their centroids.
    pub fn pack(self, codes: &[(Factors, &[u8])], squared_norms: &[f32; BLOCK]) -> Vec<u8> {
        let mut block = self.0.pack(codes);
        block.extend_from_slice(bytemuck::cast_slice(squared_norms));
        block
    }
}

impl CodeLayout for CentroidBlocks {
    type Query = Query;
    type Centre = f64;
    type Estimate<'a> = ([f32; BLOCK], &'a [f32; BLOCK]);

    fn bytes(self) -> usize {
        self.0.bytes() + BLOCK * size_of::<f32>()
    }

    /// Estimated inner products, negative, and squared norms of a block's centroids; `None` if the
    /// bytes are no block.
    ///
    /// `centre` is the query's inner product with the vector that the codes are against.
    fn estimate<'a>(
        self,
        bytes: &'a [u8],
        query: &Self::Query,
        centre: Self::Centre,
    ) -> Option<Self::Estimate<'a>> {
        let (codes, norms) = bytes.get(..self.bytes())?.split_at(self.0.bytes());
        let products = self.0.scores(codes, query, -centre)?;
        Some((products, bytemuck::try_cast_slice(norms).ok()?.first_chunk()?))
    }
}

vectorized! {
    /// Squared distances, less the vector's squared norm, of a block's first `lists` centroids.
    /// Lowers each lane of `least` to its key.
    pub fn keys_of(products: &[f32; BLOCK], norms: &[f32; BLOCK], lists: usize, least: &mut [f32; BLOCK]) -> [f32; BLOCK] {
        let mut keys = [f32::INFINITY; BLOCK];
        for i in 0..BLOCK {
            keys[i] = if i < lists { norms[i] + 2.0 * products[i] } else { f32::INFINITY };
            least[i] = least[i].min(keys[i]);
        }
        keys
    }
}
