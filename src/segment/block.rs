//! Blocks of 32 one-bit codes with the numbers that make estimates and bounds of them.
//!
//! A block: what the codec adds for each code, what it multiplies by, how far it may be off (`f32`s), then the codes as
//! FastScan wants them (see [`fastscan::pack`]).

use crate::codec::fastscan::{self, BLOCK};
use crate::codec::rabitq::{Factors, Query};
use crate::codec::rotation::rotated_dims;
use crate::cpu::vectorized;
use crate::distance::{Element, Metric};

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

impl Centre {
    /// For a query and a centre as numbers (see [`crate::segment::encoder::widen`]).
    pub fn new(metric: Metric, query: &[f32], centre: &[f32]) -> Self {
        let score = Self::score_of(metric, query, centre);
        let squared = match metric {
            Metric::InnerProduct | Metric::Cosine => f32::l2_squared(query, centre),
            _ => score,
        };
        Self { score, distance: squared.sqrt() }
    }

    /// A centre's exact score alone.
    pub fn score_of(metric: Metric, query: &[f32], centre: &[f32]) -> f64 {
        match metric {
            Metric::InnerProduct => -f32::dot(query, centre),
            Metric::Cosine => 1.0 - f32::dot(query, centre),
            _ => f32::l2_squared(query, centre),
        }
    }

    /// As [`Self::new`], where the sum of the two squared norms is known: then one product tells all of it.
    pub fn with_norms(metric: Metric, query: &[f32], centre: &[f32], squared_norms: f64) -> Self {
        let constant = match metric {
            Metric::InnerProduct => 0.0,
            Metric::Cosine => 1.0,
            _ => return Self::new(metric, query, centre),
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

    /// Writes the numbers of one code.
    pub fn put_factors(self, block: &mut [u8], code: usize, factors: Factors) {
        for (number, value) in [factors.add, factors.rescale, factors.error].into_iter().enumerate() {
            let at = (number * BLOCK + code) * size_of::<f32>();
            block[at..][..size_of::<f32>()].copy_from_slice(&value.to_ne_bytes());
        }
    }

    /// The room of a block's codes.
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

    /// What is added, multiplied by, and the error of each code of a block, and the codes; `None` if it is none.
    fn parts(self, block: &[u8]) -> Option<(&[[f32; BLOCK]; 3], &[u8])> {
        let (numbers, codes) = block.get(..self.bytes())?.split_at(NUMBERS * size_of::<f32>());
        Some((bytemuck::try_from_bytes(numbers).ok()?, codes))
    }

    /// The numbers of a block, packed or not; `None` if it is none.
    pub fn numbers(self, block: &[u8]) -> Option<Numbers<'_>> {
        let ([adds, rescales, _], _) = self.parts(block)?;
        Some(Numbers { adds, rescales })
    }

    /// Estimated scores, for every code of a block; `None` if it is none.
    pub fn scores(self, block: &[u8], query: &Query, centre_score: f64) -> Option<[f32; BLOCK]> {
        let ([adds, rescales, _], codes) = self.parts(block)?;
        Some(query.estimate(codes, adds, rescales, centre_score))
    }

    /// Estimated scores and how far they may be off, for every code of a block; `None` if it is none.
    pub fn estimate(self, block: &[u8], query: &Query, centre: Centre) -> Option<Estimates> {
        let ([adds, rescales, errors], codes) = self.parts(block)?;
        let scores = query.estimate(codes, adds, rescales, centre.score);
        Some(Estimates {
            scores,
            errors: bounds(errors, rescales, centre.distance as f32, query.table_error()),
        })
    }
}

/// Numbers beside a block's codes, those by which rounding may put an estimate off.
#[derive(Clone, Copy)]
pub struct Numbers<'a> {
    adds: &'a [f32; BLOCK],
    rescales: &'a [f32; BLOCK],
}

/// How far rounding may put estimates off at most, beside the errors that codes tell of.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// What the table's rounding adds to a product.
    lookup: f32,
    /// The query's norm, and what no product exceeds.
    norm: f32,
    product: f32,
    /// Of each number that an estimate is made of.
    relative: f32,
}

impl Rounding {
    /// For a rotated query and its tables.
    pub fn new(rotated: &[f32], tables: &Query) -> Self {
        let dims = rotated.len() as f32;
        let length = f32::dot(rotated, rotated).sqrt() as f32;
        // Of four dimensions together there is one number in the table, rounded by half a step at most.
        let lookup = tables.step() * dims / 8.0;
        // Sums are those of sixteen lanes.
        Self {
            lookup,
            norm: length,
            product: length * dims.sqrt(),
            relative: (16.0 + dims / 16.0) * f32::EPSILON,
        }
    }

    /// Of the estimates of codes in a block, from the one in place `first` on.
    pub fn of_block(self, numbers: Numbers, first: usize, scores: &[f32], centre: Centre) -> [f32; BLOCK] {
        let places = first..first + scores.len();
        let [mut adds, mut rescales, mut all] = [[0f32; BLOCK]; 3];
        adds[..scores.len()].copy_from_slice(&numbers.adds[places.clone()]);
        rescales[..scores.len()].copy_from_slice(&numbers.rescales[places]);
        all[..scores.len()].copy_from_slice(scores);
        roundings(&adds, &rescales, &all, self, self.of_centre(centre))
    }

    /// Of an estimate of these numbers, whose product is computed without tables.
    pub fn of_numbers(self, add: f32, rescale: f32, score: f32, centre: Centre) -> f32 {
        let parts = 2.0 * add.abs() + score.abs() + rescale.abs() * self.product;
        self.relative * (parts + self.of_centre(centre))
    }

    /// The size of the numbers that a centre brings along: it is no longer than the query and what lies between them.
    fn of_centre(self, centre: Centre) -> f32 {
        centre.score.abs() as f32 + self.norm * (self.norm + centre.distance as f32)
    }
}

vectorized! {
    /// As [`Rounding::of_numbers`], with what the tables' rounding adds; `centre` is the size of the centre's numbers.
    fn roundings(
        adds: &[f32; BLOCK],
        rescales: &[f32; BLOCK],
        scores: &[f32; BLOCK],
        rounding: Rounding,
        centre: f32,
    ) -> [f32; BLOCK] {
        let Rounding { lookup, product, relative, .. } = rounding;
        let mut roundings = [0f32; BLOCK];
        for i in 0..BLOCK {
            let rescale = rescales[i].abs();
            let parts = 2.0 * adds[i].abs() + scores[i].abs() + rescale * product;
            roundings[i] = rescale * lookup + relative * (parts + centre);
        }
        roundings
    }
}

vectorized! {
    /// How far estimates may be off: by what the codes lose or, where that is more, by what a query's tables add to a
    /// product. It is the larger of the two, not the root of their squares, which might overflow or vanish.
    fn bounds(errors: &[f32; BLOCK], rescales: &[f32; BLOCK], distance: f32, table_error: f32) -> [f32; BLOCK] {
        let mut bounds = [0f32; BLOCK];
        for i in 0..BLOCK {
            let (code, table) = (errors[i] * distance, rescales[i].abs() * table_error);
            // NaN, where a code tells nothing, stays.
            bounds[i] = if table > code { table } else { code };
        }
        bounds
    }
}

/// Estimated scores of a block.
pub struct Estimates {
    pub scores: [f32; BLOCK],
    pub errors: [f32; BLOCK],
}
