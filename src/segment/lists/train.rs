//! Finding the centroids of an index from a sample of its rows.

use crate::cluster::centroids::Centroids;
use crate::cluster::{self, Matrix};
use crate::codec::encoder::widen;
use crate::codec::rotation::Rotation;
use crate::distance::{Geometry, Space};
use crate::memory;
use crate::pg::progress;
use crate::pg::threads;
use crate::segment::Plan;
use crate::segment::lists::codebook::Lists;
use crate::storage::draft::Draft;
use crate::structure::MAX_LISTS;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows sampled for each list.
const ROWS_PER_LIST: usize = 30;
/// The fewest rows for each list; with fewer, an index has one list.
const LEAST_ROWS_PER_LIST: u64 = 8;

/// Number of lists of an index of `rows` rows; `option` is the index's option (0: as many as suit
/// the rows).
///
/// A search pays for every centroid and for the rows of the lists probed. The sum is least where
/// the lists grow with the square root of the rows.
pub fn lists_wanted(option: u32, rows: u64) -> u32 {
    if option > 0 {
        return option;
    }
    ((4.0 * (rows as f64).sqrt()) as u32).clamp(1, MAX_LISTS)
}

/// Whether `rows` rows are enough for `lists` lists.
pub fn are_enough(lists: u32, rows: u64) -> bool {
    rows >= u64::from(lists) * LEAST_ROWS_PER_LIST
}

/// Number of rows to sample for `lists` lists, when a row has `dims` dimensions and the sample may
/// take `memory` bytes.
pub fn sample_rows(lists: u32, dims: usize, memory: usize) -> usize {
    (lists as usize * ROWS_PER_LIST).min(memory / (dims * size_of::<f32>())).max(1)
}

/// Rows from which centroids are found.
pub struct Sample {
    space: Space,
    rows: Matrix,
}

impl Sample {
    pub fn new(space: Space) -> Self {
        Self { space, rows: Matrix::new(space.dims as usize) }
    }

    pub fn rows(&self) -> usize {
        self.rows.rows()
    }

    /// Adds a row; `false` if the bytes are no row of the space.
    pub fn push(&mut self, row: &[u8]) -> bool {
        let is_row = self.space.is_row(row);
        if is_row {
            memory::extend(&mut self.rows.numbers, &widen(self.space, row), "a sample of rows");
        }
        is_row
    }

    /// Finds centroids on threads and writes them to a draft; rows too few for `lists` lists get
    /// one list.
    ///
    /// `total` is the number of rows that the sample stands for.
    pub fn into_lists<'a>(
        self,
        draft: impl FnOnce() -> Draft<'a>,
        lists: u32,
        total: u64,
        plan: Plan,
    ) -> Lists {
        let dims = self.space.dims as usize;
        match self.train(lists, total, plan) {
            Some(centroids) => Lists::create(&mut draft(), centroids, total),
            None => Lists::origin(dims),
        }
    }

    fn train(self, lists: u32, total: u64, plan: Plan) -> Option<Centroids> {
        if !are_enough(lists, total) || self.rows() == 0 {
            return None;
        }
        let options = cluster::Options {
            count: lists as usize,
            spherical: self.space.metric.geometry() == Geometry::Angle,
            seed: plan.seed,
        };
        let done = AtomicU64::new(0);
        let show = || {
            if plan.show_progress {
                progress::tuples(done.load(Ordering::Relaxed), lists.into());
            }
        };
        let dims = self.rows.dims;
        let vectors =
            threads::run(plan.threads, show, |cancel| cluster::centroids(&self.rows, options, cancel, &done));
        Some(Centroids::new(self.space.metric, vectors, &Rotation::new(plan.seed, dims)))
    }
}
