//! Codes of several bits a dimension, one row after another, with their numbers before them (see
//! [`super::row`]).

use super::CodeLayout;
use crate::codec::layout::block::Centre;
use crate::codec::layout::row::{self, CODE};
use crate::codec::rabitq::Factors;
use crate::codec::rabitq_multibit::{self, Query};
use crate::codec::rotation::rotated_dims;

/// Where things are in a row's fine code.
#[derive(Clone, Copy, Debug)]
pub struct FineLayout {
    bits: usize,
    /// Dimensions of rotated vectors.
    dims: usize,
}

impl FineLayout {
    /// `None` if `bits` is 1: the codes of single bits are in blocks.
    pub fn new(dims: usize, bits: u8) -> Option<Self> {
        (bits > 1).then(|| Self { bits: bits.into(), dims: rotated_dims(dims) })
    }

    pub fn bits(self) -> usize {
        self.bits
    }

    /// The bytes of the code.
    pub fn code_mut(self, fine: &mut [u8]) -> &mut [u8] {
        &mut fine[CODE..]
    }

    pub fn put_factors(self, fine: &mut [u8], factors: Factors) {
        row::put_factors(fine, factors);
    }
}
impl CodeLayout for FineLayout {
    type Query = Query;
    type Centre = Centre;
    type Estimate<'a> = (f32, f32);

    fn bytes(self) -> usize {
        CODE + rabitq_multibit::code_bytes(self.dims, self.bits)
    }

    /// The estimated score of a row and how far it may be off; `None` if the bytes are no fine
    /// code.
    fn estimate<'a>(
        self,
        bytes: &'a [u8],
        query: &Self::Query,
        centre: Self::Centre,
    ) -> Option<Self::Estimate<'a>> {
        let (factors, code) = row::split(bytes, self.bytes())?;
        Some(query.estimate(code, self.bits, factors, (centre.score, centre.distance)))
    }
}
