//! Blocks of 32 one-bit codes with the numbers that make estimates and bounds of them.
//!
//! A block: what the codec adds for each code, what it multiplies by, how far it may be off (`f32`s), then the codes as
//! FastScan wants them (see [`fastscan::pack`]).

use crate::codec::fastscan::{self, BLOCK};
use crate::codec::rabitq::{Factors, Query};
use crate::codec::rotation::rotated_dims;

/// Where things are in a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockLayout {
    /// Of rotated vectors.
    dims: usize,
}

/// What a query knows of the centre of some codes.
#[derive(Clone, Copy, Debug)]
pub struct Centre {
    /// The centre's exact score.
    pub score: f64,
    /// The Euclidean distance between the centre and the query.
    pub distance: f64,
}

const NUMBERS: usize = 3 * BLOCK;

impl BlockLayout {
    /// For vectors of so many dimensions.
    pub fn new(dims: usize) -> Self {
        Self { dims: rotated_dims(dims) }
    }

    pub fn bytes(self) -> usize {
        NUMBERS * size_of::<f32>() + fastscan::block_bytes(self.dims)
    }

    /// Bytes of one code.
    pub fn code_bytes(self) -> usize {
        self.dims / 8
    }

    /// A block of at most 32 codes.
    pub fn pack(self, codes: &[(Factors, &[u8])]) -> Vec<u8> {
        let mut numbers = [0f32; NUMBERS];
        for (i, (factors, _)) in codes.iter().enumerate() {
            numbers[i] = factors.add;
            numbers[BLOCK + i] = factors.rescale;
            numbers[2 * BLOCK + i] = factors.error;
        }
        let codes: Vec<&[u8]> = codes.iter().map(|(_, code)| *code).collect();
        [bytemuck::cast_slice(&numbers), &fastscan::pack(&codes, self.dims)[..]].concat()
    }

    /// Estimated scores and how far they may be off, for every code of a block; `None` if it is none.
    pub fn estimate(self, block: &[u8], query: &Query, centre: Centre) -> Option<Estimates> {
        let (numbers, codes) = block.get(..self.bytes())?.split_at(NUMBERS * size_of::<f32>());
        let numbers: &[f32] = bytemuck::try_cast_slice(numbers).ok()?;
        let (adds, numbers) = numbers.split_at(BLOCK);
        let (rescales, errors) = numbers.split_at(BLOCK);
        let scores = query.estimate(codes, adds, rescales, centre.score);
        let distance = centre.distance as f32;
        Some(Estimates { scores, errors: std::array::from_fn(|i| errors[i] * distance) })
    }
}

/// Estimated scores of a block.
pub struct Estimates {
    pub scores: [f32; BLOCK],
    pub errors: [f32; BLOCK],
}
