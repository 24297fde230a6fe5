//! Blocks of 32 one-bit codes with the numbers that make estimates and bounds of them.
//!
//! A block, all numbers `f32`: what the codec adds for each code, what it multiplies by, how far it
//! may be off. Then the codes in the order of FastScan (see [`fastscan::pack`]).

use super::CodeLayout;
use crate::codec::fastscan::{self, BLOCK};
use crate::codec::rabitq::{Factors, Query};
use crate::codec::rotation::rotated_dims;
use crate::distance::{Element, Geometry, Metric};

/// Where things are in a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockLayout {
    /// Dimensions of rotated vectors.
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

impl Centre {
    /// For a query and a centre, both widened (see [`crate::codec::encoder::widen`]).
    pub fn new(metric: Metric, query: &[f32], centre: &[f32]) -> Self {
        let score = Self::score_of(metric, query, centre);
        let squared = match metric.geometry() {
            Geometry::Product | Geometry::Angle => f32::l2_squared(query, centre),
            Geometry::Euclidean => score,
        };
        Self { score, distance: squared.sqrt() }
    }

    /// A centre's exact score alone. Under L1, Hamming and Jaccard it is the squared distance, by
    /// which lists are ranked.
    pub fn score_of(metric: Metric, query: &[f32], centre: &[f32]) -> f64 {
        match metric.geometry() {
            Geometry::Product => -f32::dot(query, centre),
            Geometry::Angle => 1.0 - f32::dot(query, centre),
            Geometry::Euclidean => f32::l2_squared(query, centre),
        }
    }

    /// As [`Self::new`], where the sum of the two squared norms is known: then one product is
    /// enough.
    pub fn with_norms(metric: Metric, query: &[f32], centre: &[f32], squared_norms: f64) -> Self {
        let constant = match metric.geometry() {
            Geometry::Product => 0.0,
            Geometry::Angle => 1.0,
            Geometry::Euclidean => return Self::new(metric, query, centre),
        };
        let product = f32::dot(query, centre);
        Self { score: constant - product, distance: (squared_norms - 2.0 * product).max(0.0).sqrt() }
    }

    /// The origin as the centre.
    pub fn origin(metric: Metric, query: &[f32]) -> Self {
        Self::new(metric, query, &vec![0.0; query.len()])
    }
}

const NUMBERS: usize = 3 * BLOCK;

impl BlockLayout {
    /// For vectors of `dims` dimensions.
    pub fn new(dims: usize) -> Self {
        Self { dims: rotated_dims(dims) }
    }

    /// Bytes of one code.
    pub fn code_bytes(self) -> usize {
        self.dims / 8
    }

    /// Writes the factors of one code.
    pub fn put_factors(self, block: &mut [u8], code: usize, factors: Factors) {
        for (number, value) in [factors.add, factors.rescale, factors.error].into_iter().enumerate() {
            let at = (number * BLOCK + code) * size_of::<f32>();
            block[at..][..size_of::<f32>()].copy_from_slice(&value.to_ne_bytes());
        }
    }

    /// The bytes of a block's codes.
    pub fn codes_mut(self, block: &mut [u8]) -> &mut [u8] {
        &mut block[NUMBERS * size_of::<f32>()..]
    }

    /// A block of at most 32 codes.
    pub fn pack(self, codes: &[(Factors, &[u8])]) -> Vec<u8> {
        let mut block = vec![0; self.bytes()];
        for (i, (factors, _)) in codes.iter().enumerate() {
            self.put_factors(&mut block, i, *factors);
        }
        let codes: Vec<&[u8]> = codes.iter().map(|(_, code)| *code).collect();
        self.codes_mut(&mut block).copy_from_slice(&fastscan::pack(&codes, self.dims));
        block
    }

    /// The numbers and the bits of one code of a packed block of this layout.
    pub fn code(self, block: &[u8], code: usize) -> (Factors, Vec<u8>) {
        let number = |number: usize| {
            let at = (number * BLOCK + code) * size_of::<f32>();
            f32::from_ne_bytes(block[at..][..size_of::<f32>()].try_into().expect("four bytes"))
        };
        let factors = Factors { add: number(0), rescale: number(1), error: number(2) };
        (factors, fastscan::unpack(&block[NUMBERS * size_of::<f32>()..self.bytes()], code))
    }

    /// What is added, multiplied by, and the error of each code of a block, and the codes; `None`
    /// if the bytes are no block.
    fn parts(self, block: &[u8]) -> Option<(&[[f32; BLOCK]; 3], &[u8])> {
        let (numbers, codes) = block.get(..self.bytes())?.split_at(NUMBERS * size_of::<f32>());
        Some((bytemuck::try_from_bytes(numbers).ok()?, codes))
    }

    /// Estimated scores, for every code of a block; `None` if the bytes are no block.
    pub fn scores(self, block: &[u8], query: &Query, centre_score: f64) -> Option<[f32; BLOCK]> {
        let ([adds, rescales, _], codes) = self.parts(block)?;
        Some(query.estimate(codes, adds, rescales, centre_score))
    }
}

impl CodeLayout for BlockLayout {
    type Query = Query;
    type Centre = Centre;
    type Estimate<'a> = Estimates;

    fn bytes(self) -> usize {
        NUMBERS * size_of::<f32>() + fastscan::block_bytes(self.dims)
    }

    /// Estimated scores and how far they may be off, for every code of a block; `None` if the bytes
    /// are no block.
    fn estimate<'a>(
        self,
        bytes: &'a [u8],
        query: &Self::Query,
        centre: Self::Centre,
    ) -> Option<Self::Estimate<'a>> {
        let (numbers, codes) = self.parts(bytes)?;
        let [adds, rescales, _] = numbers;
        let scores = query.estimate(codes, adds, rescales, centre.score);
        let errors = query.bounds(numbers, &scores, (centre.score, centre.distance));
        Some(Estimates { scores, errors })
    }
}

/// Estimated scores of a block, and bounds on their errors.
pub struct Estimates {
    pub scores: [f32; BLOCK],
    pub errors: [f32; BLOCK],
}
