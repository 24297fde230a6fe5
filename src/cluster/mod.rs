//! Centres of clusters: k-means over rows of `f32`, centroids ranked by codes, second lists.

pub mod centroids;
mod flat;
mod frame;
mod hierarchy;
pub mod spill;

pub use hierarchy::Options;

use crate::memory;
use frame::Frame;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Centroids of the rows: as many as requested, or as there are rows; fewer where rows are equal.
///
/// Rows with NaN or infinity do not count; if there are no others, the result is one zero vector.
/// `done` counts the centroids found. Returns early, with any centroids, once `cancel` is set.
pub fn centroids(rows: &Matrix, options: Options, cancel: &AtomicBool, done: &AtomicU64) -> Matrix {
    // Rows with NaN or infinity belong to no cluster.
    let is_number = |&row: &usize| rows.row(row).iter().all(|x| x.is_finite());
    if rows.numbers.iter().any(|x| !x.is_finite()) {
        let numbers = rows.select((0..rows.rows()).filter(is_number));
        return match numbers.rows() {
            0 => Matrix { dims: rows.dims, numbers: vec![0.0; rows.dims] },
            _ => centroids(&numbers, options, cancel, done),
        };
    }
    match Frame::of(rows, options.spherical) {
        None => hierarchy::centroids(rows, options, cancel, done),
        Some(frame) => frame.leave(&hierarchy::centroids(&frame.enter(rows), options, cancel, done)),
    }
}

/// Rows of `dims` numbers each, one after another.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub dims: usize,
    pub numbers: Vec<f32>,
}

impl Matrix {
    pub fn new(dims: usize) -> Self {
        Self { dims, numbers: Vec::new() }
    }

    pub fn rows(&self) -> usize {
        self.numbers.len() / self.dims
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.dims..][..self.dims]
    }

    /// Some of the rows, in the order in which `rows` numbers them.
    fn select(&self, rows: impl Iterator<Item = usize>) -> Self {
        let mut selected = Self::new(self.dims);
        let most = rows.size_hint().1.unwrap_or_default();
        memory::reserve(&mut selected.numbers, most * self.dims, "rows of clusters");
        rows.for_each(|row| selected.numbers.extend_from_slice(self.row(row)));
        selected
    }
}
