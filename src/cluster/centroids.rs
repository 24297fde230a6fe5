//! Centroids in memory, and codes by which the nearest of thousands are found in microseconds.
//!
//! The codes estimate inner products, against the mean of all centroids or, with a shift, against
//! zero. The centroids' squared norms follow each block: with both, squared distances are estimated
//! as well. One-bit and fine codes, and squared norms, are of vectors less the [`shift`].

use super::{Matrix, spill};
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::codec::layout::centroids::{CentroidBlocks, keys_of};
use crate::codec::rabitq::{self, Estimand, Factors, Query};
use crate::codec::rotation::Rotation;
use crate::distance::{Element, Metric, subtract};
use crate::memory;
use crate::util::bits;
use std::cmp::Ordering;

/// What is subtracted from vectors before they are rotated, so that rounding does not grow with the
/// distance from zero.
///
/// It is the centroids' median in each dimension, if most of them lie nearer to it than zero does.
/// Under a metric whose distances it would change, it is zero. The median, unlike the mean, is not
/// moved by a few centroids far from all others.
fn shift(metric: Metric, vectors: &Matrix) -> Vec<f32> {
    let none = vec![0.0; vectors.dims];
    if !metric.is_translation_invariant() {
        return none;
    }
    let mut column = vec![0f32; vectors.rows()];
    let median_of = |dim: usize| {
        column.iter_mut().enumerate().for_each(|(row, x)| *x = vectors.row(row)[dim]);
        median(&mut column, f32::total_cmp)
    };
    let shift: Vec<f32> = (0..vectors.dims).map(median_of).collect();
    let distance = |vector: &[f32]| -> f64 {
        shift.iter().zip(vector).map(|(s, x)| (f64::from(*s) - f64::from(*x)).powi(2)).sum()
    };
    let mut distances: Vec<f64> = (0..vectors.rows()).map(|row| distance(vectors.row(row))).collect();
    let is_far = distance(&none) > median(&mut distances, f64::total_cmp);
    if is_far { shift } else { none }
}

/// The element in the middle of a list that has one.
fn median<T: Copy>(elements: &mut [T], order: impl FnMut(&T, &T) -> Ordering) -> T {
    *elements.select_nth_unstable_by(elements.len() / 2, order).1
}

/// Centroids in memory, to assign rows to.
pub struct Centroids {
    vectors: Matrix,
    shift: Vec<f32>,
    /// The vectors less the shift, rotated.
    rotated: Matrix,
    /// What codes are against: the mean, or zero if there is a shift.
    code_centre: Vec<f32>,
    blocks: Vec<u8>,
    layout: CentroidBlocks,
}

/// How many centroids, those with the best estimates, are compared exactly.
const COMPARED: usize = 8;
/// Least keys examined for each list to rank.
const LEAST_PER_RANK: usize = 4;

impl Centroids {
    /// For at least one vector under a metric.
    pub fn new(metric: Metric, vectors: Matrix, rotation: &Rotation) -> Self {
        Self::with_shift(shift(metric, &vectors), vectors, rotation)
    }

    /// For vectors that nothing is subtracted from.
    pub fn unshifted(vectors: Matrix, rotation: &Rotation) -> Self {
        Self::with_shift(vec![0.0; vectors.dims], vectors, rotation)
    }

    /// As [`Self::new`], with a shift that was found before.
    pub fn with_shift(shift: Vec<f32>, vectors: Matrix, rotation: &Rotation) -> Self {
        let dims = vectors.dims;
        let count = vectors.rows();
        let is_shifted = shift.iter().any(|&x| x != 0.0);
        let code_centre = if is_shifted { vec![0.0; dims] } else { mean_of(&vectors) };
        let rotated_centre = rotation.rotate(&code_centre);
        let mut rotated = Matrix::new(rotation.dims());
        memory::reserve(&mut rotated.numbers, count * rotation.dims(), "centroids");
        let mut squared_norms = Vec::with_capacity(count);
        for row in 0..count {
            let vector = subtract(vectors.row(row), &shift);
            squared_norms.push(f32::dot(&vector, &vector) as f32);
            rotated.numbers.extend(rotation.rotate(&vector));
        }
        let layout = CentroidBlocks::new(dims);
        let code_bytes = layout.code_bytes();
        let mut blocks = Vec::new();
        for first in (0..count).step_by(BLOCK) {
            let mut codes = vec![0; BLOCK * code_bytes];
            let mut factors = [Factors::default(); BLOCK];
            let mut norms = [0f32; BLOCK];
            let members = first..(first + BLOCK).min(count);
            for ((row, code), i) in members.clone().zip(codes.chunks_exact_mut(code_bytes)).zip(0..) {
                let centroid = rotated.row(row);
                factors[i] = rabitq::encode(centroid, &rotated_centre, Estimand::NegativeInnerProduct, code);
                norms[i] = squared_norms[row];
            }
            let codes: Vec<(Factors, &[u8])> =
                factors.into_iter().zip(codes.chunks_exact(code_bytes)).take(members.len()).collect();
            blocks.extend(layout.pack(&codes, &norms));
        }
        Self { vectors, shift, rotated, code_centre, blocks, layout }
    }

    pub fn count(&self) -> usize {
        self.vectors.rows()
    }

    /// What is subtracted from vectors before they are rotated.
    pub fn shift(&self) -> &[f32] {
        &self.shift
    }

    /// A centroid less the shift, rotated.
    pub fn rotated(&self, list: u32) -> &[f32] {
        self.rotated.row(list as usize)
    }

    /// A centroid.
    pub fn vector(&self, list: u32) -> &[f32] {
        self.vectors.row(list as usize)
    }

    /// The list whose centroid is nearest to a vector; `tables` are of the vector less the shift.
    pub fn nearest(&self, vector: &[f32], tables: &Query) -> u32 {
        let mut best = [(f32::INFINITY, 0u32); COMPARED];
        self.rank(vector, tables, &mut best);
        self.nearest_of(vector, &best[..COMPARED.min(self.count())])
    }

    /// As [`Self::nearest`], and the second list (see [`spill`]), unless there is only one list.
    pub fn nearest_two(&self, vector: &[f32], tables: &Query) -> (u32, Option<u32>) {
        const CANDIDATES: usize = 16;
        if self.count() < 2 {
            return (0, None);
        }
        let mut best = [(f32::INFINITY, 0u32); CANDIDATES];
        self.rank(vector, tables, &mut best);
        let candidates = &best[..CANDIDATES.min(self.count())];
        let nearest = self.nearest_of(vector, candidates);
        let others = candidates.iter().map(|&(_, list)| list).filter(|&list| list != nearest);
        let others = others.map(|list| (list, self.vector(list)));
        let second = spill::spill_list(vector, self.vector(nearest), others);
        // Where distances are NaN, any other list will do: every row is in two.
        (nearest, second.or(Some((nearest + 1) % self.count() as u32)))
    }

    /// The list whose centroid is exactly the nearest, of the first [`COMPARED`] ranked ones.
    pub fn nearest_of(&self, vector: &[f32], ranked: &[(f32, u32)]) -> u32 {
        let candidates = ranked.iter().take(COMPARED).map(|(_, list)| *list);
        let exact = |list: u32| f32::l2_squared(self.vectors.row(list as usize), vector);
        let nearest = candidates.map(|list| (exact(list), list)).min_by(|a, b| a.0.total_cmp(&b.0));
        nearest.map_or(0, |(_, list)| list)
    }

    /// Fills `best`, whose keys are infinite, with the lists that seem nearest, in ascending order
    /// of keys. A key is the squared distance less the vector's squared norm.
    pub fn rank(&self, vector: &[f32], tables: &Query, best: &mut [(f32, u32)]) {
        self.rank_more(0, vector, tables, best);
    }

    /// As [`Self::rank`], among the lists that `best` holds already. The numbers of these lists
    /// begin with `number`.
    pub fn rank_more(&self, number: u32, vector: &[f32], tables: &Query, best: &mut [(f32, u32)]) {
        // With a shift the codes' centre is zero, so that the vector as it is will do.
        let centre_product = f32::dot(&self.code_centre, vector);
        let blocks = self.blocks.chunks_exact(self.layout.bytes());
        let stretch = blocks.len().div_ceil((LEAST_PER_RANK * best.len()).div_ceil(BLOCK)).max(1);
        let mut keys = Vec::with_capacity(blocks.len());
        // The least key of each lane over a stretch of blocks. As many of these as ranks give a
        // limit that few other keys are below.
        let mut least = vec![[f32::INFINITY; BLOCK]; blocks.len().div_ceil(stretch)];
        for (number, block) in blocks.enumerate() {
            let (products, norms) =
                self.layout.estimate(block, tables, centre_product).expect("blocks are of this layout");
            let lists = (self.count() - number * BLOCK).min(BLOCK);
            keys.push(keys_of(&products, norms, lists, &mut least[number / stretch]));
        }
        let last = best.len() - 1;
        let least = least.as_flattened_mut();
        // Where `best` is full, its last key is the limit.
        let limit = match best[last].0 {
            f32::INFINITY if last < least.len() => {
                least.select_nth_unstable_by(last, f32::total_cmp).1.next_up()
            }
            worst => worst,
        };
        for (keys, first) in keys.iter().zip((number..).step_by(BLOCK)) {
            for place in bits::places(bits::below(keys, limit)) {
                let key = keys[place];
                if key < best[last].0 {
                    let at = best.partition_point(|(other, _)| *other <= key);
                    best.copy_within(at..last, at + 1);
                    best[at] = (key, first + place as u32);
                }
            }
        }
    }

    /// What the pages of a codebook hold: vectors, what their codes are against, the shift.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let vectors = self.vectors.numbers.chunks_exact(self.vectors.dims);
        vectors.chain([&self.code_centre[..], &self.shift[..]])
    }

    /// The blocks of the centroids' codes, and the bytes of each.
    pub fn blocks(&self) -> (impl ExactSizeIterator<Item = &[u8]>, usize) {
        let bytes = self.layout.bytes();
        (self.blocks.chunks_exact(bytes), bytes)
    }
}

/// The mean of vectors, of which there is one at least.
fn mean_of(vectors: &Matrix) -> Vec<f32> {
    let count = vectors.rows() as f32;
    let mut mean = vec![0f32; vectors.dims];
    for row in 0..vectors.rows() {
        mean.iter_mut().zip(vectors.row(row)).for_each(|(mean, x)| *mean += x / count);
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Random;

    /// How many of 200 vectors find the nearest of 300 centroids, whose numbers are around `mean`.
    fn found(mean: f32, metric: Metric) -> usize {
        let dims = 70;
        let mut random = Random::new(7);
        let mut row = || -> Vec<f32> { (0..dims).map(|_| random.fraction() as f32).collect() };
        let rotation = Rotation::new(3, dims);
        let vectors = Matrix { dims, numbers: (0..300).flat_map(|_| row()).map(|x| mean + x).collect() };
        let centroids = Centroids::new(metric, vectors.clone(), &rotation);
        let finds_nearest = |near: &usize| {
            let query: Vec<f32> = vectors.row(*near).iter().zip(row()).map(|(x, y)| x + 0.5 * y).collect();
            let distance = |list: usize| f32::l2_squared(vectors.row(list), &query);
            let exact = (0..300).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap();
            let tables = Query::new(&rotation.rotate(&subtract(&query, centroids.shift())));
            centroids.nearest(&query, &tables) == exact as u32
        };
        (0..200).filter(finds_nearest).count()
    }

    #[test]
    fn the_nearest_centroid_is_found() {
        assert!(found(0.0, Metric::L2) >= 198);
        assert!(found(0.0, Metric::InnerProduct) >= 198, "that is the nearest by distance");
    }

    #[test]
    fn the_nearest_centroid_is_found_far_from_the_origin() {
        assert!(found(1000.0, Metric::L2) >= 198);
    }

    #[test]
    fn the_shift_is_where_most_centroids_are() {
        let rows = |rows: &[[f32; 2]]| Matrix { dims: 2, numbers: rows.concat() };
        let far = [[1000.0, 50.0], [1001.0, 51.0], [999.0, 50.0]];
        assert_eq!(shift(Metric::L2, &rows(&far)), [1000.0, 50.0]);
        assert_eq!(shift(Metric::InnerProduct, &rows(&far)), [0.0; 2]);
        let outlier = [[0.1, 0.0], [-0.1, 0.2], [1e10, 1e10], [0.2, 0.3], [-0.2, -0.1]];
        assert!(shift(Metric::L2, &rows(&outlier)).iter().all(|x| x.abs() < 1.0));
        assert_eq!(shift(Metric::L2, &rows(&[[0.0, 0.0]])), [0.0; 2]);
    }
}
