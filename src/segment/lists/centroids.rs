//! The codebook: centroids, and codes by which the nearest of thousands are found in microseconds.
//!
//! The codes estimate inner products, against the mean of all centroids. A block of them is
//! followed by the centroids' squared norms: with both, squared distances are estimated as well.
//! One-bit and fine codes, and squared norms, are of vectors less the codebook's [`shift`].

use super::spill;
use crate::cluster::Matrix;
use crate::codec::encoder::{CodedQuery, subtract};
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::block::BlockLayout;
use crate::codec::rabitq::{self, Factors, Query, Target};
use crate::codec::rotation::Rotation;
use crate::distance::{Element, Metric};
use crate::memory;
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::storage::draft::Draft;
use crate::storage::manifest::Codebook;
use crate::storage::meta::Meta;
use crate::storage::page::Kind;
use crate::storage::part_reader::PartReader;
use crate::storage::part_writer::write_rows;
use crate::storage::snapshot::Snapshot;
use crate::util::bits;
use crate::util::cpu::vectorized;
use std::cmp::Ordering;
use std::sync::Arc;

/// What is subtracted from vectors before they are rotated, so that rounding does not grow with the
/// distance from zero: the centroids' median in each dimension, where that changes no distance and
/// most of them lie nearer to it than zero.
///
/// The median, unlike the mean, is not moved by a few centroids far from all others.
fn shift(metric: Metric, vectors: &Matrix) -> Vec<f32> {
    let none = vec![0.0; vectors.dims];
    match metric {
        Metric::InnerProduct | Metric::Cosine | Metric::Jaccard => none,
        Metric::L2 | Metric::L1 | Metric::Hamming => {
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
    }
}

/// The element in the middle of a list that has one.
fn median<T: Copy>(elements: &mut [T], order: impl FnMut(&T, &T) -> Ordering) -> T {
    *elements.select_nth_unstable_by(elements.len() / 2, order).1
}

/// Centroids in memory, to assign rows to.
pub struct Centroids {
    vectors: Matrix,
    shift: Vec<f32>,
    /// Less the shift.
    rotated: Matrix,
    /// What codes are against: zero, or without a shift the mean.
    code_centre: Vec<f32>,
    blocks: Vec<u8>,
    layout: CentroidBlocks,
}

/// The lists that rows are assigned to.
#[derive(Clone)]
pub struct Lists {
    /// Id of the codebook; 0 for one list around the origin.
    pub codebook: u32,
    pub centroids: Arc<Centroids>,
    /// The codebook, if it was just written and is in no manifest yet.
    pub new: Option<Codebook>,
}

impl Lists {
    /// One list for everything, around the origin: for rows that are too few to have centroids of
    /// their own.
    pub fn origin(dims: usize) -> Self {
        let origin = Matrix { dims, numbers: vec![0.0; dims] };
        Self {
            codebook: 0,
            centroids: Arc::new(Centroids::unshifted(origin, &Rotation::new(0, dims))),
            new: None,
        }
    }

    /// Writes centroids that were found among so many rows; the caller adds the codebook to the
    /// manifest.
    pub fn create(draft: &mut Draft, centroids: Centroids, rows: u64) -> Self {
        let codebook = centroids.write(draft, rows);
        Self { codebook: codebook.id, centroids: Arc::new(centroids), new: Some(codebook) }
    }

    /// The lists of an index that has centroids.
    pub fn read(relation: Relation, snapshot: &Snapshot) -> Option<Self> {
        snapshot.manifest.codebook().map(|codebook| Self::of(relation, snapshot, codebook))
    }

    /// The lists of one of an index's codebooks.
    pub fn of(relation: Relation, snapshot: &Snapshot, codebook: &Codebook) -> Self {
        let dims = snapshot.meta.space.dims as usize;
        let rotation = Rotation::new(snapshot.meta.seed, dims);
        let centroids = Centroids::read(relation, codebook, dims, &rotation);
        Self { codebook: codebook.id, centroids: Arc::new(centroids), new: None }
    }
}

/// Blocks of centroids' codes.
#[derive(Clone, Copy)]
pub struct CentroidBlocks(BlockLayout);

impl CentroidBlocks {
    pub fn new(dims: usize) -> Self {
        Self(BlockLayout::new(dims))
    }

    pub fn bytes(self) -> usize {
        self.0.bytes() + BLOCK * size_of::<f32>()
    }

    /// Estimated inner products, negative, and squared norms of a block's centroids; `None` if it
    /// is no block.
    ///
    /// `centre_product` is the query's inner product with what the codes are against.
    pub fn estimate<'a>(
        self,
        block: &'a [u8],
        query: &Query,
        centre_product: f64,
    ) -> Option<([f32; BLOCK], &'a [f32; BLOCK])> {
        let (codes, norms) = block.get(..self.bytes())?.split_at(self.0.bytes());
        let products = self.0.scores(codes, query, -centre_product)?;
        Some((products, bytemuck::try_cast_slice(norms).ok()?.first_chunk()?))
    }
}

/// Centroids whose estimates are the best are compared exactly, so many of them.
const COMPARED: usize = 8;
/// Least keys that are looked at for each list that is to be ranked.
const LEAST_PER_RANK: usize = 4;

vectorized! {
    /// Squared distances, up to the vector's squared norm, of a block's first `lists` centroids;
    /// `least` is lowered to them.
    fn keys_of(products: &[f32; BLOCK], norms: &[f32; BLOCK], lists: usize, least: &mut [f32; BLOCK]) -> [f32; BLOCK] {
        let mut keys = [f32::INFINITY; BLOCK];
        for i in 0..BLOCK {
            keys[i] = if i < lists { norms[i] + 2.0 * products[i] } else { f32::INFINITY };
            least[i] = least[i].min(keys[i]);
        }
        keys
    }
}

impl Centroids {
    /// For vectors under a metric, one at least.
    pub fn new(metric: Metric, vectors: Matrix, rotation: &Rotation) -> Self {
        Self::with_shift(shift(metric, &vectors), vectors, rotation)
    }

    /// For vectors that nothing is subtracted from.
    pub fn unshifted(vectors: Matrix, rotation: &Rotation) -> Self {
        Self::with_shift(vec![0.0; vectors.dims], vectors, rotation)
    }

    fn with_shift(shift: Vec<f32>, vectors: Matrix, rotation: &Rotation) -> Self {
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
        let code_bytes = layout.0.code_bytes();
        let mut blocks = Vec::new();
        for first in (0..count).step_by(BLOCK) {
            let mut codes = vec![0; BLOCK * code_bytes];
            let mut factors = [Factors::default(); BLOCK];
            let mut norms = [0f32; BLOCK];
            let members = first..(first + BLOCK).min(count);
            for ((row, code), i) in members.clone().zip(codes.chunks_exact_mut(code_bytes)).zip(0..) {
                let centroid = rotated.row(row);
                factors[i] = rabitq::encode(centroid, &rotated_centre, Target::NegativeInnerProduct, code);
                norms[i] = squared_norms[row];
            }
            let codes: Vec<(Factors, &[u8])> =
                factors.into_iter().zip(codes.chunks_exact(code_bytes)).take(members.len()).collect();
            blocks.extend(layout.0.pack(&codes));
            blocks.extend_from_slice(bytemuck::cast_slice(&norms));
        }
        Self { vectors, shift, rotated, code_centre, blocks, layout }
    }

    /// Reads an index's centroids.
    fn read(relation: Relation, codebook: &Codebook, dims: usize, rotation: &Rotation) -> Self {
        let mut reader = CentroidReader::new(relation, codebook, dims);
        let mut vectors = Matrix::new(dims);
        memory::reserve(&mut vectors.numbers, codebook.lists as usize * dims, "centroids");
        for list in 0..codebook.lists {
            vectors.numbers.extend_from_slice(reader.vector(list));
        }
        Self::with_shift(reader.shift().to_vec(), vectors, rotation)
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

    /// The list whose centroid is nearest to a vector; the tables are of the vector less the shift.
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
        let second = spill::second_list(vector, self.vector(nearest), others);
        // Where distances are NaN any other list will do: every row is in two.
        (nearest, second.or(Some((nearest + 1) % self.count() as u32)))
    }

    /// Of lists that were ranked, the one whose centroid is nearest.
    pub fn nearest_of(&self, vector: &[f32], ranked: &[(f32, u32)]) -> u32 {
        let candidates = ranked.iter().take(COMPARED).map(|(_, list)| *list);
        let exact = |list: u32| f32::l2_squared(self.vectors.row(list as usize), vector);
        let nearest = candidates.map(|list| (exact(list), list)).min_by(|a, b| a.0.total_cmp(&b.0));
        nearest.map_or(0, |(_, list)| list)
    }

    /// Fills `best` with the lists that seem to be the nearest, in ascending order.
    pub fn rank(&self, vector: &[f32], tables: &Query, best: &mut [(f32, u32)]) {
        self.rank_more(0, vector, tables, best);
    }

    /// As [`Self::rank`], among lists that `best` holds already; these ones' numbers begin with
    /// `number`.
    pub fn rank_more(&self, number: u32, vector: &[f32], tables: &Query, best: &mut [(f32, u32)]) {
        // With a shift the codes' centre is zero, so that the vector as it is will do.
        let centre_product = f32::dot(&self.code_centre, vector);
        let blocks = self.blocks.chunks_exact(self.layout.bytes());
        let stretch = blocks.len().div_ceil((LEAST_PER_RANK * best.len()).div_ceil(BLOCK)).max(1);
        let mut keys = Vec::with_capacity(blocks.len());
        // Of each lane of a stretch of blocks the least key: as many of these as ranks tell a limit
        // that few others are below.
        let mut least = vec![[f32::INFINITY; BLOCK]; blocks.len().div_ceil(stretch)];
        for (number, block) in blocks.enumerate() {
            let (products, norms) =
                self.layout.estimate(block, tables, centre_product).expect("blocks are of this layout");
            let lists = (self.count() - number * BLOCK).min(BLOCK);
            keys.push(keys_of(&products, norms, lists, &mut least[number / stretch]));
        }
        let last = best.len() - 1;
        let least = least.as_flattened_mut();
        // Where `best` is full its last one is the limit.
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

    /// Writes the codebook's pages; the caller adds it to the manifest.
    fn write(&self, draft: &mut Draft, rows_of_index: u64) -> Codebook {
        let lists = self.count() as u32;
        let others = [&self.code_centre[..], &self.shift[..]];
        let rows = self.vectors.numbers.chunks_exact(self.vectors.dims).chain(others);
        let rows = rows.map(bytemuck::cast_slice::<f32, u8>);
        let row_bytes = self.vectors.dims * size_of::<f32>();
        let centroids = write_rows(draft, Kind::Centroids, row_bytes, u64::from(lists) + 2, rows);
        let blocks = self.blocks.chunks_exact(self.layout.bytes());
        let codes = write_rows(draft, Kind::Codes, self.layout.bytes(), blocks.len() as u64, blocks);
        Codebook { id: draft.id(), lists, centroids, codes, rows: rows_of_index }
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

/// Reads centroids one by one.
///
/// Holds a pin, so it must not outlive the callback in which it was made.
pub struct CentroidReader<'a> {
    relation: Relation,
    codebook: &'a Codebook,
    part: PartReader<'a>,
    dims: usize,
}

impl<'a> CentroidReader<'a> {
    pub fn new(relation: Relation, codebook: &'a Codebook, dims: usize) -> Self {
        let part = PartReader::new(relation, &codebook.centroids, Kind::Centroids, codebook.id);
        Self { relation, codebook, part, dims }
    }

    /// A list's centroid.
    pub fn vector(&mut self, list: u32) -> &[f32] {
        let (relation, dims) = (self.relation, self.dims);
        numbers(relation, dims, self.part.row(list.into(), dims * size_of::<f32>()))
    }

    /// Visits the centroids of some lists; while one is looked at, the next ones are on their way
    /// from memory.
    pub fn for_each(&mut self, lists: &[u32], mut visit: impl FnMut(u32, &[f32])) {
        let (relation, dims) = (self.relation, self.dims);
        let bytes = dims * size_of::<f32>();
        self.part.for_each_row(lists, bytes, |list, row| visit(list, numbers(relation, dims, row)));
    }

    /// What the centroids' codes are against.
    pub fn code_centre(&mut self) -> &[f32] {
        self.vector(self.codebook.lists)
    }

    /// What is subtracted from vectors before they are rotated.
    fn shift(&mut self) -> &[f32] {
        self.vector(self.codebook.lists + 1)
    }

    /// The query for the codebook's codes: less the shift.
    pub fn shifted(&mut self, meta: &Meta, query: &CodedQuery) -> CodedQuery {
        query.shifted(self.shift(), meta.seed)
    }
}

/// A centroid's numbers.
fn numbers(relation: Relation, dims: usize, row: &[u8]) -> &[f32] {
    bytemuck::try_cast_slice(row).ok().filter(|vector| vector.len() == dims).unwrap_or_else(|| {
        Problem::corrupt(format!("a centroid of index \"{}\" is corrupted", relation.name())).raise()
    })
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
