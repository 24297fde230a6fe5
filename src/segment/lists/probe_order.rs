//! The lists of a codebook in the order of their centroids' distances from a query.
//!
//! Every centroid is estimated by its code; the best estimates are compared exactly before one of
//! their lists is probed. Probing one list too many costs far more than comparing its centroid.

use crate::codec::encoder::CodedQuery;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::Centre;
use crate::codec::layout::centroids::CentroidBlocks;
use crate::distance::{Element, Geometry, Metric, Space};
use crate::search::rerank::Keyed;
use crate::segment::lists::codebook::CentroidReader;
use crate::storage::manifest::Codebook;
use crate::storage::meta::Meta;
use crate::storage::pages::Pages;
use crate::storage::part_reader::PartReader;
use crate::structure::PageKind;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Centroids compared for each list probed, and the number added to that.
const COMPARED_PER_PROBE: usize = 2;
const COMPARED_AT_LEAST: usize = 16;

/// Lists that were not probed yet. It holds no pins.
pub struct RankedLists {
    space: Space,
    /// The query for the codebook's codes, if these have a shift.
    shifted: Option<CodedQuery>,
    /// By the estimated distance of their centroids.
    estimated: BinaryHeap<Reverse<Keyed<f32, u32>>>,
    /// By the exact distance: the list, and the number of its centre.
    compared: BinaryHeap<Reverse<Keyed<f64, (u32, u32)>>>,
    centres: Vec<Centre>,
    squared_norm_of_query: f64,
    squared_norms: Vec<f32>,
    /// A list that is ranked as if one of its rows were absent, and the number of its rows.
    leave_out: Option<(u32, u32)>,
}

impl RankedLists {
    /// Estimates the distance of every list from a query.
    pub fn new(pages: &dyn Pages, codebook: &Codebook, meta: &Meta, query: &CodedQuery) -> Self {
        let space = meta.space;
        let dims = space.dims as usize;
        let mut centroids = CentroidReader::new(pages, codebook, dims);
        let shifted = centroids.shifted(meta, query);
        let coded = shifted.as_ref().unwrap_or(query);
        let centre_product = f32::dot(centroids.code_centre(), &coded.vector);
        let layout = CentroidBlocks::new(dims);
        let mut blocks = PartReader::new(pages, &codebook.codes, PageKind::ListCodes, codebook.id);
        let count = codebook.lists as usize;
        let (mut ranked, mut squared_norms) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for first in (0..codebook.lists).step_by(BLOCK) {
            let block = blocks.row(u64::from(first) / BLOCK as u64, layout.bytes());
            let estimates = layout.estimate(block, &coded.tables, centre_product);
            let (products, norms) = estimates.expect("a row of as many bytes as were asked for");
            let key = |i: usize| match space.metric.geometry() {
                Geometry::Product | Geometry::Angle => products[i],
                Geometry::Euclidean => norms[i] + 2.0 * products[i],
            };
            // NaN comes last.
            let key = |i: usize| Some(key(i)).filter(|key| !key.is_nan()).unwrap_or(f32::INFINITY);
            let lists = (first..codebook.lists).take(BLOCK);
            squared_norms.extend_from_slice(&norms[..lists.len()]);
            ranked.extend(lists.enumerate().map(|(i, list)| Reverse(Keyed { key: key(i), value: list })));
        }
        let squared_norm_of_query = f32::dot(&query.vector, &query.vector);
        Self {
            space,
            shifted,
            estimated: ranked.into(),
            compared: BinaryHeap::new(),
            centres: Vec::new(),
            squared_norm_of_query,
            squared_norms,
            leave_out: None,
        }
    }

    /// Ranks a list, given with its number of rows, as if the query were not among these: as far
    /// away as the others' mean.
    pub fn leave_out(self, list_and_rows: Option<(u32, u32)>) -> Self {
        Self { leave_out: list_and_rows, ..self }
    }

    /// The query for the codebook's codes, if these have a shift.
    pub fn shifted(&self) -> Option<&CodedQuery> {
        self.shifted.as_ref()
    }

    pub fn is_empty(&self) -> bool {
        self.estimated.is_empty() && self.compared.is_empty()
    }

    /// The `count` nearest of the lists left, or all if they are fewer, with their centres.
    ///
    /// `codebook` and `query` are those that the lists were ranked with.
    pub fn take(
        &mut self,
        count: usize,
        pages: &dyn Pages,
        codebook: &Codebook,
        query: &CodedQuery,
    ) -> Vec<(u32, Centre)> {
        let compared = count * COMPARED_PER_PROBE + COMPARED_AT_LEAST;
        let promising = std::iter::from_fn(|| self.estimated.pop());
        let promising = promising.take(compared.saturating_sub(self.compared.len()));
        let mut promising: Vec<u32> = promising.map(|Reverse(ranked)| ranked.value).collect();
        promising.sort_unstable();
        let mut centroids = CentroidReader::new(pages, codebook, self.space.dims as usize);
        centroids.for_each(&promising, |list, centroid| self.compare(list, centroid, query));
        let nearest = std::iter::from_fn(|| self.compared.pop());
        let nearest = nearest.take(count).map(|Reverse(Keyed { value: (list, centre), .. })| (list, centre));
        nearest.map(|(list, centre)| (list, self.centres[centre as usize])).collect()
    }

    fn compare(&mut self, list: u32, centroid: &[f32], query: &CodedQuery) {
        // These are norms of unshifted vectors only without a shift. The metrics that have shifts
        // ignore them.
        let squared_norms = self.squared_norm_of_query + f64::from(self.squared_norms[list as usize]);
        let centre = Centre::with_norms(self.space.metric, &query.vector, centroid, squared_norms);
        let number = self.centres.len() as u32;
        self.centres.push(centre);
        let key = match self.leave_out {
            Some((leave_out, rows)) if leave_out == list => farther(self.space.metric, centre.score, rows),
            _ => centre.score,
        };
        self.compared.push(Reverse(Keyed { key, value: (list, number) }));
    }
}

/// The score of a centroid `n / (n - 1)` times as far away. There the mean of a list of `n` rows is
/// without the row that is the query.
fn farther(metric: Metric, score: f64, rows: u32) -> f64 {
    let rows = f64::from(rows.max(2));
    match metric.geometry() {
        // A score that is no distance stays.
        Geometry::Product => score,
        // Half the squared distance, and the squared distance.
        Geometry::Angle | Geometry::Euclidean => score * (rows / (rows - 1.0)).powi(2),
    }
}
